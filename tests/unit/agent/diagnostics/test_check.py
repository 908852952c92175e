"""The pieces of `fleet-agent check`, each from what it looks at to what it says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from agent.diagnostics import check_host, check_manager, finding
from agent.diagnostics.check_cluster import BundleFacts, Right, hanging, needs
from agent.diagnostics.finding import CheckFinding
from agent.release.records import RecordHeader
from fleetctl.core.model.errors import UsageError
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
from fleetctl.core.model.wire import Desired, DesiredBundle

NOW = time.mktime(time.strptime("2026-11-25", "%Y-%m-%d"))


def document(*bundles: tuple[str, Options], expires: str = "2026-12-20T00:00:00Z") -> Desired:
    head = {
        "workspace": Workspace("w"),
        "cluster_id": ClusterId("c"),
        "cluster": ClusterName("c"),
        "epoch": Epoch(1),
    }
    blank = {
        "generation": Generation(1),
        "archive": Digest(""),
        "size": 0,
        "options_digest": Digest(""),
    }
    made = [
        DesiredBundle(name=BundleName(name), options=options, **blank) for name, options in bundles
    ]
    return Desired(**head, issued="2026-11-20T00:00:00Z", expires=expires, bundles=made)


class TestHost:
    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        """What to do is to enrol."""
        found = check_host.directory(tmp_path / "none")
        assert (found.ok, "cluster register" in found.next_step) == (False, True)

    def test_a_directory_that_everybody_reads(self, tmp_path: Path) -> None:
        """A note, with the command that closes it."""
        folder = tmp_path / "state"
        folder.mkdir()
        folder.chmod(0o755)
        found = check_host.directory(folder)
        assert (found.ok, f"chmod 700 {folder}" in found.next_step) == (None, True)
        folder.chmod(0o700)
        assert check_host.directory(folder).ok is True

    def test_a_file_system_that_is_read_only(self) -> None:
        """/proc/sys is one on most machines; else there is none to try, and the flag is all that
        counts.
        """
        place = next(
            (p for p in (Path("/proc/sys"), Path("/sys")) if os.statvfs(p).f_flag & os.ST_RDONLY),
            None,
        )
        found = (
            check_host.directory(place) if place else CheckFinding("", ok=False, text="read-only")
        )
        assert (found.ok, "read-only" in found.text) == (False, True)

    def test_space_of_a_directory_that_is_still_to_be_made(self, tmp_path: Path) -> None:
        """Before the enrolment too."""
        assert "MiB free" in check_host.space(tmp_path / "a" / "b").text

    @pytest.mark.parametrize(("now", "ok"), [(0.0, None), (NOW, True)])
    def test_the_clock(self, now: float, ok: bool | None) -> None:
        """1970 is a note, since the agent works with it."""
        assert check_host.clock(now).ok is ok

    @pytest.mark.parametrize(
        ("expires", "ok"),
        [("2026-12-20T00:00:00Z", True), ("2026-11-01T00:00:00Z", None), ("never", True)],
    )
    def test_the_age_of_the_desired_state(self, expires: str, ok: bool | None) -> None:
        """Expired is a note: it is kept to."""
        assert check_host.aged(document(expires=expires), NOW).ok is ok

    def test_a_broken_journal_is_shown(self, tmp_path: Path) -> None:
        """It was put aside; what was made anew counts."""
        (tmp_path / "journal.broken").write_bytes(b"x")
        assert "journal.broken" in check_host.journal(tmp_path, running=False).text


class TestManager:
    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("https://m.example.com:8443", ("m.example.com", 8443)),
            ("https://m/", ("m", 443)),
            ("https://[fd00::1]:9", ("fd00::1", 9)),
        ],
    )
    def test_addresses(self, url: str, place: tuple[str, int]) -> None:
        """With and without a port, IPv6 in brackets."""
        assert check_manager.place(url) == place

    @pytest.mark.parametrize("url", ["https://", "https://m:x", "https://[fd00", ""])
    def test_what_is_no_address(self, url: str) -> None:
        """One error, not a trace."""
        with pytest.raises(UsageError):
            check_manager.place(url)

    @pytest.mark.parametrize(
        ("offset", "said"),
        [(0, []), (-299, []), (7200, ["2 hours behind"]), (-86400 * 3, ["3 days ahead of"])],
    )
    def test_the_managers_clock(self, offset: float, said: list[str]) -> None:
        """Within five minutes nothing is said."""
        found = check_manager.clock(offset)
        assert len(found) == len(said)
        assert all(words in one.text for one, words in zip(found, said, strict=True))


class TestCluster:
    def test_what_bundles_need(self) -> None:
        """Their release records where they are installed; of those with an account only to act as
        it, each asked once.
        """
        held = BundleFacts(
            "c",
            {},
            document(
                ("web", Options(namespace="shop")),
                ("db", Options(namespace="shop")),
                ("team", Options(namespace="x", service_account="team-a")),
            ),
            "accounts",
        )
        found = needs(held)
        assert Right("create", "secrets", namespace="shop") in found
        assert Right("impersonate", "serviceaccounts", namespace="accounts", name="team-a") in found
        assert not [right for right in found if right.namespace == "x"]
        assert len(found) == len(set(found)) == 6

    def test_releases_that_hang(self) -> None:
        """The newest record of each counts; pending and half removed ones are told apart."""
        made = [
            RecordHeader("web", "n", 1, "pending-install"),
            RecordHeader("web", "n", 2, "deployed"),
            RecordHeader("db", "n", 3, "deployed"),
            RecordHeader("db", "n", 4, "pending-upgrade"),
            RecordHeader("old", "m", 1, "uninstalling"),
        ]
        said = " / ".join(one.text for one in hanging(made))
        assert "n/db (pending-upgrade)" in said
        assert "m/old (uninstalling)" in said
        assert "web" not in said
        assert hanging(made[1:3])[0].ok is True


class TestShown:
    FOUND = (
        CheckFinding("disk", ok=True, text="72188 MiB free"),
        CheckFinding("clock", ok=None, text="says 1970", next_step="Set it."),
        CheckFinding(
            "cluster",
            ok=False,
            text="x" * 30 + " \x1b[2J https://a:secretword@h/ " * 9,
            next_step="Look. " * 30,
        ),
    )

    def test_text(self) -> None:
        """Within the width, nothing that moves the cursor, no password, and a count."""
        lines = finding.text(self.FOUND, 80).splitlines()
        assert max(map(len, lines)) <= 80
        assert all(line.isprintable() for line in lines)
        assert "secretword" not in "".join(lines)
        assert lines[0] == "ok     disk: 72188 MiB free"
        assert lines[-1] == "1 thing stands in the way; 1 note."

    def test_json(self) -> None:
        """The same, for scripts."""
        found = json.loads(finding.as_json(self.FOUND))
        assert [(f["what"], f["ok"]) for f in found] == [
            ("disk", True),
            ("clock", None),
            ("cluster", False),
        ]
        assert set(found[0]) == {"what", "ok", "said", "nextStep"}
        assert "secretword" not in json.dumps(found)
