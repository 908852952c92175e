"""`fleet-agent status`: what this agent holds and how it fares. From files alone, so that it
answers when the agent hangs or is gone.
"""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.status import State, rank
from fleetctl.core.model.wire import Desired, Trouble

from ..config import AgentConfig
from ..controlplane import identity
from ..controlplane.desired_state import DocumentStore
from ..host.log_dedup import span
from ..state import attempts, status_file
from ..state import conditions as troubles
from ..state.directory import is_locked
from ..state.journal import Entry, read_entries
from ..state.status_file import BundleStatus
from ..upgrade import launcher
from ..upgrade import release_keys as releasekeys

UNKNOWN_STATE = "Unknown"


class Upgrades(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of the agent itself. `release_keys`: ids of those pinned, none is off; `current`: the version
    that the manager brought, "" is what was installed; `trial`: one that has not checked in yet,
    after `attempts`; `given_up`: one that failed, and `why`.
    """

    release_keys: list[str] = []
    current: str = ""
    trial: str = ""
    attempts: int = 0
    given_up: str = ""
    why: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `-o json` prints; fields are added, never renamed. `agent`: `running`, `hangs`,
    `enrolling` or `stopped`; ages in seconds, -1 is never. `states_known`: false when the states
    are only what the journal says.
    """

    cluster: str
    workspace: str
    id: str
    manager: str
    agent: str
    pid: int = 0
    version: str = ""
    running_seconds: int = -1
    beat_seconds: int = -1
    contact_seconds: int = -1
    contact_error: str = ""
    document_issued: str = ""
    document_expires: str = ""
    states_known: bool = False
    upgrades: Upgrades = Upgrades()
    troubles: list[Trouble] = []
    bundles: list[BundleStatus] = []


def gather(state_dir: Path, live_file: Path, now: float) -> Status:
    """Raises UsageError when the directory is not enrolled or cannot be read."""
    if state_dir.exists() and not os.access(state_dir, os.R_OK | os.X_OK):
        step = "Run this as the user of the agent, or as root."
        raise UsageError(
            f"{state_dir} is not readable for this user", subject="--state-dir", next_step=step
        )
    identity_, _ = identity.load(state_dir)
    last_beat = status_file.read(live_file, {os.getuid(), 0, state_dir.stat().st_uid})
    agent = "stopped"
    if is_locked(state_dir):
        agent = "running" if last_beat and now - last_beat[1] < status_file.OLD_SECONDS else "hangs"
        agent = (
            "enrolling"
            if last_beat and last_beat[0].phase == "enrolling" and agent == "running"
            else agent
        )
    # Shown, not obeyed: the signature is the running agent's business.
    stored_document = DocumentStore(
        state_dir, lambda envelope: msgspec.json.decode(envelope.payload, type=Desired)
    ).load()
    document = stored_document[1] if stored_document else None
    current_beat = last_beat if agent != "stopped" else None
    status = Status(
        cluster=identity_.cluster,
        workspace=identity_.workspace,
        id=identity_.cluster_id,
        manager=identity_.url,
        agent=agent,
        document_issued=document.issued if document else "",
        document_expires=document.expires if document else "",
        upgrades=upgrades(state_dir),
        troubles=troubles.read(state_dir),
        bundles=sort(
            current_beat[0].bundles
            if current_beat
            else _bundles_on_disk(state_dir, document, has_ended=agent == "stopped")
        ),
    )
    if current_beat is None:
        return status
    live, beat = current_beat
    fields = {
        "pid": live.pid,
        "version": live.version,
        "contact_error": live.contact_error,
        "states_known": True,
    }
    contact = max(0, int(now - live.contact)) if live.contact else -1
    ages = {
        "running_seconds": max(0, int(now - live.started)),
        "beat_seconds": max(0, int(now - beat)),
        "contact_seconds": contact,
    }
    return msgspec.structs.replace(status, **fields, **ages)


def _bundles_on_disk(
    state_dir: Path, document: Desired | None, *, has_ended: bool
) -> list[BundleStatus]:
    deaths = (
        attempts.deaths_of(document, attempts.read(state_dir), has_ended=has_ended)
        if document
        else {}
    )
    return list_bundles(document, read_entries(state_dir / "journal"), deaths)


def upgrades(state_dir: Path) -> Upgrades:
    state = launcher.load(state_dir)
    return Upgrades(
        release_keys=sorted(releasekeys.load_keys(state_dir)),
        current=state.current.version if state.current else "",
        trial=state.trial.program.version if state.trial else "",
        attempts=state.trial.attempts if state.trial else 0,
        given_up=state.failure.version if state.failure else "",
        why=state.failure.why if state.failure else "",
    )


def list_bundles(
    document: Desired | None, entries: Mapping[BundleName, Entry], deaths: Mapping[BundleName, int]
) -> list[BundleStatus]:
    """What is on the disk of each bundle that is wanted or held: whether it runs well is not known.

    deaths: as of `attempts.deaths_of`.
    """
    generations = {b.name: b.generation for b in document.bundles} if document else {}
    tombstone_names = {t.name for t in document.tombstones} if document else set()
    names = sorted({*generations, *entries})
    return [
        _bundle_state(
            generations.get(name),
            entries.get(name) or Entry(bundle=name),
            deaths.get(name, 0),
            is_doomed=name in tombstone_names,
        )
        for name in names
    ]


def _bundle_state(
    target: Generation | None, entry: Entry, deaths: int, *, is_doomed: bool
) -> BundleStatus:
    generation = max(target or Generation(0), entry.generation)
    state, code, message = UNKNOWN_STATE, "", ""
    if entry.applied < generation or entry.began:
        state = State.WAIT_APPLIED.value
        message = (
            "a change was started and not finished; the agent continues it" if entry.began else ""
        )
    if entry.error:
        state, code, message = State.ERR_APPLIED.value, entry.code, entry.error
    if deaths >= attempts.REPORT_DEATHS:
        state, code, message = State.ERR_APPLIED.value, attempts.CODE, attempts.describe(deaths)
    if is_doomed or entry.removing:
        removal = (
            "its removal was begun and not finished" if entry.removing else "it will be removed"
        )
        message = f"{removal}; {message}" if message else removal
    return BundleStatus(
        bundle=entry.bundle,
        state=state,
        code=code,
        message=message,
        generation=generation,
        applied=entry.applied,
        release=entry.release,
        namespace=entry.namespace,
        revision=entry.revision,
        commit=entry.commit,
    )


def sort(bundles: list[BundleStatus]) -> list[BundleStatus]:
    """The worst first, then by name."""
    ranks = {state.value: rank(state) for state in State}
    return sorted(bundles, key=lambda b: (ranks.get(b.state, len(ranks) - 1), b.bundle))


def text(status: Status, width: int) -> str:
    """For people, in lines of at most `width` columns."""
    lines = [
        f"cluster  {status.workspace}/{status.cluster} ({status.id})",
        f"agent    {_agent(status)}",
    ]
    lines += _wrap(f"manager  {_manager(status)}", width, "         ")
    lines += _wrap(f"upgrades {upgrades_said(status.upgrades)}", width, "         ")
    if status.document_expires:
        lines.append(
            f"wanted   as of {status.document_issued}, good until {status.document_expires}"
        )
    for condition in status.troubles:
        lines += _wrap(
            f"TROUBLE  {condition.code} since {condition.since}: {condition.message}",
            width,
            "         ",
        )
    lines.append("")
    if not status.bundles:
        return "\n".join([*lines, "There are no bundles."])
    return "\n".join(_plain(line) for line in [*lines, *_table(status, width)])


def _agent(status: Status) -> str:
    if status.agent == "stopped":
        return "is not running; the states below are those of its journal"
    about = (
        f"pid {status.pid}, {status.version}, since {span(status.running_seconds)}"
        if status.pid
        else ""
    )
    if status.agent == "hangs":
        since = f" for {span(status.beat_seconds)}" if status.beat_seconds >= 0 else ""
        return f"HANGS: it holds the lock and gives no heartbeat{since}; restart it" + (
            f" ({about})" if about else ""
        )
    return f"{'is enrolling' if status.agent == 'enrolling' else 'runs'} ({about})"


def upgrades_said(upgrades: Upgrades) -> str:
    parts = [
        f"by release key {', '.join(upgrades.release_keys)}"
        if upgrades.release_keys
        else "off: no release key is pinned"
    ]
    if upgrades.current:
        parts.append(f"version {upgrades.current} came from the manager")
    if upgrades.trial:
        parts.append(f"version {upgrades.trial} is on trial, attempt {upgrades.attempts}")
    if upgrades.given_up:
        parts.append(f"version {upgrades.given_up} was given up: {upgrades.why}")
    return "; ".join(parts)


def _manager(status: Status) -> str:
    text = f"{status.manager}"
    if status.agent == "stopped":
        return text
    text += (
        f", answered {span(status.contact_seconds)} ago"
        if status.contact_seconds >= 0
        else ", has not answered since the start"
    )
    return text + (f"; now: {status.contact_error}" if status.contact_error else "")


def _table(status: Status, width: int) -> list[str]:
    head = ("BUNDLE", "STATE", "GENERATION", "RELEASE", "REV")
    rows = [head, *(_row(b) for b in status.bundles)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    while sum(widths) + 2 * len(widths) - 2 > width and max(widths) > 12:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for number, row in enumerate(rows):
        lines.append(
            "  ".join(
                _truncate(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)
            ).rstrip()
        )
        message = status.bundles[number - 1].message if number else ""
        lines += _wrap(message, width - 4, "    ", "    ") if message else []
    return lines


def _row(bundle: BundleStatus) -> tuple[str, ...]:
    generation = (
        f"{bundle.applied} of {bundle.generation}"
        if bundle.applied != bundle.generation
        else str(bundle.generation)
    )
    release = f"{bundle.namespace}/{bundle.release}" if bundle.release else "-"
    state = f"{bundle.state}, at work" if bundle.busy else bundle.state
    return bundle.bundle, state, generation, release, str(bundle.revision or "-")


def _truncate(cell: str, size: int) -> str:
    return cell if len(cell) <= size else cell[: size - 1] + "…"


def _wrap(line: str, width: int, after: str, before: str = "") -> list[str]:
    return textwrap.wrap(_plain(line), width, initial_indent=before, subsequent_indent=after) or [
        ""
    ]


def _plain(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)


def show(config: AgentConfig) -> str:
    """The output of the command."""
    live_file = status_file.live_file(config.state_dir, config.environment.live_file)
    status = gather(config.state_dir, live_file, time.time())
    if config.output == "json":
        return msgspec.json.format(msgspec.json.encode(status), indent=2).decode()
    return text(status, shutil.get_terminal_size().columns)
