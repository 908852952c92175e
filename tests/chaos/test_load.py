"""More than an agent is used to: many bundles, one large bundle, a helm that never ends, an API
server that is too busy.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.localkube.kubeapi import LocalKube
from tests.support.depth import depth
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone
from tests.support.network.api_proxy import ApiProxy

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"
_MIB = 1024
BUNDLES, OBJECTS, BUSY_SECONDS = depth(50, 200), depth(300, 1000), depth(4, 10)


class Eye:
    """Looks at an agent five times a second: the most memory that it held (KiB), and the most helm
    processes that it had at once.
    """

    def __init__(self, pid: int) -> None:
        self.memory = self.helms = 0
        self._pid, self._done = pid, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Eye:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.2):
            self.memory = max(self.memory, _resident(self._pid))
            self.helms = max(self.helms, sum(1 for name in _children(self._pid) if name == "helm"))


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def _children(pid: int) -> list[str]:
    """Names of the programs that run under `pid`; threads and children may end while we look."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [
                Path(f"/proc/{child}/comm").read_text().strip()
                for child in task.read_text().split()
            ]
    return found


def kubectl(env: dict[str, str], kubeconfig: Path, *words: str) -> str:
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(kubeconfig), *words],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_many_bundles_on_one_cluster(clone: Clone, fleet: Fleet, kube: LocalKube) -> None:
    """All become Ready with at most eight helms at once; then a commit to one of them changes that
    one only, soon.
    """
    files = {f"b{n}/m.yaml": MAP.format(name=f"many{n}", value=1) for n in range(BUNDLES)}
    clone.push(
        {**files, **{f"b{n}/fleet.yaml": "defaultNamespace: load-many\n" for n in range(BUNDLES)}}
    )
    fleet.gitrepo(clone.url, paths=["b*"])
    agent = fleet.agent("dev", kube["dev"].kubeconfig)
    with Eye(agent.process.pid) as eye:
        fleet.until(
            lambda: fleet.call("GET", "status")["deployments"],
            lambda s: s == {"Ready": BUNDLES},
            seconds=240,
        )
    assert 1 <= eye.helms <= 8
    assert eye.memory < 90 * _MIB
    before = {n: i["status"]["release"] for n, i in fleet.deployments().items()}
    commit = clone.push({"b7/m.yaml": MAP.format(name="many7", value=2)})
    fleet.all_ready(commit, bundles=BUNDLES)
    after = {n: i["status"]["release"] for n, i in fleet.deployments().items()}
    assert [n for n in after if after[n] != before[n]] == ["dev.apps-b7"]


@pytest.mark.full
def test_many_objects_in_one_bundle(
    clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """Ready as one deployment, its report cut to what a report may hold; a hand edit of the last
    object is seen, and Git wins again.
    """
    last = f"large{OBJECTS - 1}"
    text = "---\n".join(MAP.format(name=f"large{n}", value=n) for n in range(OBJECTS))
    clone.push({"fleet.yaml": "defaultNamespace: load-large\n", "m.yaml": text})
    fleet.gitrepo(clone.url)
    agent = fleet.agent("dev", kube["dev"].kubeconfig)
    with Eye(agent.process.pid) as eye:
        fleet.all_ready(bundles=1, seconds=150)
        kubectl(
            tool_env,
            kube["dev"].kubeconfig,
            "-n",
            "load-large",
            "patch",
            "cm",
            last,
            "-p",
            '{"data":{"a":"hand"}}',
        )
        found = fleet.until(
            fleet.deployments,
            lambda d: d["dev.apps"]["status"]["display"]["state"] == "Modified",
            seconds=90,
        )
        assert last in json.dumps(found["dev.apps"]["status"]["modifiedStatus"])
        clone.push({"m.yaml": text.replace("'5'", "'55'")})
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "Ready"}, seconds=150)
    assert kubectl(
        tool_env,
        kube["dev"].kubeconfig,
        "-n",
        "load-large",
        "get",
        "cm",
        last,
        "-o",
        "jsonpath={.data.a}",
    ) == str(OBJECTS - 1)
    assert eye.memory < 120 * _MIB


