"""localkube for real: etcd, kube-apiserver, the player, helm and kubectl as `make tools` has got
them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.localkube import kubeapi
from tests.localkube.apiclient import Api, ApiError
from tests.localkube.cluster import Cluster
from tests.localkube.daemon import Daemon
from tests.localkube.errors import LocalkubeError, NotReady
from tests.localkube.kubeapi import LocalKube
from tests.localkube.process_identity import identity
from tests.localkube.status_player import Player
from tests.localkube.statuses import ANNOTATION
from tests.localkube.waiting import holds, wait_for

ROOT = Path(__file__).resolve().parents[2]
RUN = {"containers": [{"name": "c", "image": "example.com/never-run:1"}]}
POD = {"metadata": {"labels": {"app": "x"}}, "spec": RUN}
JOB_POD = {"spec": RUN | {"restartPolicy": "Never"}}


def workload(
    kind: str, name: str, annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A Deployment, StatefulSet, DaemonSet or Job as small as the API server takes it."""
    metadata = {"name": name, "annotations": annotations or {}}
    if kind == "Job":
        return {
            "apiVersion": "batch/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": {"template": JOB_POD} | spec,
        }
    base = {"selector": {"matchLabels": {"app": "x"}}, "template": POD}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": base | spec}


def chart(home: Path, objects: list[dict[str, Any]]) -> Path:
    """A chart with exactly these objects."""
    (home / "templates").mkdir(parents=True)
    (home / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\n")
    (home / "templates" / "all.yaml").write_text(
        "\n---\n".join(json.dumps(item) for item in objects)
    )
    return home


def run(argv: list[str], env: dict[str, str], cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """A tool against a cluster, at most 60 s."""
    env = env | {"KUBECONFIG": str(cluster.kubeconfig)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def install(
    env: dict[str, str], cluster: Cluster, path: Path, seconds: int = 30
) -> subprocess.CompletedProcess[str]:
    """`helm upgrade --install --wait` into a namespace named after the chart's directory."""
    argv = [
        "helm",
        "upgrade",
        "--install",
        path.name,
        str(path),
        "-n",
        path.name,
        "--create-namespace",
    ]
    return run([*argv, "--wait", "--wait-for-jobs", "--timeout", f"{seconds}s"], env, cluster)


def config_map(cluster: Cluster, name: str, method: str = "GET") -> dict[str, Any]:
    """Get or create a ConfigMap in the namespace default."""
    path = "/api/v1/namespaces/default/configmaps"
    with contextlib.closing(cluster.api()) as api:
        if method == "POST":
            return api.call(
                "POST", path, {"metadata": {"name": name}, "data": {"cluster": cluster.name}}
            )
        return api.get(f"{path}/{name}")


@pytest.mark.cluster
def test_three_clusters_answer_kubectl_each_with_its_own_objects(
    kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """One etcd serves all, and still none sees the objects of another."""
    for cluster in kube:
        config_map(cluster, f"only-{cluster.name}", "POST")
    for cluster in kube:
        listed = run(["kubectl", "get", "configmaps", "-o", "name"], tool_env, cluster).stdout
        assert [line for line in listed.splitlines() if "only-" in line] == [
            f"configmap/only-{cluster.name}"
        ]


@pytest.mark.cluster
def test_only_the_token_opens_a_cluster(kube: LocalKube, tmp_path: Path) -> None:
    """The kubeconfig is private; a wrong token, and the token of another cluster, are 401."""
    dev, prod = kube["dev"], kube["prod"]
    assert stat.S_IMODE(dev.kubeconfig.stat().st_mode) == 0o600
    assert len({cluster.token for cluster in kube}) == 3
    forged = tmp_path / "kubeconfig"
    forged.write_text(dev.kubeconfig.read_text().replace(dev.token, prod.token))
    with contextlib.closing(Api(forged)) as api, pytest.raises(ApiError) as refused:
        api.get("/api/v1/namespaces")
    assert refused.value.status == 401


@pytest.mark.cluster
def test_helm_waits_and_the_player_makes_everything_ready(
    kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """Every kind that helm waits for, a hook Job and a Deployment of none among them."""
    objects = [
        workload(kind, kind.lower()) for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job")
    ]
    objects += [
        workload("Deployment", "three", replicas=3),
        workload("Deployment", "none", replicas=0),
    ]
    objects += [
        workload("Job", "before", {"helm.sh/hook": "pre-install"}),
        workload("Job", "many", completions=4),
    ]
    done = install(tool_env, kube["dev"], chart(tmp_path / "ready", objects))
    assert done.returncode == 0, done.stderr
    ready = "jsonpath={.status.readyReplicas}/{.status.observedGeneration}"
    argv = ["kubectl", "-n", "ready", "get", "deployment", "three", "-o", ready]
    assert run(argv, tool_env, kube["dev"]).stdout == "3/1"


@pytest.mark.cluster
def test_a_change_is_played_again(
    kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """A second revision is a new generation, and it becomes ready too."""
    path = chart(tmp_path / "again", [workload("Deployment", "d")])
    assert install(tool_env, kube["dev"], path).returncode == 0
    path.joinpath("templates/all.yaml").write_text(
        json.dumps(workload("Deployment", "d", replicas=5))
    )
    done = install(tool_env, kube["dev"], path)
    assert done.returncode == 0, done.stderr
    argv = [
        "kubectl",
        "-n",
        "again",
        "get",
        "deployment",
        "d",
        "-o",
        "jsonpath={.status.availableReplicas}",
    ]
    assert run(argv, tool_env, kube["dev"]).stdout == "5"


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_an_annotation_makes_a_workload_fail(
    kube: LocalKube, tool_env: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """`fail` is seen by helm at once, long before its own timeout."""
    path = chart(tmp_path / f"fails-{kind.lower()}", [workload(kind, "x", {ANNOTATION: "fail"})])
    begun = time.monotonic()
    assert install(tool_env, kube["test"], path, seconds=50).returncode != 0
    assert time.monotonic() - begun < 25


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job"])
def test_an_annotation_holds_a_workload_in_progress(
    kube: LocalKube, tool_env: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """`hold` never becomes ready: helm's timeout ends the wait."""
    path = chart(tmp_path / f"holds-{kind.lower()}", [workload(kind, "x", {ANNOTATION: "hold"})])
    done = install(tool_env, kube["test"], path, seconds=2)
    assert done.returncode != 0
    assert "deadline" in done.stderr


@pytest.mark.cluster
def test_a_killed_api_server_comes_back_as_it_was(tmp_path: Path, tool_env: dict[str, str]) -> None:
    """Port, token, CA and objects are the same, the other cluster is untouched, and the player
    plays on.
    """
    with (
        LocalKube(tmp_path / "kube", ["one", "two"]) as kube,
        Player([cluster.kubeconfig for cluster in kube]),
    ):
        one = kube["one"]
        before = (one.url, one.token, one.kubeconfig.read_text())
        config_map(one, "kept", "POST")
        one.kill()
        with pytest.raises(ApiError) as down:
            config_map(one, "kept")
        assert down.value.status == 0
        with pytest.raises(LocalkubeError, match="not running"):
            _ = one.pid
        config_map(kube["two"], "meanwhile", "POST")
        one.restart()
        assert (one.url, one.token, one.kubeconfig.read_text()) == before
        assert config_map(one, "kept")["data"] == {"cluster": "one"}
        done = install(tool_env, one, chart(tmp_path / "after", [workload("Deployment", "d")]))
        assert done.returncode == 0, done.stderr
        one.stop()
        one.restart()
        assert config_map(one, "kept")["data"] == {"cluster": "one"}


@pytest.mark.cluster
def test_a_second_start_in_the_same_directory_is_refused(kube: LocalKube) -> None:
    """Two etcds on one data directory would be the end of it."""
    with pytest.raises(LocalkubeError, match="stop them first"):
        LocalKube(kube.directory, ["dev"]).start()
    with contextlib.closing(kube["dev"].api()) as api:
        assert api.ok("/readyz")


STARTER = """
import sys, time
from tests.localkube.kubeapi import LocalKube
LocalKube(sys.argv[1], ["only"], player=True).start()
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.cluster
def test_everything_ends_when_the_starter_is_killed(tmp_path: Path) -> None:
    """kill -9 gives Python no chance to clean up; the kernel does it."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "kube")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        alive = _recorded(tmp_path / "kube")
        assert len(alive) == 3
        starter.kill()
    wait_for(lambda: holds(not _still(alive)), 10, lambda: f"alive: {_still(alive)}")


@pytest.mark.cluster
def test_detached_clusters_outlive_their_starter_and_are_ended_by_name(tmp_path: Path) -> None:
    """What `make demo KEEP=1` leaves is found again by its record."""
    home = tmp_path / "kube"
    command = [sys.executable, "-m", "tests.localkube.kubeapi"]
    subprocess.run(
        [*command, "start", str(home), "--names", "a,b"],
        cwd=ROOT,
        check=True,
        timeout=120,
        capture_output=True,
    )
    alive = _recorded(home)
    assert _still(alive) == sorted(alive)
    with contextlib.closing(Api(home / "a" / "kubeconfig")) as api:
        assert api.ok("/readyz")
    subprocess.run(
        [*command, "stop", str(home)], cwd=ROOT, check=True, timeout=60, capture_output=True
    )
    assert _still(alive) == []
    assert not (home / kubeapi.RECORD).exists()


def test_a_process_that_only_has_the_same_id_is_left_alone(tmp_path: Path) -> None:
    """The record's process is long gone, its number has been given to another."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        process = {"name": "etcd", "pid": stranger.pid, "identity": f"{identity(stranger.pid)}9"}
        (tmp_path / kubeapi.RECORD).write_text(json.dumps({"processes": [process]}))
        assert kubeapi.stop(tmp_path) == 0
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.cluster
def test_with_controllers_the_pods_are_real_objects(
    tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """ReplicaSets, scheduling, Pods, a finished Job, garbage collection: nothing is played but the
    kubelet.
    """
    objects = [
        workload("Deployment", "d", replicas=2),
        workload("Job", "j"),
        workload("DaemonSet", "ds"),
    ]
    with LocalKube(tmp_path / "kube", ["real"], controllers=True) as kube:
        done = install(tool_env, kube["real"], chart(tmp_path / "real", objects), seconds=50)
        assert done.returncode == 0, done.stderr
        listed = run(
            ["kubectl", "-n", "real", "get", "pods", "-o", "name"], tool_env, kube["real"]
        ).stdout
        assert len(listed.splitlines()) == 4
        done = run(
            ["kubectl", "delete", "namespace", "real", "--timeout=50s"], tool_env, kube["real"]
        )
        assert done.returncode == 0, done.stderr


LISTENER = """
import socket, sys, time
kept = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""


def _answers(daemon: Callable[[], Daemon]) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", daemon().ports[0]), 1),
    ):
        return daemon().alive
    return False


def test_a_port_that_is_lost_to_another_is_replaced(tmp_path: Path) -> None:
    """Between the look for a free port and the bind someone else takes it."""
    daemon = Daemon(
        "listener",
        tmp_path / "log",
        lambda ports: [sys.executable, "-c", LISTENER, str(ports[0])],
        lambda: daemon.ports[0] != lost and _answers(lambda: daemon),
    )
    lost = daemon.ports[0]
    with socket.create_server(("127.0.0.1", lost)):
        try:
            daemon.launch()
            daemon.wait(time.monotonic() + 20)
            assert daemon.ports[0] != lost
        finally:
            daemon.kill()


@pytest.mark.parametrize(
    ("script", "told"),
    [("echo boom; exit 3", "ended with 3"), ("echo boom; exec sleep 600", "is not ready")],
)
def test_a_start_that_fails_shows_the_last_log_lines(
    tmp_path: Path, script: str, told: str
) -> None:
    """Whether it ended or hangs: the reason stands in the error, not only in a file."""
    daemon = Daemon("broken", tmp_path / "log", lambda _: ["sh", "-c", script], lambda: False, 0)
    daemon.launch()
    try:
        with pytest.raises(NotReady, match=told) as failed:
            daemon.wait(time.monotonic() + 1)
        assert "boom" in str(failed.value)
    finally:
        daemon.kill()


def _fake_go(home: Path, script: str) -> dict[str, str]:
    """An environment in which Go is a shell script and the cache is empty."""
    home.joinpath("path").mkdir(exist_ok=True)
    go = home / "path" / "go"
    go.write_text(f"#!/bin/sh\n{script}\n")
    go.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key != "KUBEBUILDER_ASSETS"}
    return kept | {
        "PATH": f"{home}/path:/usr/bin:/bin",
        "FLEETCTL_TOOLS_CACHE": str(home / "cache"),
    }


# kube-scheduler: no system has it on PATH by accident, as Debian has etcd.
TOOLS = [sys.executable, "-m", "tests.localkube.toolchain.tools", "--only", "kube-scheduler"]


def test_a_build_killed_midway_leaves_nothing_broken(tmp_path: Path) -> None:
    """kill -9 while Go writes the binary: Go dies too, the cache has no such tool, the next run
    builds it.
    """
    env = _fake_go(tmp_path, f'echo half > "$8"; echo $$ > {tmp_path}/pid; exec sleep 600')
    with subprocess.Popen(TOOLS, env=env, cwd=ROOT, stderr=subprocess.DEVNULL) as first:
        go = wait_for(lambda: _number(tmp_path / "pid"), 20, lambda: "go was not started")
        first.send_signal(signal.SIGKILL)
    wait_for(lambda: holds(identity(go) is None), 10, lambda: f"go {go} still exists")
    assert not list((tmp_path / "cache").glob("kube-scheduler-*"))
    env = _fake_go(tmp_path, 'echo whole > "$8"')
    subprocess.run(TOOLS, env=env, cwd=ROOT, check=True, timeout=30, capture_output=True)
    [built] = (tmp_path / "cache").glob("kube-scheduler-*/kube-scheduler")
    assert built.read_text() == "whole\n"
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_two_at_once_build_once(tmp_path: Path) -> None:
    """The second waits for the lock and then finds the tool in the cache."""
    env = _fake_go(tmp_path, f'echo built >> {tmp_path}/calls; sleep 1; echo whole > "$8"')
    running = [
        subprocess.Popen(TOOLS, env=env, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(3)
    ]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "built\n"


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text else None


def _recorded(home: Path) -> dict[int, str]:
    record = json.loads((home / kubeapi.RECORD).read_text())
    return {process["pid"]: process["identity"] for process in record["processes"]}


def _still(processes: dict[int, str]) -> list[int]:
    return sorted(pid for pid, text in processes.items() if identity(pid) == text)
