"""No helm of an earlier agent is alive when the next one changes a release, whatever kind of helm
it is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.release.helm_lock import HelmLock
from fleetctl.core.model.errors import DeadlineError, HelmAlive
from fleetctl.tools.helm import HelmCli, Release, UpgradeFlags

# An agent as far as its helm goes: takes the lock, runs `helm upgrade`, and is killed from outside.
AGENT = """
import asyncio, sys
from pathlib import Path
from agent.release.helm_lock import HelmLock
from fleetctl.tools.helm import HelmCli, Release, UpgradeFlags
folder = Path(sys.argv[1])
async def main():
    fence = HelmLock(folder / "helm.lock")
    await fence.take()
    helm = HelmCli([sys.argv[2]], kubeconfig=folder / "none", home=folder, lock=fence.handles)
    await helm.upgrade(Release("web", "apps"), folder, b"{}", UpgradeFlags(), deadline=60)
asyncio.run(main())
"""
STUBBORN = (
    "#!/bin/sh\ntrap '' TERM INT HUP PIPE\necho $$ >>{pids}\n( trap '' TERM INT HUP PIPE; exec"
    " sleep 60 ) &\necho $! >>{pids}\nwait\n"
)
# A wrapper script that starts helm in a session of its own: the kernel's signal does not reach it.
ESCAPED = (
    "#!/bin/sh\nsetsid sh -c 'echo $$ >>{pids}; trap \"\" TERM; sleep 60 & wait' </dev/null"
    " >/dev/null 2>&1 &\nwait\n"
)


def script(folder: Path, text: str) -> Path:
    path = folder / "helm"
    path.write_text(text.format(pids=folder / "pids"))
    path.chmod(0o755)
    return path


def pids(folder: Path) -> list[int]:
    path = folder / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(good: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[[str, int], subprocess.Popen[bytes]]]:
    """Starts an agent with a helm, and returns when `count` processes of that helm run."""
    running: list[subprocess.Popen[bytes]] = []

    def start(text: str, count: int) -> subprocess.Popen[bytes]:
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(tmp_path), str(script(tmp_path, text))]
        )
        running.append(agent)
        until(lambda: len(pids(tmp_path)) >= count)
        return agent

    yield start
    for agent in running:
        agent.kill()
        agent.wait()
    for pid in pids(tmp_path):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def take(tmp_path: Path, patience: float) -> HelmLock:
    helm_lock = HelmLock(tmp_path / "helm.lock")
    asyncio.run(helm_lock.take(patience))
    return helm_lock


def test_a_killed_agent_takes_its_helm_along(tmp_path: Path, begun) -> None:
    """Also one that ignores every signal it can; the successor has the lock at once, and nothing of
    it is alive then.
    """
    agent = begun(STUBBORN, 2)
    agent.kill()
    agent.wait()
    helm_lock = take(tmp_path, 10)
    assert not alive(pids(tmp_path)[0])
    helm_lock.close()


def test_a_helm_that_escaped_is_ended_before_the_successor_goes_on(tmp_path: Path, begun) -> None:
    """It lives in a session of its own and would go on for a minute: it is waited for, then killed
    with what it started.
    """
    agent = begun(ESCAPED, 1)
    agent.kill()
    agent.wait()
    (escaped,) = pids(tmp_path)
    assert alive(escaped)
    helm_lock = take(tmp_path, 0.3)
    assert not alive(escaped)
    helm_lock.close()


def test_while_an_agent_lives_no_other_has_the_lock(tmp_path: Path) -> None:
    """It is not ended by its own hand, and the successor that cannot end it changes nothing."""
    first = take(tmp_path, 1)
    second = HelmLock(tmp_path / "helm.lock")
    with pytest.raises(HelmAlive, match="nothing is changed"):
        asyncio.run(second.take(0.1))
    assert second.handles() == ()
    first.close()
    asyncio.run(second.take(0.1))
    second.close()


def test_a_helm_that_only_reads_holds_nothing(tmp_path: Path) -> None:
    """Else a forgotten `helm get` would stop an agent."""
    helm_lock = take(tmp_path, 1)
    helm = HelmCli(
        [str(script(tmp_path, "#!/bin/sh\nls -l /proc/self/fd\n"))],
        kubeconfig=tmp_path,
        home=tmp_path,
        lock=helm_lock.handles,
    )
    assert b"helm.lock" not in asyncio.run(helm.manifest(Release("web", "apps"), deadline=20))
    helm_lock.close()


def test_a_helm_that_hangs_is_ended_at_its_deadline_with_all_it_started(tmp_path: Path) -> None:
    """And it is said of which release."""
    helm_lock = take(tmp_path, 1)
    helm = HelmCli(
        [str(script(tmp_path, STUBBORN))],
        kubeconfig=tmp_path,
        home=tmp_path,
        lock=helm_lock.handles,
    )
    with pytest.raises(
        DeadlineError, match="helm upgrade of release apps/web did not end within 1 s"
    ):
        asyncio.run(
            helm.upgrade(Release("web", "apps"), tmp_path, b"{}", UpgradeFlags(), deadline=1)
        )
    until(lambda: not any(alive(pid) for pid in pids(tmp_path)))
    assert list(helm_lock.holders()) == []
    helm_lock.close()