def test_a_helm_that_hangs_stops_no_other(
    clone: Clone, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """One release's helm never ends: its siblings are deployed meanwhile, it is ended at its
    deadline and said, and helm works again.
    """
    real = subprocess.run(
        ["which", "helm"], env=tool_env, capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = tmp_path / "bin"
    folder.mkdir()
    stuck = tmp_path / "stuck"
    stuck.touch()
    (folder / "helm").write_text(
        f'#!/bin/sh\ncase " $* " in *" apps-hang "*) while [ -e {stuck} ]; do trap "" TERM; sleep'
        f' 1; done;; esac\nexec {real} "$@"\n'
    )
    (folder / "helm").chmod(0o755)
    env = {**tool_env, "PATH": f"{folder}:{tool_env['PATH']}", "FLEET_AGENT_HELM_SECONDS": "6"}
    fleet = Fleet(tmp_path / "fleet", env)
    try:
        names = ("hang", "b1", "b2", "b3")
        clone.push(
            {f"{n}/m.yaml": MAP.format(name=n, value=1) for n in names}
            | {f"{n}/fleet.yaml": "namespace: load-hang\n" for n in names}
        )
        fleet.gitrepo(clone.url, paths=list(names))
        agent = fleet.agent("dev", kube["dev"].kubeconfig)
        others = {f"dev.apps-b{n}": "Ready" for n in (1, 2, 3)}
        fleet.until(fleet.states, lambda s: s == others | {"dev.apps-hang": "ErrApplied"})
        assert "did not end within 6 s" in fleet.deployments()["dev.apps-hang"]["status"]["message"]
        assert not _left_behind(folder / "helm", agent.process.pid)
        stuck.unlink()
        fleet.until(fleet.states, lambda s: s == others | {"dev.apps-hang": "Ready"}, seconds=60)
    finally:
        fleet.stop()


@pytest.mark.full
def test_an_api_server_that_is_too_busy_is_not_pressed(
    clone: Clone, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
) -> None:
    """For some seconds it answers 429 to everybody, then to every third request: few are sent
    meanwhile, and all becomes Ready.
    """
    fleet = Fleet(tmp_path / "fleet", tool_env)
    turn = itertools.count()
    try:
        with ApiProxy(kube["test"].kubeconfig, tmp_path) as proxy:
            names = [f"busy{n}" for n in range(6)]
            clone.push(
                {f"{n}/m.yaml": MAP.format(name=n, value=1) for n in names}
                | {f"{n}/fleet.yaml": "namespace: load-busy\n" for n in names}
            )
            fleet.gitrepo(clone.url, paths=names)
            fleet.agent("test", proxy.kubeconfig)
            fleet.all_ready(bundles=6, seconds=90)
            proxy.busy = lambda: True
            clone.push({f"{n}/m.yaml": MAP.format(name=n, value=2) for n in names})
            fleet.until(lambda: proxy.refused, lambda refused: refused > 0, seconds=30)
            before = proxy.refused
            time.sleep(BUSY_SECONDS)
            pressed = proxy.refused - before
            proxy.busy = lambda: next(turn) % 3 == 0
            fleet.all_ready(bundles=6, seconds=120)
            look = ("-n", "load-busy", "get", "cm", "busy5", "-o", "jsonpath={.data.a}")
            fleet.until(
                lambda: kubectl(tool_env, kube["test"].kubeconfig, *look),
                lambda value: value == "2",
                seconds=120,
            )
            fleet.all_ready(bundles=6, seconds=120)
        # Six releases, each helm of which tries again by itself once a second, and the agent's own
        # looks.
        assert pressed < 200
    finally:
        fleet.stop()


def _left_behind(script: Path, agent: int) -> list[str]:
    """Processes of the hanging script that the agent has lost."""
    end = time.monotonic() + 5
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words, parent = (
                    path.read_bytes(),
                    int((path.parent / "stat").read_text().rpartition(")")[2].split()[1]),
                )
            except OSError:
                continue
            if str(script).encode() in words and parent != agent:
                found.append(words.replace(b"\0", b" ").decode())
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)
