"""What `fleet-agent status` makes of the files of an agent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from agent.app import main
from agent.controlplane import identity
from agent.controlplane.desired_state import DocumentStore
from agent.controlplane.identity import Identity
from agent.diagnostics import status
from agent.state import attempts, status_file
from agent.state.journal import Entry, Journal
from agent.state.status_file import BundleStatus, StatusFile
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    ClusterName,
    Digest,
    Epoch,
    Generation,
    Workspace,
)
from fleetctl.core.model.options import Options
from fleetctl.core.model.status import ReleaseRef, Report, State
from fleetctl.core.model.wire import Desired, DesiredBundle, Envelope, Tombstone, Trouble

NOW = 1_700_000_000.0
ME = Identity(
    url="https://m:1",
    ca_pem="",
    cluster_id=ClusterId("c-1"),
    cluster="paris",
    workspace="fleet-default",
    keys={},
)


def wanted(**generations: int) -> Desired:
    bundles = [
        DesiredBundle(
            name=BundleName(name),
            generation=Generation(g),
            archive=Digest(""),
            size=0,
            options=Options(),
            options_digest=Digest(""),
        )
        for name, g in generations.items()
    ]
    head = {
        "workspace": Workspace("fleet-default"),
        "cluster_id": ClusterId("c-1"),
        "cluster": ClusterName("paris"),
        "epoch": Epoch(1),
    }
    return Desired(
        **head, issued="2026-11-01T00:00:00Z", expires="2026-12-01T00:00:00Z", bundles=bundles
    )


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Enrolled, with a document of two bundles, one of which is held."""
    folder = tmp_path / "state"
    identity.key_of(folder)
    identity.save(folder, ME)
    (folder / "archives").mkdir()
    envelope = Envelope(
        key_id="k", payload=msgspec.json.encode(wanted(web=3, db=1)).decode(), signature="s"
    )
    DocumentStore(folder, lambda _: wanted()).keep('"e"', envelope)
    journal = Journal(folder / "journal")
    journal.put(
        Entry(
            bundle=BundleName("web"),
            generation=Generation(3),
            applied=Generation(2),
            release="web",
            namespace="n",
            began=True,
        )
    )
    journal.close()
    return folder


def report(name: str, state: State, message: str = "") -> Report:
    release = ReleaseRef(name=name, namespace="n", revision=2)
    return Report(
        bundle=BundleName(name),
        generation=Generation(3),
        applied=Generation(3),
        state=state,
        message=message,
        release=release,
    )


def test_without_an_agent_the_states_are_those_of_the_journal(
    state_dir: Path, tmp_path: Path
) -> None:
    """What was cut off is said; what was never begun too; nothing claims to be Ready."""
    found = status.gather(state_dir, tmp_path / "none", NOW)
    assert (found.agent, found.states_known) == ("stopped", False)
    assert [(b.bundle, b.state, b.applied, b.generation) for b in found.bundles] == [
        ("db", "WaitApplied", 0, 1),
        ("web", "WaitApplied", 2, 3),
    ]
    shown = status.text(found, 80)
    assert "is not running" in shown
    assert "a change was started and not finished" in shown


def test_a_stopped_agent_shows_bundles_that_are_set_aside_and_those_to_be_removed(
    state_dir: Path, tmp_path: Path
) -> None:
    """From the marks on the disk: an active one is a death of the agent that has ended; one of
    older inputs does not count.
    """
    document = msgspec.structs.replace(
        wanted(web=3, db=1, old=2),
        tombstones=[Tombstone(name=BundleName("gone"), generation=Generation(4))],
    )
    envelope = Envelope(key_id="k", payload=msgspec.json.encode(document).decode(), signature="s")
    DocumentStore(state_dir, lambda _: wanted()).keep('"e"', envelope)
    journal = Journal(state_dir / "journal")
    journal.put(
        Entry(
            bundle=BundleName("gone"),
            generation=Generation(3),
            applied=Generation(3),
            release="gone",
            namespace="n",
        )
    )
    journal.put(
        Entry(
            bundle=BundleName("db"), generation=Generation(1), error="no such chart", code="chart"
        )
    )
    journal.close()
    (state_dir / "attempts").mkdir()
    inputs = {b.name: attempts.inputs_of(document, b) for b in document.bundles}
    marks = [
        attempts.Mark(
            bundle=BundleName("web"), inputs=inputs[BundleName("web")], deaths=1, active=True
        ),
        attempts.Mark(
            bundle=BundleName("old"), inputs="another generation", deaths=9, active=False
        ),
    ]
    for mark in marks:
        (state_dir / "attempts" / f"{mark.bundle}.json").write_bytes(msgspec.json.encode(mark))
    bundles = {b.bundle: b for b in status.gather(state_dir, tmp_path / "none", NOW).bundles}
    assert (bundles["web"].state, bundles["web"].code) == ("ErrApplied", "set-aside")
    assert "died 2 times" in bundles["web"].message
    assert (bundles["db"].state, bundles["db"].code, bundles["db"].message) == (
        "ErrApplied",
        "chart",
        "no such chart",
    )
    assert (bundles["old"].state, bundles["old"].code) == ("WaitApplied", "")
    assert bundles["gone"].message == "it will be removed"
    handle = locked(state_dir)
    hanging = {b.bundle: b for b in status.gather(state_dir, tmp_path / "none", NOW).bundles}
    os.close(handle)
    assert hanging["web"].code == ""


