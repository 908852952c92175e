"""The agent's own upgrade: a real manager, a real agent process over a directory target, and real
.pyz files, good and bad.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.host.failpoints import UPGRADE_NAMES
from agent.upgrade import launcher
from agent.upgrade.release_keys import pin
from agent.upgrade.trial_state import ATTEMPTS, STARTS, TrialState
from examples.demo.parts import Agent, Process
from fleetctl.cli.commands.settings.agent_release.signing import read_release, sign
from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease, to_file
from tests.localkube.kubeapi import LocalKube
from tests.servers.gitserver import GitServer
from tests.support.agent.agent_file import bare, build, variant
from tests.support.depth import matrix
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
Change = Callable[[dict[str, bytes]], None]


# for versions that never check in; a good one may need more on a busy machine
IMPATIENT = {"FLEET_AGENT_TRIAL_SECONDS": "5"}


def public(key: Ed25519PrivateKey) -> str:
    return wire.b64(key.public_key().public_bytes_raw())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("pyz") / "fleet-agent.pyz", "1.0")


class Site:
    """One manager, one agent that runs from an installed .pyz of version 1.0, one bundle."""

    def __init__(
        self,
        folder: Path,
        env: dict[str, str],
        built: Path,
        *,
        kubeconfig: Path | None = None,
        namespace: str = "default",
    ) -> None:
        self.folder, self.built = folder, built
        quick = {"FLEET_AGENT_TRIAL_SECONDS": "60", "FLEET_AGENT_UPGRADE_RETRY_SECONDS": "0.2"}
        self.fleet = Fleet(folder / "fleet", env | quick)
        self.git = GitServer(folder / "git")
        self.git.start()
        repo = Clone(self.git, "apps", folder / "clone")
        repo.push(
            {
                "fleet.yaml": f"defaultNamespace: {namespace}\n",
                "web/config.yaml": (
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}\n"
                ),
            }
        )
        self.fleet.gitrepo(repo.url)
        self.installed = folder / "fleet-agent.pyz"
        self.installed.write_bytes(built.read_bytes())
        made = self.fleet.call("POST", "clusters/fleet-default/paris/register", {"labels": {}})
        self.agent = Agent(
            self.fleet.folder,
            "paris",
            env | quick,
            kubeconfig=kubeconfig,
            target_dir=None if kubeconfig else folder / "out",
        )
        self.agent.enrol(self.fleet.manager.url, made["caPin"], made["token"])
        self.fleet.agents["paris"] = self.agent
        argv = [bare(), "-I", str(self.installed), "run", "--state-dir", str(self.agent.state_dir)]
        self.process = Process(
            "agent paris",
            argv,
            {k: v for k, v in self.agent.process.env.items() if k != "PYTHONPATH"},
            self.agent.process.log,
        )
        self.agent.process = self.process
        pin(self.agent.state_dir, [public(KEY)])

    def start(self, **env: str) -> None:
        self.process.env = {
            k: v for k, v in self.process.env.items() if not k.startswith("FLEETCTL_FAILPOINTS")
        } | env
        self.process.start()

    def runs(self, version: str, *, seconds: float = 60) -> dict[str, Any]:
        """As soon as the manager hears it from an agent of this version."""
        return self.until(lambda s: s["version"] == version, seconds=seconds)

    def until(
        self, good: Callable[[dict[str, Any]], bool], *, seconds: float = 60
    ) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            return dict(
                self.fleet.call("GET", "objects/clusters/fleet-default/paris")["status"]["agent"]
            )

        found: dict[str, Any] = self.fleet.until(look, good, seconds=seconds)
        return found

    def ended(self, state: str, *, seconds: float = 60) -> dict[str, Any]:
        return self.until(lambda s: s.get("upgrade", {}).get("state") == state, seconds=seconds)

    def file(self, version: str, change: Change = lambda _: None) -> Path:
        return variant(self.built, self.folder / f"{version}.pyz", version, change)

    def add(
        self, path: Path, key: Ed25519PrivateKey = KEY, *, replaces_newer: bool = False, **said: str
    ) -> AgentRelease:
        release, data = read_release(path)
        release = sign(msgspec.structs.replace(release, **said), key, replaces_newer=replaces_newer)
        header = {"fleet-release": wire.b64(to_file(release))}
        answer = self.fleet.client.post("/api/v1/agent-releases", content=data, headers=header)
        assert answer.status_code == 201, answer.text
        return release

    def stop(self) -> None:
        self.fleet.stop()
        self.git.stop()

    def wish(self, version: str, **more: Any) -> dict[str, Any]:
        body = {"workspace": "fleet-default", "names": ["paris"], "version": version, **more}
        return dict(self.fleet.call("POST", "agent-wishes", body))

    def state(self) -> TrialState:
        return launcher.load(self.agent.state_dir)

    def one_process(self) -> bool:
        """Nobody but the process that was started works on the state directory."""
        mine = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.agent.state_dir).encode() in words:
                mine.append(int(path.parent.name))
        return mine == [self.process.pid]

    def log(self) -> str:
        return self.process.log.read_text(errors="replace")


@pytest.fixture
def site(tmp_path: Path, tool_env: dict[str, str], built: Path) -> Iterator[Site]:
    site = Site(tmp_path, tool_env, built)
    try:
        yield site
    finally:
        site.stop()


def raises(files: dict[str, bytes]) -> None:
    files["agent/loops/supervisor.py"] = b"raise RuntimeError('no such luck')\n"


def raises_when_it_runs(files: dict[str, bytes]) -> None:
    """Passes its check, and dies as soon as it is an agent."""
    files["agent/loops/poll.py"] += (
        b"\n\ndef _dead(self):\n    import os\n    os._exit(9)\n\n\nPoller.load = _dead\n"
    )


def hangs(files: dict[str, bytes]) -> None:
    files["agent/loops/poll.py"] += (
        b"\n\ndef _stuck(self):\n    import time\n    time.sleep(1000)\n\n\nPoller.load = _stuck\n"
    )


def deaf(files: dict[str, bytes]) -> None:
    """Runs well and never asks the manager anything; SIGTERM does not impress it."""
    files["agent/loops/poll.py"] += (
        b"\n\nasync def _deaf(self):\n    import signal\n    signal.signal(signal.SIGTERM,"
        b" signal.SIG_IGN)\n    await asyncio.sleep(1000)\n\n\nPoller.poll = _deaf\n"
    )


def greedy(files: dict[str, bytes]) -> None:
    files["agent/loops/poll.py"] += (
        b"\n\ndef _greedy(self):\n    held = []\n    while True:\n       "
        b" held.append(bytearray(b'x') * (16 << 20))\n\n\nPoller.load = _greedy\n"
    )


def test_a_good_version_replaces_the_one_that_runs(site: Site) -> None:
    """Same process, no helper left, the bundle untouched; a restart runs the new one, and the wish
    is done once.
    """
    site.start()
    site.fleet.all_ready(bundles=1)
    pid = site.process.pid
    site.add(site.file("2.0"))
    told = site.wish("2.0")
    assert (told["wanted"], told["queued"]) == (["paris"], [])
    found = site.ended("done")
    assert (found["version"], found["wanted"], found["troubles"]) == ("2.0", "2.0", [])
    assert (site.process.alive(), site.process.pid, site.one_process()) == (True, pid, True)
    state = site.state()
    assert (state.current.version if state.current else "", state.trial, state.failure) == (
        "2.0",
        None,
        None,
    )
    site.process.kill()
    site.start()
    # on trial, as the current one, and again
    site.fleet.until(site.log, lambda text: text.count("fleet-agent 2.0 follows") == 3)
    site.fleet.all_ready(bundles=1)
    # And on to the next, whose way back is 2.0.
    site.add(site.file("3.0"))
    site.wish("3.0")
    assert site.ended("done")["version"] == "3.0"
    answer = site.fleet.client.delete("/api/v1/agent-releases/3.0")
    assert (answer.status_code, "1 cluster wants" in answer.text) == (409, True)
    site.fleet.call("DELETE", "agent-releases/2.0")


@pytest.mark.full
def test_an_init_system_sees_one_process_that_never_stops(site: Site) -> None:
    """systemd takes messages of its main process only, ends a unit that says STOPPING, and one that
    forgets the watchdog.
    """
    name = f"fleet-{site.folder.parent.name}-{site.folder.name}"[:100]
    heard: list[tuple[int, str, float]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(f"\0{name}")

        def listen() -> None:
            while True:
                data, more, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(12))
                if data == b"end":
                    return
                heard.append((struct.unpack("3i", more[0][2])[0], data.decode(), time.monotonic()))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            site.start(NOTIFY_SOCKET=f"@{name}")
            site.add(site.file("2.0"))
            site.wish("2.0")
            site.ended("done")
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.connect(f"\0{name}")
                out.send(b"end")
            thread.join()
    assert {pid for pid, _, _ in heard} == {site.process.pid}
    assert not [text for _, text, _ in heard if "STOPPING" in text]
    assert [text for _, text, _ in heard if "STATUS=trying version 2.0" in text]
    alive = [at for _, text, at in heard if "WATCHDOG" in text]
    assert max(later - sooner for sooner, later in itertools.pairwise(alive)) < 30


def test_without_a_pinned_key_upgrades_are_off(site: Site) -> None:
    """The wish is refused and reported; a key that is pinned at the next start lets it through,
    `none` takes it away.
    """
    pin(site.agent.state_dir, ["none"])
    site.start()
    site.add(site.file("2.0"))
    site.wish("2.0")
    found = site.ended("refused")
    assert "upgrades are off" in found["upgrade"]["message"]
    assert [t["code"] for t in found["troubles"]] == ["agent-upgrade"]
    assert not list(site.agent.state_dir.glob("agents/*.pyz"))
    site.process.stop()
    site.process.argv = [*site.process.argv, "--release-key", public(KEY)]
    site.start()
    assert site.ended("done")["troubles"] == []


def test_a_manager_that_was_taken_over_cannot_run_a_program(site: Site) -> None:
    """Signed by another key, with a stolen key id, or with the right signature over other bytes:
    nothing is even fetched, or kept.
    """
    site.start()
    site.runs("1.0")
    release = site.add(site.file("2.0"), STRANGER)
    site.wish("2.0")
    assert "not signed by a release key" in site.ended("refused")["upgrade"]["message"]
    assert not list(site.agent.state_dir.glob("agents/*.pyz"))
    # The manager's own database says what its owner wants: now a key id that is pinned, and other
    # bytes in the archive.
    import sqlite3

    from agent.upgrade.release_keys import load_keys

    (key_id,) = load_keys(site.agent.state_dir)
    site.fleet.manager.process.kill()
    with sqlite3.connect(site.fleet.manager.data_dir / "fleet.db") as database:
        database.execute("UPDATE agent_releases SET key_id = ?", (key_id,))
    database.close()
    site.fleet.manager.start()
    site.fleet.until(
        site.log, lambda text: "new desired state" in text.split("not signed by a release key")[-1]
    )
    assert "not signed by a release key" in site.ended("refused")["upgrade"]["message"]
    assert not list(site.agent.state_dir.glob("agents/*.pyz"))
    site.wish("")
    site.fleet.call("DELETE", "agent-releases/2.0")
    release = site.add(site.file("2.1"))
    archive = site.fleet.manager.data_dir / "archives" / release.sha256[:2] / release.sha256
    archive.write_bytes(archive.read_bytes()[:-1] + b"!")
    site.wish("2.1")
    site.until(lambda s: "missing or damaged on the manager" in s["upgrade"]["message"])
    assert not list(site.agent.state_dir.glob("agents/*.pyz"))
    assert site.runs("1.0")["upgrade"]["state"] == "wanted"


@pytest.mark.full
def test_another_platform_is_refused_at_both_ends(site: Site) -> None:
    """The manager when it knows what the agent runs on, and the agent in any case."""
    site.add(site.file("2.0"), platform="riscv64-linux-gnu")
    site.wish("2.0")  # nothing was heard of this agent yet
    site.start()
    assert "is for cpython-" in site.ended("refused")["upgrade"]["message"]
    answer = site.fleet.client.post(
        "/api/v1/agent-wishes",
        json={"workspace": "fleet-default", "names": ["paris"], "version": "2.0"},
    )
    assert (answer.status_code, "riscv64" in answer.json()["summary"]) == (400, True)


def test_an_older_version_needs_a_signature_that_allows_it(site: Site) -> None:
    """The same file signed again, by the owner of the key, lets the agent go back."""
    site.start()
    site.runs("1.0")
    site.add(site.file("0.9"))
    site.wish("0.9")
    assert "not newer than 1.0" in site.ended("refused")["upgrade"]["message"]
    site.add(site.file("0.9"), replaces_newer=True)
    assert site.ended("done")["version"] == "0.9"


@pytest.mark.parametrize(
    ("change", "said", "tried"),
    [
        (raises, "no such luck", 0),
        (raises_when_it_runs, "status 9", ATTEMPTS),
        pytest.param(hangs, "did not check in", ATTEMPTS, marks=pytest.mark.full),
        pytest.param(deaf, "did not check in", ATTEMPTS, marks=pytest.mark.full),
        pytest.param(greedy, "MiB of memory", ATTEMPTS, marks=pytest.mark.full),
    ],
)
def test_a_bad_version_is_rolled_back_by_itself(
    site: Site, change: Change, said: str, tried: int
) -> None:
    """It is reported why, and the version before works on."""
    site.start(**(IMPATIENT if change in {hangs, deaf} else {}))
    site.runs("1.0")
    site.add(site.file("2.0", change))
    number = site.wish("2.0")["number"]
    found = site.ended("failed", seconds=150)
    assert (said in found["upgrade"]["message"], found["version"]) == (True, "1.0"), found
    assert [t["code"] for t in found["troubles"]] == ["agent-upgrade"]
    assert site.log().count("trying version 2.0") == tried
    assert (site.process.alive(), site.one_process()) == (True, True)
    failure = site.state().failure
    assert failure is not None
    assert (failure.target_number, site.state().current, site.state().trial) == (number, None, None)


@pytest.mark.full
def test_a_wish_that_failed_is_tried_again_only_when_it_is_wished_anew(site: Site) -> None:
    """Not by another start, nor by another document; the same version by a new wish, and another
    one.
    """
    site.start()
    site.runs("1.0")
    site.add(site.file("2.0", raises_when_it_runs))
    number = site.wish("2.0")["number"]
    site.ended("failed", seconds=150)
    tried = site.log().count("trying version 2.0")
    site.process.kill()
    site.start()
    site.fleet.until(site.log, lambda text: text.count("fleet-agent 1.0 follows") > ATTEMPTS - 1)
    site.add(site.file("2.1"))
    site.fleet.call("PATCH", "objects/clusters/fleet-default/paris/labels", {"a": "b"})
    site.fleet.until(site.log, lambda text: "new desired state" in text.split("is refused")[-1])
    assert site.ended("failed")["upgrade"]["number"] == number
    assert site.log().count("trying version 2.0") == tried
    again = site.wish("2.0")["number"]
    site.until(
        lambda s: s["upgrade"]["state"] == "failed" and s["upgrade"]["number"] == again, seconds=150
    )
    assert site.log().count("trying version 2.0") == 2 * tried
    site.wish("2.1")
    assert site.ended("done")["version"] == "2.1"


@pytest.mark.full
def test_a_manager_that_refuses_the_new_version_gets_the_old_one_back(site: Site) -> None:
    """Each of its polls is answered with an error; the old version's are not."""

    def wrong(files: dict[str, bytes]) -> None:
        files["fleetctl/core/model/wire.py"] = files["fleetctl/core/model/wire.py"].replace(
            b"fleet-request-v1", b"fleet-request-v9"
        )

    site.start(**IMPATIENT)
    site.runs("1.0")
    site.add(site.file("2.0", wrong))
    site.wish("2.0")
    found = site.ended("failed", seconds=150)
    assert ("did not check in" in found["upgrade"]["message"], found["version"]) == (True, "1.0")


