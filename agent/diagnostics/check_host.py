"""What `fleet-agent check` finds on this machine: the state directory, the agent that runs from it,
the tools.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fleetctl.core.model.wire import Desired, Envelope, desired_bytes
from fleetctl.core.text.listing import list_names

from ..controlplane.identity import Identity, is_signed
from ..host.log_dedup import span
from ..loops import clock_skew
from ..packaging.bootstrap import unsafe
from ..state import attempts, conditions, status_file
from ..state.directory import is_locked
from ..state.journal import read_entries
from .finding import CheckFinding, failure

_LEAST_FREE, _LEAST_INODES = 256 * 1024 * 1024, 1000
_LEAST_HELM = (4, 1, 4)
_SINCE = time.strptime("2026-01-01", "%Y-%m-%d")
_MOST_NAMED = 5


def directory(folder: Path, *, is_in_pod: bool = False) -> CheckFinding:
    subject = "state directory"
    if not folder.is_dir():
        step = "Enrol first: `fleetctl cluster register NAME` prints how."
        return CheckFinding(subject, ok=False, text=f"{folder} does not exist", next_step=step)
    about = folder.stat()
    if about.st_uid not in {os.getuid(), 0} and os.getuid() != 0:
        return CheckFinding(
            subject,
            ok=False,
            text=f"{folder} belongs to user {about.st_uid}",
            next_step="Run this as that user, or as root.",
        )
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        step = (
            "Running releases continue; look at the disk (dmesg), repair it, and mount it writable."
        )
        return CheckFinding(
            subject,
            ok=False,
            text=f"{folder} is on a file system that is mounted read-only",
            next_step=step,
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return CheckFinding(
            subject,
            ok=False,
            text=f"{folder} is not writable for this user",
            next_step="Run this as the user of the agent.",
        )
    if reason := unsafe(folder, parents=not is_in_pod):
        step = f"chmod 700 {folder}, and chown it to the agent's user; or use another directory."
        return CheckFinding(
            subject, ok=False, text=f"{folder} {reason}: no agent starts in it", next_step=step
        )
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o007:
        step = f"chmod 700 {folder}: the folder contains the key and values of bundles."
        return CheckFinding(
            subject,
            ok=None,
            text=f"{folder} is open to all users (mode {mode:04o})",
            next_step=step,
        )
    return CheckFinding(subject, ok=True, text=str(folder))


def space(folder: Path) -> CheckFinding:
    """Bytes and inodes of the file system that the directory is, or will be, on."""
    about = os.statvfs(next(p for p in (folder, *folder.absolute().parents) if p.exists()))
    free = about.f_bavail * about.f_frsize
    if about.f_files and about.f_favail < _LEAST_INODES:
        return CheckFinding(
            "disk",
            ok=False,
            text=f"{about.f_favail} inodes free",
            next_step="Remove files: many small ones use it up.",
        )
    if free < _LEAST_FREE:
        step = (
            "Make room: 256 MiB at least. Running releases continue; nothing new is applied on a"
            " full disk."
        )
        return CheckFinding(
            "disk", ok=False, text=f"{free // 2**20} MiB free at {folder}", next_step=step
        )
    return CheckFinding("disk", ok=True, text=f"{free // 2**20} MiB free")


def clock(now: float) -> CheckFinding:
    """Only what a machine can know of itself; the manager's time is compared where it answers."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now < time.mktime(_SINCE):
        step = (
            "Set it (NTP). Requests are signed with the manager's time meanwhile; certificates of"
            " public CAs are refused."
        )
        return CheckFinding(
            "clock", ok=None, text=f"says {stamp}, which is too old", next_step=step
        )
    return CheckFinding("clock", ok=True, text=stamp)


