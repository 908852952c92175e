"""`fleet-agent check`: what is wrong here, and what to do about it.

Rule: it changes nothing, never acts as a second agent while one runs, and works before the
enrolment too; a part that cannot be looked at is a finding like any other. The order is that of a
repair: this machine, the way to the manager, the tools, the cluster.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.model.errors import FleetError, UsageError
from fleetctl.core.model.wire import Desired

from ..controlplane import identity
from ..controlplane.desired_state import KeptDocument
from ..state.journal import read_entries
from . import check_cluster, check_host, check_manager, check_upgrade, finding
from .check_cluster import Held
from .finding import Finding
from .status import is_running


def run(said: Any) -> tuple[str, int]:
    """(what to print, exit status: 1 when something stands in the way)."""
    if said.state_dir is None and not said.url:
        step = "Give --state-dir DIR of an agent, or --url and --ca-pin before the enrolment."
        raise UsageError("there is nothing to look at", subject="--state-dir", next_step=step)
    found = asyncio.run(check(said))
    width = shutil.get_terminal_size().columns
    text = finding.as_json(found) if said.output == "json" else finding.text(found, width)
    return text, 1 if any(one.ok is False for one in found) else 0


async def check(said: Any) -> list[Finding]:
    now = time.time()
    found, known, held = [check_host.clock(now)], None, Held()
    if said.state_dir is not None:
        here, known = _here(said, now)
        found += here
        held = _held(said, known)
    if known is not None:
        found += await _manager(said.state_dir, known, now)
    elif said.url:
        found += await check_manager.before(said.url, said.ca_pin)
    found += [check_host.helm(), check_host.kustomize(), check_host.leash()]
    if said.target_dir is None and not (known and known.target_dir):
        found += await check_cluster.check(said.kubeconfig, known.kubeconfig if known else "", held)
    return found


def _here(said: Any, now: float) -> tuple[list[Finding], identity.Identity | None]:
    """This machine's part, and who the agent is; None when it has not enrolled."""
    folder = said.state_dir
    # before the enrolment nothing is missing
    if said.url and not (folder / "identity.json").exists():
        return [check_host.space(folder)], None
    found = [check_host.directory(folder), check_host.space(folder)]
    try:
        known, _ = identity.load(folder)
    except FleetError as why:
        return [*found, finding.failed("enrolment", why)], None
    found.append(
        Finding(
            "enrolment",
            ok=True,
            said=f"cluster {known.workspace}/{known.cluster}, manager {known.url}",
        )
    )
    found += [*check_host.agent(folder, now), *check_host.attempts_here(folder)]
    found += [
        check_host.journal(folder, running=is_running(folder)),
        check_host.document(folder, known, now),
        check_upgrade.check(folder),
    ]
    return found, known


async def _manager(folder: Path, known: identity.Identity, now: float) -> list[Finding]:
    """While no agent runs, none can start either: the lock is held for these seconds."""
    try:
        lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return await check_manager.after(known, None)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return await check_manager.after(known, identity.load_key(folder))
    except BlockingIOError:
        found = await check_manager.after(known, None)
        told = check_host.contact(folder, now)
        return [
            one for one in found if one.what != "manager" or one.ok is False or told is None
        ] + ([told] if told else [])
    finally:
        os.close(lock)


def _held(said: Any, known: identity.Identity | None) -> Held:
    if known is None:
        return Held()
    kept = KeptDocument(
        said.state_dir, lambda envelope: msgspec.json.decode(envelope.payload, type=Desired)
    ).load()
    entries = read_entries(said.state_dir / "journal")
    return Held(
        known.cluster_id, entries, kept[1] if kept else None, said.service_account_namespace
    )
