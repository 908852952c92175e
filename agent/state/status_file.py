"""How a running agent fares, in a small file in memory (tmpfs): for `fleet-agent status`, for
`check`, and for the probes of a Pod.

Rule: the file costs the disk nothing, and needs no answer of the agent: one that hangs has a file
that grows old. Written anew when something has changed, else only touched, every few seconds; gone
when the agent has ended in good order.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

import msgspec

from fleetctl.core.model.ids import Generation
from fleetctl.core.model.status import Report

OLD_SECONDS = 60.0
_SHM = Path("/dev/shm")  # noqa: S108 - a file there is taken only from its owner, and replaced whole
_MOST_BYTES = 16 * 1024 * 1024


class BundleStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    bundle: str
    state: str
    code: str = ""
    message: str = ""
    generation: Generation = Generation(0)
    applied: Generation = Generation(0)
    release: str = ""
    namespace: str = ""
    revision: int = 0
    commit: str = ""
    busy: bool = False  # its release is being changed now


class LiveStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`phase`: `enrolling` or `running`. Times in Unix seconds by this machine's clock; `contact`
    0: the manager never answered.
    """

    pid: int
    version: str
    phase: str
    started: float
    contact: float = 0.0
    contact_error: str = ""
    bundles: list[BundleStatus] = []


def live_file(state_dir: Path, override: Path | None = None) -> Path:
    """Where the agent of this directory writes it: one name for all readers, on a file system in
    memory where there is one. A Pod overrides it for its probes (FLEET_AGENT_LIVE_FILE).
    """
    if override is not None:
        return override
    folder = state_dir.absolute()
    if not _SHM.is_dir():
        return folder / "live.json"
    return _SHM / f"fleet-agent-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.json"


class StatusFile:
    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self._status = LiveStatus(
            pid=os.getpid(), version=version, phase="enrolling", started=time.time()
        )
        self._reports: list[Report] = []
        self._busy: set[str] = set()

    def enrolling(self, error: str) -> None:
        """There is no cluster yet; `error`: why."""
        self._put(msgspec.structs.replace(self._status, contact_error=error))

    def beat(self, reports: list[Report], busy: set[str], contact: float, error: str) -> None:
        """The agent works. Never raises: that nobody can be shown is no reason to stop."""
        is_same = len(reports) == len(self._reports) and all(
            a is b for a, b in zip(reports, self._reports, strict=True)
        )
        if is_same and busy == self._busy and self._status.phase == "running":
            now = msgspec.structs.replace(self._status, contact=contact, contact_error=error)
        else:
            bundles = [_bundle(report, busy) for report in reports]
            now = msgspec.structs.replace(
                self._status, phase="running", contact=contact, contact_error=error, bundles=bundles
            )
        if now == self._status:
            self._touch(now)
        else:
            self._put(now)
        self._reports, self._busy = reports, busy

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _touch(self, now: LiveStatus) -> None:
        try:
            os.utime(self._path, follow_symlinks=False)
        except OSError:
            self._put(now)

    def _put(self, now: LiveStatus) -> None:
        self._status = now
        with contextlib.suppress(OSError):
            _replace(self._path, msgspec.json.encode(now))


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all; it need not outlive a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    temporary.replace(path)


def _bundle(report: Report, busy: set[str]) -> BundleStatus:
    release = report.release
    return BundleStatus(
        bundle=report.bundle,
        state=report.state.value,
        code=report.code,
        message=report.message,
        generation=report.generation,
        applied=report.applied,
        release=release.name if release else "",
        namespace=release.namespace if release else "",
        revision=release.revision if release else 0,
        commit=report.commit,
        busy=report.bundle in busy,
    )


def read(path: Path, owners: set[int]) -> tuple[LiveStatus, float] | None:
    """(what was written, Unix seconds of the last beat); None when there is nothing, or nothing of
    `owners` (user ids) that can be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if about.st_uid not in owners or about.st_size > _MOST_BYTES:
            return None
        try:
            return msgspec.json.decode(file.read(_MOST_BYTES), type=LiveStatus), about.st_mtime
        except (msgspec.DecodeError, OSError):
            return None