def agent(folder: Path, live_file: Path, now: float) -> list[CheckFinding]:
    """Whether one runs here, how it fares, and what it says stands in its way."""
    if not is_locked(folder):
        return [
            CheckFinding(
                "agent",
                ok=None,
                text="is not running",
                next_step=f"Start it: fleet-agent run --state-dir {folder}",
            )
        ]
    last_beat = status_file.read(live_file, {os.getuid(), 0, folder.stat().st_uid})
    standing = [
        CheckFinding(
            "trouble",
            ok=False,
            text=f"{condition.message} (since {condition.since})",
            next_step=f"See {condition.code} in docs/agent-codes.md.",
        )
        for condition in conditions.read(folder)
    ]
    if last_beat is None or now - last_beat[1] > status_file.OLD_SECONDS:
        silent = (
            f"gives no heartbeat for {span(now - last_beat[1])}"
            if last_beat
            else "gives no heartbeat"
        )
        step = "Restart it: it continues what it had started. Its log shows its last action."
        return [
            CheckFinding("agent", ok=False, text=f"holds its lock and {silent}", next_step=step),
            *standing,
        ]
    live, _ = last_beat
    bad = [b.bundle for b in live.bundles if b.state == "ErrApplied"]
    text = (
        f"runs since {span(now - live.started)} (pid {live.pid}, {live.version}),"
        f" {len(live.bundles)} bundles"
    )
    findings = [CheckFinding("agent", ok=True, text=text), *standing]
    if bad:
        step = f"fleet-agent status --state-dir {folder} shows the cause."
        findings.append(
            CheckFinding(
                "bundles",
                ok=None,
                text=f"cannot be applied: {list_names(bad, _MOST_NAMED)}",
                next_step=step,
            )
        )
    return findings


def attempts_here(folder: Path) -> list[CheckFinding]:
    """Bundles during whose work an agent of this directory died."""
    running = is_locked(folder)
    deaths = {
        mark.bundle: mark.deaths + (mark.active and not running) for mark in attempts.read(folder)
    }
    step = (
        "Find out why the agent crashed (journalctl, dmesg). The agent tries a new"
        " generation of the bundle at once."
    )
    return [
        CheckFinding(
            "set aside",
            ok=None,
            text=f"bundle {bundle}: {attempts.describe(count)}",
            next_step=step,
        )
        for bundle, count in deaths.items()
        if count >= attempts.REPORT_DEATHS
    ]


def contact(folder: Path, live_file: Path, now: float) -> CheckFinding | None:
    """What the running agent says of the manager; None when it says nothing."""
    last_beat = status_file.read(live_file, {os.getuid(), 0, folder.stat().st_uid})
    if last_beat is None:
        return None
    live = last_beat[0]
    if live.contact_error:
        ago = f"; the last answer was {span(now - live.contact)} ago" if live.contact else ""
        step = (
            "Running releases continue; the lines on network and TLS show where the connection"
            " fails."
        )
        return CheckFinding(
            "manager",
            ok=False,
            text=f"does not answer the running agent: {live.contact_error}{ago}",
            next_step=step,
        )
    if not live.contact:
        return CheckFinding(
            "manager",
            ok=None,
            text="has not answered the running agent yet",
            next_step="Wait a minute and look again.",
        )
    return CheckFinding(
        "manager", ok=True, text=f"answered the running agent {span(now - live.contact)} ago"
    )


def journal(folder: Path, *, running: bool) -> CheckFinding:
    try:
        entries = read_entries(folder / "journal")
    except OSError as error:
        return failure("journal", error)
    if (folder / "journal.broken").exists():
        step = (
            "The agent rebuilt its journal from the releases. Check the disk (dmesg), and"
            " remove the file when you no longer need it."
        )
        return CheckFinding(
            "journal",
            ok=None,
            text=f"{len(entries)} bundles; a broken journal is in journal.broken",
            next_step=step,
        )
    unfinished = sorted(entry.bundle for entry in entries.values() if entry.began)
    if unfinished and not running:
        step = "The agent continues it at its start."
        names = list_names(unfinished, _MOST_NAMED)
        return CheckFinding(
            "journal",
            ok=None,
            text=f"{len(entries)} bundles; a change was cut off for {names}",
            next_step=step,
        )
    return CheckFinding("journal", ok=True, text=f"{len(entries)} bundles")


