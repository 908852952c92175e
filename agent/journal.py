"""What this agent has done, safe against a crash at any moment.

One append-only file of records: length, CRC32, JSON; fsync after each. A torn tail is cut off; a broken middle is kept aside and everything
before it is used (what is missing then is done again, which helm takes without harm). Compacted by writing a new file beside it.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import msgspec

from agent.failpoints import failpoint
from fleetctl.core.ids import BundleName, Digest, Epoch, Generation

_HEAD = struct.Struct(">II")
_MOST_RECORD = 1024 * 1024
_COMPACT_BYTES = 512 * 1024


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one bundle here. `generation` was last begun, `applied` last finished; `began` a helm that may have been cut off."""

    bundle: BundleName
    generation: Generation = Generation(0)
    applied: Generation = Generation(0)
    archive: Digest = Digest("")
    options_digest: Digest = Digest("")
    release: str = ""
    namespace: str = ""
    revision: int = 0
    commit: str = ""
    began: bool = False
    removed: bool = False
    delete_namespace: bool = False
    epoch: Epoch = Epoch(0)
    error: str = ""
    code: str = ""
    failures: int = 0
    values_digest: str = ""  # HMAC of what valuesFrom gave at the last run
    account: str = ""  # service account that it was last begun as, "" for none named
    parts: tuple[int, ...] = ()  # beyond the first, of a bundle that one release cannot hold (`parts.releases_of`); never 1


class Journal:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[BundleName, Entry] = {}
        self._handle = -1
        self._load()

    def put(self, entry: Entry) -> None:
        """Durable when this returns. Raises OSError on a full or read-only disk, with nothing half done."""
        data = msgspec.json.encode(entry)
        start = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            failpoint("journal-before-write")
            os.write(self._handle, _HEAD.pack(len(data), zlib.crc32(data)) + data)
            failpoint("journal-written")
            os.fsync(self._handle)
            failpoint("journal-durable")
        except OSError:
            os.ftruncate(self._handle, start)
            raise
        self._apply(entry)
        if start > _COMPACT_BYTES:
            self._compact()

    def close(self) -> None:
        os.close(self._handle)

    def _apply(self, entry: Entry) -> None:
        if entry.removed:
            self.entries.pop(entry.bundle, None)
        else:
            self.entries[entry.bundle] = entry

    def _load(self) -> None:
        data = self._path.read_bytes() if self._path.exists() else b""
        records, at = _records(data)
        for entry in records:
            self._apply(entry)
        rest = data[at:]
        if len(rest) > _HEAD.size + _MOST_RECORD:
            self._path.with_suffix(".broken").write_bytes(data)
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if rest:
            os.ftruncate(self._handle, at)
            os.fsync(self._handle)

    def _compact(self) -> None:
        from agent.identity import write_whole

        failpoint("compact-before")
        parts = [msgspec.json.encode(entry) for entry in self.entries.values()]
        write_whole(
            self._path, b"".join(_HEAD.pack(len(p), zlib.crc32(p)) + p for p in parts), written=lambda: failpoint("compact-written")
        )
        failpoint("compact-renamed")
        os.close(self._handle)
        self._handle = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _records(data: bytes) -> tuple[list[Entry], int]:
    """The whole records, and where they end."""
    found: list[Entry] = []
    at = 0
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        text = data[at + _HEAD.size : at + _HEAD.size + length]
        if length > _MOST_RECORD or len(text) < length or zlib.crc32(text) != crc:
            break
        found.append(msgspec.json.decode(text, type=Entry))
        at += _HEAD.size + length
    return found, at


def read_entries(path: Path) -> dict[BundleName, Entry]:
    """What the journal at `path` says, without changing it: a running agent may hold it."""
    entries: dict[BundleName, Entry] = {}
    for entry in _records(path.read_bytes() if path.exists() else b"")[0]:
        if entry.removed:
            entries.pop(entry.bundle, None)
        else:
            entries[entry.bundle] = entry
    return entries