@pytest.mark.parametrize(
    "name", matrix([n for n in UPGRADE_NAMES if n != "upgrade-failed"], "upgrade-confirmed")
)
def test_killed_at_any_step_it_ends_as_the_new_version(site: Site, name: str) -> None:
    """kill -9 of whoever is there, and a start as an init system would."""
    site.start(FLEETCTL_FAILPOINTS=f"{name}=kill")
    site.runs("1.0")
    site.add(site.file("2.0"))
    site.wish("2.0")
    if name in {"upgrade-checked-in", "upgrade-confirmed"}:
        # It is the child that dies, in each attempt: the parent sees it.
        site.fleet.until(site.log, lambda text: "trying version 2.0" in text)
        site.fleet.until(lambda: "signal 9" in site.log() or site.state().current is not None, bool)
        site.process.kill()
    else:
        site.fleet.until(site.process.alive, lambda alive: not alive)
    site.start()
    assert site.ended("done", seconds=90)["version"] == "2.0"
    assert site.one_process()


@pytest.mark.full
def test_killed_while_a_failure_is_written_down_it_is_rolled_back(site: Site) -> None:
    """The attempt was counted before it began."""
    site.start(FLEETCTL_FAILPOINTS="upgrade-failed=kill")
    site.runs("1.0")
    site.add(site.file("2.0", raises_when_it_runs))
    site.wish("2.0")
    for _ in range(ATTEMPTS):
        site.fleet.until(site.process.alive, lambda alive: not alive)
        site.process.start()
    assert "it was cut off" in site.ended("failed", seconds=90)["upgrade"]["message"]
    assert site.runs("1.0")