class _CheckedFile(msgspec.Struct):
    envelope: Envelope


def document(folder: Path, identity: Identity, now: float) -> CheckFinding:
    """The desired state on this disk, believed as little as a running agent would."""
    subject, step = (
        "desired state",
        (
            "The agent does not use this file, and requests the desired state from the manager"
            " again."
        ),
    )
    try:
        envelope = msgspec.json.decode(
            (folder / "desired.json").read_bytes(), type=_CheckedFile
        ).envelope
        payload = envelope.payload.encode()
        content = msgspec.json.decode(payload, type=Desired)
    except FileNotFoundError:
        return CheckFinding(
            subject,
            ok=None,
            text="none on this disk yet",
            next_step="The agent fetches it when the manager answers.",
        )
    except (OSError, msgspec.DecodeError) as error:
        return CheckFinding(
            subject, ok=None, text=f"on this disk cannot be read: {error}", next_step=step
        )
    if (
        not is_signed(identity, envelope.key_id, envelope.signature, desired_bytes(payload))
        or content.cluster_id != identity.cluster_id
    ):
        return CheckFinding(
            subject,
            ok=None,
            text="on this disk is not signed for this cluster by the manager's key",
            next_step=step,
        )
    return aged(content, now)


def aged(document: Desired, now: float) -> CheckFinding:
    text = (
        f"{len(document.bundles)} bundles, issued {document.issued}, good until {document.expires}"
    )
    if clock_skew.is_over(document.expires, now):
        step = (
            "The agent keeps it. The manager issues a new one when it answers: see the"
            " lines on manager and clock."
        )
        return CheckFinding("desired state", ok=None, text=f"expired: {text}", next_step=step)
    return CheckFinding("desired state", ok=True, text=text)


def helm(path: str) -> CheckFinding:
    """`path`: of the program, "" when it is not on PATH."""
    step = "Install helm 4.1.4 or later, and put it on the PATH of the agent."
    if not path:
        return CheckFinding("helm", ok=False, text="is not on PATH", next_step=step)
    try:
        result = subprocess.run(
            [path, "version", "--template", "{{.Version}}"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return CheckFinding("helm", ok=False, text=f"{path} does not run: {error}", next_step=step)
    match = re.search(r"v(\d+)\.(\d+)\.(\d+)", result.stdout)
    if match is None:
        return CheckFinding(
            "helm", ok=False, text=f"{path} does not print its version", next_step=step
        )
    good = tuple(int(part) for part in match.groups()) >= _LEAST_HELM
    return CheckFinding(
        "helm", ok=good, text=f"{match[0]} at {path}", next_step="" if good else step
    )


def kustomize(command: Sequence[str]) -> CheckFinding:
    """`found`: the command, empty when it is not on PATH."""
    step = "Install one if bundles use Kustomize."
    if not command:
        return CheckFinding(
            "kustomize", ok=None, text="neither kustomize nor kubectl is on PATH", next_step=step
        )
    try:
        result = subprocess.run([*command, "--help"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return CheckFinding(
            "kustomize", ok=None, text=f"{command[0]} does not run: {error}", next_step=step
        )
    if result.returncode:
        return CheckFinding(
            "kustomize", ok=None, text=f"{' '.join(command)} does not work here", next_step=step
        )
    return CheckFinding("kustomize", ok=True, text=" ".join(command))


def leash() -> CheckFinding:
    """What makes helm end with its agent."""
    if shutil.which("setpriv", path="/usr/bin:/bin"):
        return CheckFinding("processes", ok=True, text="end with the agent, by setpriv")
    step = "Nothing needs to be done; with util-linux's setpriv each helm run starts 10 ms sooner."
    return CheckFinding(
        "processes",
        ok=None,
        text="end with the agent, but each starts Python first, because setpriv is missing",
        next_step=step,
    )
