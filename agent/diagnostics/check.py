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

import msgspec

from fleetctl.core.model.errors import FleetError, UsageError
from fleetctl.core.model.wire import Desired

from ..config import AgentConfig, proxy_for
from ..controlplane import identity
from ..controlplane.desired_state import KeptDocument
from ..state.directory import LOCK, is_locked
from ..state.journal import read_entries
from ..state.status_file import live_file
from . import check_cluster, check_host, check_manager, check_upgrade, finding
from .check_cluster import Held
from .finding import Finding


def run(config: AgentConfig) -> tuple[str, int]:
    """(what to print, exit status: 1 when something stands in the way)."""
    if config.optional_state_dir is None and not config.url:
        step = "Give --state-dir DIR of an agent, or --url and --ca-pin before the enrolment."
        raise UsageError("there is nothing to look at", subject="--state-dir", next_step=step)
    found = asyncio.run(check(config))
    width = shutil.get_terminal_size().columns
    text = finding.as_json(found) if config.output == "json" else finding.text(found, width)
    return text, 1 if any(one.ok is False for one in found) else 0


async def check(config: AgentConfig) -> list[Finding]:
    now = time.time()
    found, known, held = [check_host.clock(now)], None, Held()
    if config.optional_state_dir is not None:
        here, known = _here(config, now)
        found += here
        held = _held(config, known)
    if known is not None:
        found += await _manager(config, known, now)
    elif config.url:
        found += await check_manager.before(config.url, config.ca_pin, proxy_for(config.url))
    found += [
        check_host.helm(config.tools.helm),
        check_host.kustomize(config.tools.kustomize),
        check_host.leash(),
    ]
    if config.target_dir is None and not (known and known.target_dir):
        found += await check_cluster.check(config, known.kubeconfig if known else "", held)
    return found


def _here(config: AgentConfig, now: float) -> tuple[list[Finding], identity.Identity | None]:
    """This machine's part, and who the agent is; None when it has not enrolled."""
    folder = config.state_dir
    # before the enrolment nothing is missing
    if config.url and not (folder / "identity.json").exists():
        return [check_host.space(folder)], None
    found = [
        check_host.directory(folder, is_in_pod=config.environment.is_in_pod),
        check_host.space(folder),
    ]
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
    found += [*check_host.agent(folder, _live_file(config), now), *check_host.attempts_here(folder)]
    found += [
        check_host.journal(folder, running=is_locked(folder)),
        check_host.document(folder, known, now),
        check_upgrade.check(folder),
    ]
    return found, known


async def _manager(config: AgentConfig, known: identity.Identity, now: float) -> list[Finding]:
    """While no agent runs, none can start either: the lock is held for these seconds."""
    folder, proxy = config.state_dir, proxy_for(known.url)
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return await check_manager.after(known, None, proxy)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return await check_manager.after(known, identity.load_key(folder), proxy)
    except BlockingIOError:
        found = await check_manager.after(known, None, proxy)
        told = check_host.contact(folder, _live_file(config), now)
        return [
            one for one in found if one.what != "manager" or one.ok is False or told is None
        ] + ([told] if told else [])
    finally:
        os.close(lock)


def _live_file(config: AgentConfig) -> Path:
    return live_file(config.state_dir, config.environment.live_file)


def _held(config: AgentConfig, known: identity.Identity | None) -> Held:
    if known is None:
        return Held()
    kept = KeptDocument(
        config.state_dir, lambda envelope: msgspec.json.decode(envelope.payload, type=Desired)
    ).load()
    entries = read_entries(config.state_dir / "journal")
    return Held(
        known.cluster_id, entries, kept[1] if kept else None, config.service_account_namespace
    )
