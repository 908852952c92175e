"""The figures. Times in seconds, memory in MiB."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from examples.demo.parts import ROOT, Agent, environment, program
from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from manager.security.signing import Signer
from manager.service import Service, ServiceSettings
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools
from tests.servers.gitserver import GitServer
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

COUNT = 50
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map{n}\ndata:\n  a: '{value}'\n"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    name: str
    ours: float
    peer: float
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours / self.peer if self.peer else 0.0

    @property
    def met(self) -> bool:
        return self.ratio <= self.goal

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "goal": self.goal,
            "met": self.met,
        }


def fifty_bundles(folder: Path) -> Iterable[Figure]:
    """50 one-object bundles from a commit to all Ready on one real API server, against 50 helm runs
    one after another.
    """
    env = environment(
        tools.env(tools.ensure(["helm", "kubectl", "kustomize", "etcd", "kube-apiserver"]))
    )
    (folder / "git").mkdir()
    with LocalKube(folder / "kube", ["bench"]) as kube, GitServer(folder / "git") as server:
        config = kube["bench"].kubeconfig
        peer_wall, peer_cpu = _helm_runs(folder, env, config)
        fleet = Fleet(folder / "fleet", env, poll=15)
        try:
            clone = Clone(server, "apps", folder / "clone")
            clone.push({"README.md": "empty"})
            fleet.gitrepo(clone.url, paths=[f"b{n}" for n in range(COUNT)])
            agent = fleet.agent("bench", config)
            fleet.until(
                lambda: fleet.call("GET", "objects/clusters/fleet-default/bench"),
                lambda c: c["status"]["agent"]["lastSeen"] != "",
            )
            wall, cpu = _commit_to_ready(fleet, clone, agent)
            yield Figure("50 bundles, commit to Ready: wall (50 helm runs)", wall, peer_wall, 0.6)
            yield Figure("50 bundles, commit to Ready: CPU (50 helm runs)", cpu, peer_cpu, 1.3)
            yield from _start(folder, agent)
        finally:
            fleet.stop()


def _helm_runs(folder: Path, env: dict[str, str], config: Path) -> tuple[float, float]:
    charts = []
    for n in range(COUNT):
        chart = folder / "charts" / f"c{n}"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: c{n}\nversion: 0.0.0\n")
        (chart / "templates" / "m.yaml").write_text(MAP.format(n=n, value=1))
        charts.append(chart)
    helm = shutil.which("helm", path=env["PATH"]) or "helm"
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for n, chart in enumerate(charts):
        command = [
            helm,
            "upgrade",
            "--install",
            f"peer{n}",
            str(chart),
            "--namespace",
            "peer",
            "--create-namespace",
            "--kubeconfig",
            str(config),
        ]
        subprocess.run(command, env=env, check=True, capture_output=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _commit_to_ready(fleet: Fleet, clone: Clone, agent: Agent) -> tuple[float, float]:
    pids = [fleet.manager.process.pid, agent.process.pid]
    files = {f"b{n}/m.yaml": MAP.format(n=n, value=1) for n in range(COUNT)}
    before = sum(map(_cpu, pids))
    began = time.monotonic()
    clone.push({**files, **{f"b{n}/fleet.yaml": "defaultNamespace: bench\n" for n in range(COUNT)}})
    fleet.call("POST", "gitrepos/fleet-default/apps/sync")
    while True:
        states: dict[str, int] = fleet.call("GET", "status")["deployments"]
        if states == {"Ready": COUNT}:
            return time.monotonic() - began, sum(map(_cpu, pids)) - before
        if time.monotonic() - began > 120:
            raise RuntimeError(f"not ready: {states}")
        time.sleep(0.1)


def _cpu(pid: int) -> float:
    """CPU seconds of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _start(folder: Path, agent: Agent) -> Iterable[Figure]:
    """The time to the first READY with 50 bundles on the disk."""
    agent.process.stop()
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(20)
        agent.process.env = {**agent.process.env, "NOTIFY_SOCKET": str(path)}
        began = time.monotonic()
        agent.process.start()
        while b"READY=1" not in listener.recv(4096):
            pass
        start = time.monotonic() - began
    yield Figure("agent start to READY (0.5 s)", start, 0.5, 1.0)