def test_a_parent_that_is_killed_takes_the_version_on_trial_with_it(site: Site) -> None:
    """Never two agents: and what was cut off counts as an attempt."""
    site.start(**IMPATIENT)
    site.runs("1.0")
    site.add(site.file("2.0", hangs))
    site.wish("2.0")
    site.fleet.until(site.state, lambda s: s.trial is not None and s.trial.attempts == 1)
    site.fleet.until(site.one_process, lambda one: not one)
    second = subprocess.run(
        site.process.argv,
        env=dict(site.process.env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (second.returncode, "another agent runs" in second.stderr) == (1, True), second
    site.process.kill()
    site.fleet.until(
        lambda: any(str(site.agent.state_dir).encode() in p for p in _commands()),
        lambda there: not there,
    )
    site.start(**IMPATIENT)
    assert site.ended("failed", seconds=90)["version"] == "1.0"


@pytest.mark.full
def test_stopping_in_a_trial_ends_both_and_costs_no_attempt(site: Site) -> None:
    """SIGTERM to the process that the init system knows."""
    site.start()
    site.runs("1.0")
    site.add(site.file("2.0", hangs))
    site.wish("2.0")
    site.fleet.until(site.state, lambda s: s.trial is not None and s.trial.attempts == 1)
    site.fleet.until(site.one_process, lambda one: not one)
    os.kill(site.process.pid, signal.SIGTERM)
    site.fleet.until(site.process.alive, lambda alive: not alive)
    trial = site.state().trial
    assert trial is not None
    assert trial.attempts == 0
    assert not any(str(site.agent.state_dir).encode() in command for command in _commands())


@pytest.mark.full
def test_a_program_that_is_installed_by_hand_wins(site: Site) -> None:
    """Over the version that the manager had brought; the old wish is not carried out again."""
    site.start()
    site.add(site.file("2.0"))
    site.wish("2.0")
    site.ended("done")
    site.process.stop()
    site.installed.write_bytes(site.file("1.5").read_bytes())
    site.start()
    found = site.ended("refused")
    assert (found["version"], "by hand" in found["upgrade"]["message"]) == ("1.5", True)


@pytest.mark.parametrize("harm", matrix(["gone", "damaged", "state"], "damaged"))
def test_a_current_version_that_is_damaged_is_not_started(site: Site, harm: str) -> None:
    """Its file is missing or has other bytes, or the state cannot be read: what was installed
    runs.
    """
    site.start()
    site.add(site.file("2.0"))
    site.wish("2.0")
    site.ended("done")
    site.process.stop()
    (staged,) = site.agent.state_dir.glob("agents/*.pyz")
    match harm:
        case "gone":
            staged.unlink()
        case "damaged":
            staged.write_bytes(staged.read_bytes()[:-1] + b"!")
        case _:
            (site.agent.state_dir / "agents" / "state.json").write_bytes(b"\0" * 100)
    site.start()
    site.fleet.until(
        site.log,
        lambda text: "fleet-agent 1.0 follows" in text.split("fleet-agent 2.0 follows")[-1],
    )
    # Without a readable state the wish is a new one, and is carried out again.
    assert site.ended("failed" if harm != "state" else "done")["version"] == (
        "1.0" if harm != "state" else "2.0"
    )


def test_an_installed_package_gives_way_to_a_file(site: Site) -> None:
    """`python -m agent`, as pip installs it, runs the .pyz with its own interpreter."""
    from examples.demo.parts import program

    site.process.argv = program("fleet-agent", "run", "--state-dir", str(site.agent.state_dir))
    site.process.env = dict(site.process.env) | {"PYTHONPATH": str(Path(__file__).parents[3])}
    site.start()
    site.until(lambda s: bool(s["version"]))
    site.add(site.file("9.0"))
    site.wish("9.0")
    assert site.ended("done")["version"] == "9.0"
    assert site.one_process()


def _commands() -> list[list[bytes]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().split(b"\0"))
        except OSError:
            continue
    return found


@pytest.mark.full
def test_a_version_that_checks_in_and_never_lasts_is_given_up(site: Site) -> None:
    """It dies after each start that is no trial; after a few of them what was installed runs,
    without anybody's doing.
    """

    def dies(files: dict[str, bytes]) -> None:
        files["agent/loops/poll.py"] += (
            b"\n\n_load = Poller.load\n\n\ndef _dead(self):\n    import os\n    from agent import"
            b" launch\n    if not launch.on_trial():\n        os._exit(9)\n   "
            b" _load(self)\n\n\nPoller.load = _dead\n"
        )

    site.start()
    site.runs("1.0")
    site.add(site.file("2.0", dies))
    site.wish("2.0")
    for _ in range(STARTS):
        site.fleet.until(site.process.alive, lambda alive: not alive)
        site.start()
    found = site.ended("failed")
    assert (found["version"], "did not last" in found["upgrade"]["message"]) == ("1.0", True)
    assert site.state().current is None


@pytest.mark.full
def test_what_is_being_changed_is_finished_first(
    tmp_path: Path, tool_env: dict[str, str], built: Path, kube: LocalKube
) -> None:
    """A real cluster and a slow helm: the wish comes while it runs; the release is deployed once,
    by the old version.
    """
    helm = shutil.which("helm", path=tool_env["PATH"])
    slow = tmp_path / "bin" / "helm"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *upgrade*) touch {tmp_path}/helm-runs; sleep 8;; esac\nexec'
        f' {helm} "$@"\n'
    )
    slow.chmod(0o755)
    env = tool_env | {"PATH": f"{slow.parent}:{tool_env['PATH']}"}
    site = Site(tmp_path, env, built, kubeconfig=kube["dev"].kubeconfig, namespace="upgraded")
    try:
        site.start()
        site.add(site.file("2.0"))
        site.fleet.until((tmp_path / "helm-runs").exists, bool)
        site.wish("2.0")
        assert site.ended("done", seconds=120)["version"] == "2.0"
        site.fleet.all_ready(bundles=1)
        log = site.log()
        assert log.index("bundle apps: deployed") < log.index("giving way to version 2.0")
        assert log.count("bundle apps: deployed") == 1
        release = site.fleet.deployments()["paris.apps"]["status"]["release"]
        assert release["revision"] == 1
    finally:
        site.stop()