def locked(folder: Path) -> int:
    import fcntl

    handle = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def beating(path: Path, *reports: Report, contact: float = NOW - 12, error: str = "") -> StatusFile:
    told = StatusFile(path, "1.0")
    told.beat(list(reports), set(), contact, error)
    os.utime(path, (NOW - 3, NOW - 3))
    return told


def test_a_running_agent_shows_what_it_sees(state_dir: Path, tmp_path: Path) -> None:
    """The worst first, with its message, the age of the last contact, and no word of the
    journal.
    """
    handle = locked(state_dir)
    beating(
        tmp_path / "live",
        report("a", State.READY),
        report("web", State.NOT_READY, "Deployment n/web: 0 of 1 available"),
    )
    found = status.gather(state_dir, tmp_path / "live", NOW)
    os.close(handle)
    assert (found.agent, found.contact_seconds, found.beat_seconds) == ("running", 12, 3)
    assert [b.bundle for b in found.bundles] == ["web", "a"]
    assert "    Deployment n/web: 0 of 1 available" in status.text(found, 80).splitlines()


def test_an_agent_that_hangs_is_told_from_one_that_runs(state_dir: Path, tmp_path: Path) -> None:
    """It holds its lock and gives no heartbeat for more than a minute."""
    handle = locked(state_dir)
    beating(tmp_path / "live", report("a", State.READY))
    found = status.gather(state_dir, tmp_path / "live", NOW + 600)
    without = status.gather(state_dir, tmp_path / "none", NOW)
    os.close(handle)
    assert (found.agent, without.agent) == ("hangs", "hangs")
    assert "HANGS: it holds the lock and gives no heartbeat for 10 min" in status.text(found, 80)


def test_what_an_ended_agent_left_behind_is_not_believed(state_dir: Path, tmp_path: Path) -> None:
    """After kill -9 the file is still there: the lock says that nobody runs."""
    beating(tmp_path / "live", report("a", State.READY))
    assert status.gather(state_dir, tmp_path / "live", NOW).agent == "stopped"


def test_a_file_of_somebody_else_is_not_believed(state_dir: Path, tmp_path: Path) -> None:
    """The directory in memory is writable for everybody."""
    handle = locked(state_dir)
    beating(tmp_path / "live", report("a", State.READY))
    assert status_file.read(tmp_path / "live", {os.getuid() + 1}) is None
    (tmp_path / "link").symlink_to(tmp_path / "live")
    assert status_file.read(tmp_path / "link", {os.getuid()}) is None
    os.close(handle)


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_the_terminal(width: int) -> None:
    """Long names are cut, long messages wrapped, and nobody's text moves the cursor."""
    bundle = BundleStatus(
        bundle="b" * 90,
        state="WaitingForDependency",
        message="m\x1b[2J " * 60,
        namespace="n" * 63,
        release="r" * 53,
    )
    one = Trouble(code="disk-full", message="no space " * 20, since="2026-11-25T15:00:00Z")
    made = status.Status(
        cluster="c",
        workspace="w",
        id="c-" + "1" * 20,
        manager="https://m",
        agent="running",
        troubles=[one],
        bundles=[bundle],
    )
    lines = status.text(made, width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_json_has_every_field(
    state_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Also those that say nothing now: a script finds what it looks for."""
    monkeypatch.setenv("FLEET_AGENT_LIVE_FILE", str(tmp_path / "none"))
    assert main(["status", "--state-dir", str(state_dir), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        msgspec.structs.fields(status.Status)[i].encode_name
        for i in range(len(msgspec.structs.fields(status.Status)))
    }
    assert found["bundles"][0] == {"bundle": "db", "state": "WaitApplied", "generation": 1}


def test_a_directory_without_an_agent_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, as for every wrong argument."""
    assert main(["status", "--state-dir", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/none is not enrolled\n")


def test_an_unchanged_beat_only_touches_the_file(tmp_path: Path) -> None:
    """And a file that somebody removed comes back."""
    path = tmp_path / "live"
    told = beating(path, report("a", State.READY))
    before = path.stat()
    reports = list(told._reports)
    told.beat(reports, set(), NOW - 12, "")
    after = path.stat()
    assert (before.st_ino, before.st_mtime < after.st_mtime) == (after.st_ino, True)
    path.unlink()
    told.beat(reports, set(), NOW - 12, "")
    assert status_file.read(path, {os.getuid()}) is not None
