"""What this agent has done, safe against a crash and a power cut at any moment.

One append-only file of records: length, CRC32, JSON; fsync after each. A torn tail is cut off. A
broken middle, which no crash leaves, is kept aside as `journal.broken`: what can still be read
counts, and is compared with the cluster before a change (agent/release/recovery.py). A disk that is
full or read-only refuses the change that would be recorded, and nothing else: what is known can be
read, and the next record is tried again. After an fsync that failed the file is written anew,
because the kernel may have dropped what it could not write.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from fleetctl import durable
from fleetctl.core.model.ids import BundleName, Digest, Epoch, Generation

from ..host.failpoints import failpoint
from ..host.log import trouble

_HEAD = struct.Struct(">II")
_MOST_RECORD = 1024 * 1024
_COMPACT_BYTES = 512 * 1024
_MOST_GRAVES = 1000


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one bundle here. `generation` was last begun, `applied` last finished;
    `began` a helm that may have been cut off.
    """

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
    # of downstreamResources, KIND/NAMESPACE/NAME: written, or about to be
    copies: tuple[str, ...] = ()
    account: str = ""  # service account that it was last begun as, "" for none named
    # beyond the first, of a bundle that one release cannot hold (`parts.releases_of`); never 1
    parts: tuple[int, ...] = ()
    removing: bool = False  # its removal has begun
    # objects and fields that server-side apply refuses; not empty: the release is applied
    # client-side
    client_side: tuple[str, ...] = ()
    corrected: int = 0  # the bundle's `correction` that was carried out last
    # (name, namespace) of releases that it had under other names and that are not gone yet
    former: tuple[tuple[str, str], ...] = ()


Order = tuple[int, int]  # (epoch, generation): what comes later is greater


