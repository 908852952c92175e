"""What `fleet-agent check` says of the agent's own upgrades."""

from __future__ import annotations

import os
from pathlib import Path

from .finding import CheckFinding
from .status import Upgrades, upgrades, upgrades_said

_SUBJECT = "upgrades"


def check(state_dir: Path) -> CheckFinding:
    """Off is in order; a version that was given up, or that could not be loaded here, is worth
    knowing.
    """
    try:
        no_exec = bool(os.statvfs(state_dir).f_flag & os.ST_NOEXEC)
    except OSError:
        no_exec = False
    return judge(upgrades(state_dir), no_exec=no_exec)


def judge(upgrades: Upgrades, *, no_exec: bool) -> CheckFinding:
    text = upgrades_said(upgrades)
    if no_exec and upgrades.release_keys:
        step = "Mount it without noexec, or remove the key: `fleet-agent run --release-key none`."
        return CheckFinding(
            _SUBJECT,
            ok=False,
            text=f"{text}; but libraries cannot be loaded from a directory mounted noexec",
            next_step=step,
        )
    if upgrades.given_up:
        step = "Name another version with `fleetctl cluster upgrade-agent NAME --to VERSION`."
        return CheckFinding(_SUBJECT, ok=None, text=text, next_step=step)
    return CheckFinding(_SUBJECT, ok=True, text=text)
