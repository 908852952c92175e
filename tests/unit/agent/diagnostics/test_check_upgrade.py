"""What check and status say of the agent's own upgrades."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.diagnostics.check_upgrade import check, judge
from agent.diagnostics.status import Upgrades
from agent.upgrade import launcher
from agent.upgrade.release_keys import pin
from agent.upgrade.trial_state import Program, Trial, TrialFailure, TrialState
from fleetctl.core.model import wire

KEYS = ["0" * 16]


@pytest.mark.parametrize(
    ("found", "no_exec", "ok", "said"),
    [
        (Upgrades(), False, True, "off: no release key"),
        (Upgrades(), True, True, "off: no release key"),
        (Upgrades(release_keys=KEYS), False, True, "by release key 0000000000000000"),
        (Upgrades(release_keys=KEYS), True, False, "mounted noexec"),
        (
            Upgrades(release_keys=KEYS, current="2.0"),
            False,
            True,
            "version 2.0 came from the manager",
        ),
        (Upgrades(release_keys=KEYS, trial="2.0", attempts=2), False, True, "on trial, attempt 2"),
        (
            Upgrades(release_keys=KEYS, given_up="2.0", why="it hung"),
            False,
            None,
            "2.0 was given up: it hung",
        ),
    ],
)
def test_each_state_is_said(found: Upgrades, no_exec: bool, ok: bool | None, said: str):
    """What is wrong, or worth a note, has a next step."""
    finding = judge(found, no_exec=no_exec)
    assert (finding.ok, said in finding.text, bool(finding.next_step)) == (ok, True, ok is not True)


def test_it_is_read_from_the_state_directory(tmp_path: Path):
    """Keys and state as the agent keeps them; an empty directory is off."""
    assert "off" in check(tmp_path).text
    pin(tmp_path, [wire.b64(b"k" * 32)])
    program = Program(
        version="2.0",
        sha256="ab" * 32,
        file="2.0.pyz",
        python="cpython-3.11",
        platform="x86_64-linux-gnu",
    )
    failure = TrialFailure(version="1.9", epoch=1, target_number=6, why="it hung")
    launcher.save(
        tmp_path,
        TrialState(
            base="x",
            trial=Trial(program=program, epoch=1, target_number=7, attempts=1),
            failure=failure,
        ),
    )
    said = check(tmp_path).text
    assert (
        wire.key_id(b"k" * 32) in said,
        "2.0 is on trial, attempt 1" in said,
        "1.9 was given up" in said,
    ) == (True, True, True)
