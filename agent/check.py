"""`fleet-agent check`: what is wrong here, and what to do about it.

Rule: it changes nothing, never acts as a second agent while one runs, and works before the enrolment too; a part that cannot be looked at
is a finding like any other. The order is that of a repair: this machine, the way to the manager, the tools, the cluster.
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

from fleetctl.core.errors import FleetError, UsageError
from fleetctl.core.wire import Desired

from . import checkcluster, checkhost, checkmanager, checkupgrade, findings, identity
from .checkcluster import Held
from .documents import KeptDocument
from .findings import Finding
from .journal import read_entries
from .status import is_running


def run(said: Any) -> tuple[str, int]:
    """(what to print, exit status: 1 when something stands in the way)."""
    if said.state_dir is None and not said.url:
        step = "Give --state-dir DIR of an agent, or --url and --ca-pin before the enrolment."
        raise UsageError("there is nothing to look at", subject="--state-dir", next_step=step)
    found = asyncio.run(check(said))
    width = shutil.get_terminal_size().columns
    text = findings.as_json(found) if said.output == "json" else findings.text(found, width)
    return text, 1 if any(one.ok is False for one in found) else 0


async def check(said: Any) -> list[Finding]:
    now = time.time()
    found, known, held = [checkhost.clock(now)], None, Held()
    if said.state_dir is not None:
        here, known = _here(said, now)
        found += here
        held = _held(said, known)
    if known is not None:
        found += await _manager(said.state_dir, known, now)
    elif said.url:
        found += await checkmanager.before(said.url, said.ca_pin)
    found += [checkhost.helm(), checkhost.kustomize(), checkhost.leash()]
    if said.target_dir is None and not (known and known.target_dir):
        found += await checkcluster.check(said.kubeconfig, known.kubeconfig if known else "", held)
    return found


def _here(said: Any, now: float) -> tuple[list[Finding], identity.Identity | None]:
    """This machine's part, and who the agent is; None when it has not enrolled."""
    folder = said.state_dir
    if said.url and not (folder / "identity.json").exists():  # before the enrolment nothing is missing
        return [checkhost.space(folder)], None
    found = [checkhost.directory(folder), checkhost.space(folder)]
    try:
        known, _ = identity.load(folder)
    except FleetError as why:
        return [*found, findings.failed("enrolment", why)], None
    found.append(Finding("enrolment", ok=True, said=f"cluster {known.workspace}/{known.cluster}, manager {known.url}"))
    found += [*checkhost.agent(folder, now), *checkhost.attempts_here(folder)]
    found += [checkhost.journal(folder, running=is_running(folder)), checkhost.document(folder, known, now), checkupgrade.check(folder)]
    return found, known


async def _manager(folder: Path, known: identity.Identity, now: float) -> list[Finding]:
    """While no agent runs, none can start either: the lock is held for these seconds."""
    try:
        lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return await checkmanager.after(known, None)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return await checkmanager.after(known, identity.load_key(folder))
    except BlockingIOError:
        found = await checkmanager.after(known, None)
        told = checkhost.contact(folder, now)
        return [one for one in found if one.what != "manager" or one.ok is False or told is None] + ([told] if told else [])
    finally:
        os.close(lock)


def _held(said: Any, known: identity.Identity | None) -> Held:
    if known is None:
        return Held()
    kept = KeptDocument(said.state_dir, lambda envelope: msgspec.json.decode(envelope.payload, type=Desired)).load()
    entries = read_entries(said.state_dir / "journal")
    return Held(known.cluster_id, entries, kept[1] if kept else None, said.service_account_namespace)