def idle_agent(folder: Path) -> Iterable[Figure]:
    """An agent with 50 bundles and nothing to do, for ten minutes (IDLE_SECONDS); the peer is the
    goal itself.
    """
    from tests.bench.idle import measure

    found = measure(folder, bundles=COUNT, seconds=float(os.environ.get("IDLE_SECONDS", "600")))
    yield Figure("agent idle with 50 bundles: RSS in MiB (45)", found.rss_mib, 45.0, 1.0)
    yield Figure("agent idle: mCPU (0.5)", found.millicpu, 0.5, 1.0)
    yield Figure("agent idle: processes beside its own (none)", float(found.children), 1.0, 0.0)
    yield Figure(
        "agent idle: MB a day to and from the manager (1)",
        found.manager_bytes_a_day / 1e6,
        1.0,
        1.0,
    )
    yield Figure("hand edit to Modified at the manager, s (5)", found.notice_seconds, 5.0, 1.0)
    yield Figure("agent idle: requests to the API server an hour", found.requests, 0.0, 0.0)
    yield Figure("agent idle: of these, watches", found.watches, 0.0, 0.0)
    yield Figure("agent idle: MB a day from the API server", found.api_bytes_a_day / 1e6, 0.0, 0.0)


def fifty_by_fifty(folder: Path) -> Iterable[Figure]:
    """50 bundles for 50 clusters that wait: from the commit to the last desired state, in one
    process with a real Git server.
    """
    (folder / "git").mkdir()
    (folder / "data").mkdir()
    with GitServer(folder / "git") as server:
        clone = Clone(server, "apps", folder / "clone")
        clone.push({f"b{n}/m.yaml": MAP.format(n=n, value=0) for n in range(COUNT)})
        yield Figure(
            "50 bundles x 50 clusters, commit to documents (1 s)",
            asyncio.run(served(folder, clone)),
            1.0,
            1.0,
        )


@asynccontextmanager
async def _nothing(_service: Service) -> AsyncIterator[None]:
    yield


async def served(folder: Path, clone: Clone, beside: Callable[[Service], Any] = _nothing) -> float:
    """Seconds from a commit to the last document, while what `beside` makes goes on."""
    service = Service(
        folder / "data", signer=Signer.generate(), settings=ServiceSettings(poll_seconds=3600)
    )
    await service.start()
    try:
        clusters = [await enrolled(service, f"c{n}") for n in range(COUNT)]
        meta = {"name": "apps", "namespace": "fleet-default"}
        spec = {
            "repo": clone.url,
            "paths": [f"b{n}" for n in range(COUNT)],
            "targets": [{"clusterSelector": {}}],
        }
        await service.objects.put(
            "GitRepo",
            "fleet-default",
            "apps",
            {"apiVersion": _API, "kind": "GitRepo", "metadata": meta, "spec": spec},
        )
        while len(await service.views.list_objects("Bundle")) < COUNT:
            await asyncio.sleep(0.05)
        held = [(await service.agents.get_document(c)).etag for c in clusters]
        commit = await asyncio.to_thread(
            clone.push, {f"b{n}/m.yaml": MAP.format(n=n, value=1) for n in range(COUNT)}
        )
        waiting = [
            asyncio.create_task(service.agents.wait_document(c, e, 60))
            for c, e in zip(clusters, held, strict=True)
        ]
        async with beside(service):
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await service.gitrepos.sync("fleet-default", "apps")
            documents = await asyncio.gather(*waiting)
            took = time.monotonic() - began
        assert all(commit.encode() in d.body for d in documents)
        return took
    finally:
        await service.stop()


_API = "fleet.cattle.io/v1alpha1"


async def enrolled(service: Service, name: str, workspace: str = "fleet-default") -> ClusterId:
    made = await service.agents.register(workspace, name, labels={}, ttl_seconds=600, replace=False)
    key = Ed25519PrivateKey.generate()
    public = wire.b64(key.public_key().public_bytes_raw())
    proof = wire.b64(key.sign(wire.enrol_bytes(made.token, public)))
    return (
        await service.agents.enrol(
            wire.EnrolRequest(token=made.token, public_key=public, proof=proof), address=""
        )
    ).cluster_id


def help_pages(_folder: Path) -> Iterable[Figure]:
    """`fleetctl --help` against `kubectl --help`, the median of 15 runs each, in turns."""
    env = environment(tools.env(tools.ensure(["kubectl"])))
    kubectl = shutil.which("kubectl", path=env["PATH"]) or "kubectl"
    script = Path(sys.executable).with_name("fleetctl")
    ours = [str(script)] if script.exists() else program("fleetctl")
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(15):
        mine.append(_timed([*ours, "--help"], env))
        theirs.append(_timed([kubectl, "--help"], env))
    yield Figure("fleetctl --help (kubectl --help)", median(mine), median(theirs), 1.5)


def _timed(command: list[str], env: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(command, env=env, check=True, capture_output=True, cwd=ROOT)
    return time.monotonic() - began
