"""What helm is told about waiting, and how long it may take."""

from __future__ import annotations

import pytest

from fleetctl.tools.helm import UpgradeFlags, upgrade_argv


@pytest.mark.parametrize(
    ("flags", "said", "longest"),
    [
        ({}, ["--wait=hookOnly"], 0),
        ({"wait_for_jobs": True}, ["--wait=hookOnly"], 0),
        ({"timeout": 7}, ["--wait=watcher", "--timeout=7s"], 7),
        (
            {"timeout": 7, "wait_for_jobs": True},
            ["--wait-for-jobs", "--wait=watcher", "--timeout=7s"],
            7,
        ),
        (
            {"timeout": 7, "atomic": True},
            ["--rollback-on-failure", "--wait=watcher", "--timeout=7s"],
            14,
        ),
        ({"atomic": True}, ["--rollback-on-failure", "--wait=watcher", "--timeout=300s"], 600),
    ],
)
def test_waiting(flags: dict[str, int], said: list[str], longest: int) -> None:
    """A timeout turns waiting on, as in Fleet; a rollback on failure does too, and waits for what
    it brings back as long again.
    """
    made = UpgradeFlags(**flags)
    words = ("--wait", "--timeout", "--rollback")
    assert [word for word in upgrade_argv(made) if word.startswith(words)] == said
    assert made.longest == longest
