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
from ..controlplane.desired_state import DocumentStore
from ..state.directory import LOCK, is_locked
from ..state.journal import read_entries
from ..state.status_file import live_file
from . import check_cluster, check_host, check_manager, check_upgrade, finding
from .check_cluster import BundleFacts
from .finding import CheckFinding


def run_check(config: AgentConfig) -> tuple[str, int]:
    """(what to print, exit status: 1 when something stands in the way)."""
    if config.optional_state_dir is None and not config.url:
        step = "Give --state-dir DIR of an agent, or --url and --ca-pin before the enrolment."
        raise UsageError("there is nothing to check", subject="--state-dir", next_step=step)
    findings = asyncio.run(check(config))
    width = shutil.get_terminal_size().columns
    text = finding.as_json(findings) if config.output == "json" else finding.text(findings, width)
    return text, 1 if any(item.ok is False for item in findings) else 0


async def check(config: AgentConfig) -> list[CheckFinding]:
    now = time.time()
    findings, agent, facts = [check_host.clock(now)], None, BundleFacts()
    if config.optional_state_dir is not None:
        local, agent = _check_host(config, now)
        findings += local
        facts = _bundle_facts(config, agent)
    if agent is not None:
        findings += await _manager(config, agent, now)
    elif config.url:
        findings += await check_manager.before(config.url, config.ca_pin, proxy_for(config.url))
    findings += [
        check_host.helm(config.tools.helm),
        check_host.kustomize(config.tools.kustomize),
        check_host.leash(),
    ]
    if config.target_dir is None and not (agent and agent.target_dir):
        findings += await check_cluster.check(config, agent.kubeconfig if agent else "", facts)
    return findings


def _check_host(
    config: AgentConfig, now: float
) -> tuple[list[CheckFinding], identity.Identity | None]:
    """This machine's part, and who the agent is; None when it has not enrolled."""
    folder = config.state_dir
    # before the enrolment nothing is missing
    if config.url and not (folder / "identity.json").exists():
        return [check_host.space(folder)], None
    findings = [
        check_host.directory(folder, is_in_pod=config.environment.is_in_pod),
        check_host.space(folder),
    ]
    try:
        agent, _ = identity.load(folder)
    except FleetError as error:
        return [*findings, finding.failure("enrolment", error)], None
    findings.append(
        CheckFinding(
            "enrolment",
            ok=True,
            text=f"cluster {agent.workspace}/{agent.cluster}, manager {agent.url}",
        )
    )
    findings += [
        *check_host.agent(folder, _live_file(config), now),
        *check_host.attempts_here(folder),
    ]
    findings += [
        check_host.journal(folder, running=is_locked(folder)),
        check_host.document(folder, agent, now),
        check_upgrade.check(folder),
    ]
    return findings, agent


async def _manager(config: AgentConfig, agent: identity.Identity, now: float) -> list[CheckFinding]:
    """While no agent runs, none can start either: the lock is held for these seconds."""
    folder, proxy = config.state_dir, proxy_for(agent.url)
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return await check_manager.after(agent, None, proxy)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return await check_manager.after(agent, identity.load_key(folder), proxy)
    except BlockingIOError:
        findings = await check_manager.after(agent, None, proxy)
        contact = check_host.contact(folder, _live_file(config), now)
        return [
            item
            for item in findings
            if item.subject != "manager" or item.ok is False or contact is None
        ] + ([contact] if contact else [])
    finally:
        os.close(lock)


def _live_file(config: AgentConfig) -> Path:
    return live_file(config.state_dir, config.environment.live_file)


def _bundle_facts(config: AgentConfig, agent: identity.Identity | None) -> BundleFacts:
    if agent is None:
        return BundleFacts()
    stored_document = DocumentStore(
        config.state_dir, lambda envelope: msgspec.json.decode(envelope.payload, type=Desired)
    ).load()
    entries = read_entries(config.state_dir / "journal")
    return BundleFacts(
        agent.cluster_id,
        entries,
        stored_document[1] if stored_document else None,
        config.service_account_namespace,
    )
