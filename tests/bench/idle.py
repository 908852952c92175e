"""What an agent costs while nothing happens, and how soon it notices that something does.

One real API server, one real manager, bundles as on a real node; the wires to both go through
relays that count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from examples.demo.parts import environment
from tests.localkube.apiclient import MERGE_PATCH
from tests.localkube.cluster import Cluster
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools
from tests.servers.gitserver import GitServer
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone
from tests.support.network.relay import Relay

_TICKS = os.sysconf("SC_CLK_TCK")
_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map{n}\ndata:\n  a: '1'\n"
_MORE = (
    "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: web{n}\nspec:\n  selector: {{app:"
    " web{n}}}\n  ports: [{{port: 80}}]\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n "
    " name: web{n}\nspec:\n  selector: {{matchLabels: {{app: web{n}}}}}\n  template:\n    metadata:"
    " {{labels: {{app: web{n}}}}}\n    spec:\n      containers: [{{name: app, image: 'x:1'}}]\n"
)
# above a minute the agent does not wait at the manager, as with 15 minutes; so a short time holds a
# few polls
_POLL_SECONDS = 61
_POLLS_A_DAY = 96


@dataclass(frozen=True)
class Idle:
    """`cpu` in CPU-seconds over `seconds`; `requests` to the API server an hour, of which
    `watches`; bytes a day at 15 minute polls.
    """

    seconds: float
    rss_mib: float
    cpu: float
    children: int
    requests: float
    watches: float
    api_bytes_a_day: float
    manager_bytes_a_day: float
    notice_seconds: float

    @property
    def millicpu(self) -> float:
        return self.cpu / self.seconds * 1000


def measure(folder: Path, *, bundles: int = 50, seconds: float = 120.0, rich: bool = False) -> Idle:
    """`rich`: a Service and a Deployment in each bundle too, their status played."""
    env = environment(
        tools.env(tools.ensure(["helm", "kubectl", "kustomize", "etcd", "kube-apiserver"]))
    )
    (folder / "git").mkdir(parents=True)
    audit = folder / "audit.log"
    with (
        LocalKube(folder / "kube", ["idle"], player=rich, flags=_audited(folder, audit)) as kube,
        GitServer(folder / "git") as server,
        _through(kube["idle"], folder) as (api, config),
    ):
        fleet = Fleet(folder / "fleet", env, poll=1)
        try:
            clone = Clone(server, "apps", folder / "clone")
            files = {
                f"b{n}/m.yaml": (_MAP + (_MORE if rich else "")).format(n=n) for n in range(bundles)
            }
            clone.push(
                {
                    **files,
                    **{f"b{n}/fleet.yaml": "defaultNamespace: idle\n" for n in range(bundles)},
                }
            )
            fleet.gitrepo(clone.url, paths=[f"b{n}" for n in range(bundles)])
            with Relay(fleet.manager.port) as wire:
                agent = fleet.agent("idle", config)
                fleet.all_ready(bundles=bundles, seconds=180)
                agent.process.stop()
                fleet.manager.process.stop()
                fleet.manager.process.argv = [
                    str(_POLL_SECONDS) if word == "1" else word
                    for word in fleet.manager.process.argv
                ]
                fleet.manager.start()
                _via(agent.state_dir, fleet.manager.port, wire.port)
                agent.process.start()
                # The first answer names the interval from then on; so there must be one.
                clone.push({"b0/m.yaml": files["b0/m.yaml"].replace("'1'", "'2'")})
                fleet.until(lambda: _value(kube["idle"]), lambda value: value == "2", seconds=120)
                fleet.all_ready(bundles=bundles, seconds=120)
                time.sleep(20)
                found = _quiet(agent.process.pid, (api, wire), seconds, audit)
                notice = median(_noticed(kube["idle"], fleet, n) for n in (1, 2, 3))
        finally:
            fleet.stop()
    return Idle(*found, notice)


def _quiet(
    pid: int, wires: tuple[Relay, Relay], seconds: float, audit: Path
) -> tuple[float, float, float, int, float, float, float, float]:
    api, manager = (wire.counted.copy() for wire in wires)
    cpu, asked, began = cpu_seconds(pid), requests(audit), time.monotonic()
    kids = 0
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(1.0, max(0.01, seconds - passed)))
        kids = max(kids, len(children(pid)))
    used, hours = cpu_seconds(pid) - cpu, passed / 3600
    rates = [(after - before) / hours for after, before in zip(requests(audit), asked, strict=True)]
    bytes_api = wires[0].counted.sent + wires[0].counted.received - api.sent - api.received
    bytes_manager = (
        wires[1].counted.sent + wires[1].counted.received - manager.sent - manager.received
    )
    polls = max(1, wires[1].counted.connections - manager.connections)
    return (
        passed,
        rss_mib(pid),
        used,
        kids,
        rates[0],
        rates[1],
        bytes_api / hours * 24,
        bytes_manager / polls * _POLLS_A_DAY,
    )


@contextmanager
def _through(cluster: Cluster, folder: Path) -> Iterator[tuple[Relay, Path]]:
    """A kubeconfig that goes through a relay."""
    port = int(cluster.url.rpartition(":")[2])
    with Relay(port) as relay:
        path = folder / "kubeconfig"
        path.write_text(cluster.kubeconfig.read_text().replace(f":{port}", f":{relay.port}"))
        path.chmod(0o600)
        yield relay, path


def _via(state_dir: Path, port: int, relay: int) -> None:
    path = state_dir / "identity.json"
    path.write_text(path.read_text().replace(f":{port}", f":{relay}"))


def _noticed(cluster: Cluster, fleet: Fleet, number: int) -> float:
    """Seconds from a hand edit until the manager shows it; put right again by hand."""
    api, path = cluster.api(), f"/api/v1/namespaces/idle/configmaps/map{number}"
    name = f"idle.apps-b{number}"
    began = time.monotonic()
    api.call("PATCH", path, {"data": {"a": "hand"}}, MERGE_PATCH)
    fleet.until(
        lambda: fleet.deployments()[name]["status"]["display"]["state"],
        lambda s: s == "Modified",
        seconds=60,
    )
    took = time.monotonic() - began
    api.call("PATCH", path, {"data": {"a": "1"}}, MERGE_PATCH)
    fleet.until(
        lambda: fleet.deployments()[name]["status"]["display"]["state"],
        lambda s: s == "Ready",
        seconds=60,
    )
    return took


def _value(cluster: Cluster) -> str:
    return str(cluster.api().get("/api/v1/namespaces/idle/configmaps/map0")["data"]["a"])


def _audited(folder: Path, log: Path) -> list[str]:
    """The API server's own word of who asked what."""
    policy = folder / "audit-policy.yaml"
    policy.write_text(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level:"
        " Metadata}]\n"
    )
    return [f"--audit-policy-file={policy}", f"--audit-log-path={log}"]


def requests(audit: Path) -> tuple[int, int]:
    """(all, those that began a watch) of the agent itself so far, without its helm."""
    found: dict[str, str] = {}
    for line in audit.read_text().splitlines():
        event = json.loads(line)
        if event.get("userAgent") == "fleet-agent":
            found[event["auditID"]] = event["verb"]
    return len(found), sum(1 for verb in found.values() if verb == "watch")


def rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return (
        int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        / 1024
    )


def cpu_seconds(pid: int) -> float:
    """Of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def children(pid: int) -> list[int]:
    return [
        int(p)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for p in (task / "children").read_text().split()
    ]