def test_clusters_queue_behind_those_under_way(site: Site) -> None:
    """`--max 1`: the second begins when the first runs the new version; one that fails keeps its
    place.
    """
    site.start()
    site.runs("1.0")
    for name in ("athens", "rome"):  # of which nobody has heard yet
        site.fleet.call("POST", f"clusters/fleet-default/{name}/register", {"labels": {}})
    site.add(site.file("2.0"))
    told = site.wish("2.0", names=["paris", "athens", "rome"], most="1")
    assert (told["wanted"], told["queued"]) == (["paris"], ["athens", "rome"])
    site.ended("done")

    def states() -> dict[str, str]:
        items = site.fleet.call("GET", "objects/clusters")["items"]
        return {i["metadata"]["name"]: i["status"]["agent"]["upgrade"]["state"] for i in items}

    after = {"paris": "done", "athens": "wanted", "rome": "queued"}
    assert site.fleet.until(states, lambda found: found == after) == after
    # The wish of the second taken back makes room for the third.
    site.wish("", names=["athens"])
    found = site.fleet.call("GET", "objects/clusters")["items"]
    assert {
        i["metadata"]["name"]: i["status"]["agent"].get("upgrade", {}).get("state") for i in found
    } == {
        "paris": "done",
        "athens": None,
        "rome": "wanted",
    }
    assert json.dumps(site.wish("", names=["rome", "paris"])["clusters"]) == '["rome", "paris"]'