class Journal:
    """`graves`: of bundles that were removed, the order at which that was. `is_broken`: records are
    missing that a crash does not explain.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[BundleName, Entry] = {}
        self.graves: dict[BundleName, Order] = {}
        self.is_broken = False
        self._handle, self._end, self._suspect = -1, 0, False
        self._load()

    def put(self, entry: Entry) -> None:
        """Durable when this returns. Raises OSError on a full or read-only disk; then nothing here
        has changed.
        """
        record = _frame(entry)
        if self._suspect:
            self.compact()
        elif self._end > _COMPACT_BYTES:
            self._shorten()
        handle = self._open()
        try:
            failpoint("journal-before-write")
            durable.disk.write(handle, record, self._end)
            failpoint("journal-written")
            durable.disk.sync(handle)
            failpoint("journal-durable")
        except BaseException:
            self._suspect = True
            raise
        self._end += len(record)
        _apply(entry, self.entries, self.graves)

    def floor(self, bundle: BundleName) -> Order:
        """The highest order that was ever begun here for the bundle, a removal included: what is
        lower is not applied (I4).
        """
        entry = self.entries.get(bundle)
        return max(
            (entry.epoch, entry.generation) if entry else (0, 0), self.graves.get(bundle, (0, 0))
        )

    def floors(self) -> dict[BundleName, Order]:
        """`floor` of every bundle that was ever here."""
        return {name: self.floor(name) for name in self.entries.keys() | self.graves.keys()}

    def compact(self) -> None:
        """Write the file anew, one record for each bundle. Raises OSError."""
        failpoint("compact-before")
        entries = [*self._graves(), *self.entries.values()]
        data = b"".join(_frame(entry) for entry in entries)
        durable.write_whole(self._path, data, on_written=lambda: failpoint("compact-written"))
        failpoint("compact-renamed")
        self.close()
        self._end, self._suspect = len(data), False

    def _shorten(self) -> None:
        """A disk without room for a second file may have some for one record."""
        try:
            self.compact()
        except OSError as error:
            trouble("the journal cannot be shortened", str(error))

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _graves(self) -> Iterable[Entry]:
        for bundle, (epoch, generation) in list(self.graves.items())[-_MOST_GRAVES:]:
            yield Entry(
                bundle=bundle, removed=True, epoch=Epoch(epoch), generation=Generation(generation)
            )

    def _open(self) -> int:
        """The file for writing, made when it is not there: a disk that could not be written at the
        start may be by now.
        """
        if self._handle < 0:
            if not self._path.exists():
                durable.write_whole(self._path, b"")
            self._handle = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            if os.fstat(self._handle).st_size != self._end:
                durable.disk.truncate(self._handle, self._end)
                durable.disk.sync(self._handle)
        return self._handle

    def _load(self) -> None:
        data, readable = b"", True
        try:
            data = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            trouble("the journal cannot be read, and is rebuilt from the cluster", str(error))
            readable = False
        records, self._end = _records(data)
        rest = data[self._end :]
        later = _salvage(rest)
        self.is_broken = not readable or bool(later) or not _is_torn(rest)
        for entry in (*records, *later):
            _apply(entry, self.entries, self.graves)
        if self.is_broken:
            # What was lost in between may have been a removal or a newer generation: nothing that
            # is left counts as finished.
            self.entries = {
                name: msgspec.structs.replace(e, began=True) for name, e in self.entries.items()
            }
            self._suspect = True
            _keep_aside(self._path.with_suffix(".broken"), data)


def _keep_aside(path: Path, data: bytes) -> None:
    """For whoever wants to know what has happened; a disk without room for it is no reason to
    stop.
    """
    try:
        durable.write_whole(path, data)
    except OSError:
        return


def _apply(entry: Entry, entries: dict[BundleName, Entry], graves: dict[BundleName, Order]) -> None:
    if not entry.removed:
        entries[entry.bundle] = entry
        return
    entry_before = entries.pop(entry.bundle, None)
    order = max(
        (entry.epoch, entry.generation),
        (entry_before.epoch, entry_before.generation) if entry_before else (0, 0),
        graves.pop(entry.bundle, (0, 0)),
    )
    if order > (0, 0):
        graves[entry.bundle] = order
        while len(graves) > 2 * _MOST_GRAVES:
            del graves[next(iter(graves))]


def is_applied(entry: Entry | None, order: Order) -> bool:
    """Whether what was asked for at `order`, or later, was finished. An entry that names no epoch
    is older than epochs.
    """
    if entry is None:
        return False
    return (entry.epoch, entry.applied) >= order if entry.epoch else entry.applied >= order[1]


def _frame(entry: Entry) -> bytes:
    data = msgspec.json.encode(entry)
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _records(data: bytes) -> tuple[list[Entry], int]:
    """The whole records, and where they end."""
    entries: list[Entry] = []
    at = 0
    while (record := _record(data, at)) is not None:
        entries.append(record[0])
        at = record[1]
    return entries, at


def _record(data: bytes, at: int) -> tuple[Entry, int] | None:
    """The record at `at` and where it ends."""
    if at + _HEAD.size > len(data):
        return None
    length, crc = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    # Cheap looks first: a search through half a megabyte tries every byte as a beginning.
    if (
        not 2 <= length <= _MOST_RECORD
        or end > len(data)
        or data[at + _HEAD.size] != ord("{")
        or data[end - 1] != ord("}")
    ):
        return None
    text = data[at + _HEAD.size : end]
    if zlib.crc32(text) != crc:
        return None
    try:
        return msgspec.json.decode(text, type=Entry), end
    except msgspec.DecodeError:
        return None


def _is_torn(rest: bytes) -> bool:
    """Whether `rest` is what a crash leaves of the last record: it reaches the end of the file, or
    nothing of it was written.
    """
    return (
        len(rest) < _HEAD.size
        or _HEAD.size + _HEAD.unpack_from(rest)[0] >= len(rest)
        or not rest.strip(b"\0")
    )


def _salvage(rest: bytes) -> list[Entry]:
    """The whole records behind a broken place."""
    entries: list[Entry] = []
    at = 0
    while (brace := rest.find(b"{", at + _HEAD.size)) >= 0:
        record = _record(rest, brace - _HEAD.size)
        if record is not None:
            entries.append(record[0])
        at = record[1] if record else brace - _HEAD.size + 1
    return entries


def read_entries(path: Path) -> dict[BundleName, Entry]:
    """What the journal at `path` says, without changing it: a running agent may hold it."""
    data = path.read_bytes() if path.exists() else b""
    entries: dict[BundleName, Entry] = {}
    records, end = _records(data)
    for entry in (*records, *_salvage(data[end:])):
        _apply(entry, entries, {})
    return entries
