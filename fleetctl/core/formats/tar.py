"""Reads tar archives from foreign sources: strict, bounded, in linear time.

The standard library's `tarfile` is not used for this: it follows links, reads sparse files, and in
Python before 3.11.10 its pax parser takes quadratic time (CVE-2024-6232). This reader knows:

- regular files and folders, as USTAR, GNU or V7 headers;
- one long name before an entry: GNU `L`, or pax `x` with `path` and `size` (other keys of a time,
  an owner or an attribute are ignored);
- pax `g` headers that hold a `comment`, as `git archive` writes them.

It refuses everything else: links, devices, sparse files, sizes that are not octal, names that are
not UTF-8, two headers of one kind before an entry, an archive that ends too early. Where Go's
archive/tar (and so helm) reads more or something else, this reader refuses, so that nothing passes
a check here and reaches helm as something different.

One `Budget` bounds one piece of work. Pass the same one for archives inside an archive: bytes,
entries and pax records are then counted over all of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
_GZIP = 31  # zlib's code for a gzip header
_ZEROS = bytes(BLOCK)
_REGULAR = (b"0", b"\0")
_FOLDER = b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_LINKS = {b"1": "hard link", b"2": "symbolic link"}
_OTHER_KINDS = {
    b"3": "character device",
    b"4": "block device",
    b"6": "named pipe",
    b"S": "sparse file",
}
# Keys that change neither the name nor the size of an entry.
_IGNORED_KEYS = frozenset(
    {"mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "charset", "linkpath"}
)
_IGNORED_PREFIXES = ("SCHILY.", "LIBARCHIVE.", "RHT.", "VENDOR.")


class TarError(ValueError):
    """Says why an archive is refused, as the end of a sentence: "holds a symbolic link: 'a'"."""


@dataclass
class TarBudget:
    """What is left of the limits: bytes after decompression (headers count), entries, pax records.

    A record can be six bytes long, so the number of bytes does not bound the time that they take.
    `name_bytes` bounds one name, `header_bytes` one long-name or pax header.
    """

    bytes: int = 64 * 1024 * 1024
    entries: int = 20_000
    name_bytes: int = 1024
    header_bytes: int = 32 * 1024
    records: int = 100_000

    def spend_bytes(self, count: int) -> None:
        if count > self.bytes:
            raise TarError(f"unpacks to more than {self.bytes} bytes")
        self.bytes -= count

    def spend_entry(self) -> None:
        if self.entries <= 0:
            raise TarError("holds too many entries")
        self.entries -= 1

    def spend_record(self) -> None:
        if self.records <= 0:
            raise TarError("holds too many pax records")
        self.records -= 1


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A regular file or a folder; `data` of a folder is empty. `name` is UTF-8 but not checked."""

    name: str
    data: memoryview
    is_folder: bool
    executable: bool


@dataclass
class _ExtendedHeader:
    """What long-name and pax headers say about the next entry."""

    name: str | None = None
    size: int | None = None
    kinds: frozenset[bytes] = frozenset()


def gunzip(data: bytes, budget: TarBudget) -> bytes:
    """Inflates one gzip member within the budget. Raises TarError.

    Data after the member is refused: Go would read it as part of the archive.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        output = stream.decompress(data, budget.bytes + 1)
    except zlib.error as error:
        raise TarError(f"is not a gzipped tar: {error}") from error
    budget.spend_bytes(len(output))
    if not stream.eof:
        raise TarError("ends too early")
    if stream.unused_data.strip(b"\0"):
        raise TarError("holds data after the end of its gzip stream")
    return output


def entries(data: bytes, budget: TarBudget) -> Iterator[TarEntry]:
    """Yields the files and folders of an uncompressed tar, in its order. Raises TarError.

    `data` is already bounded by its reader (`gunzip`); only entries are counted here. An entry's
    data is a view into the archive; copy what must outlive it.
    """
    view = memoryview(data)
    position = 0
    extension = _ExtendedHeader()
    while position < len(view):
        header = view[position : position + BLOCK].tobytes()
        if header == _ZEROS:
            _check_end(view, position, extension)
            return
        _check_header(header)
        budget.spend_entry()
        kind, size = header[156:157], _octal(header[124:136], "size")
        if extension.size is not None and kind in _REGULAR:
            size = extension.size
        start = position + BLOCK
        size = 0 if kind == _FOLDER else size
        position = start + -(-size // BLOCK) * BLOCK
        if position > len(view):
            raise TarError("ends too early")
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            _read_extension(extension, kind, view[start : start + size], budget)
            continue
        yield _entry(header, kind, view[start : start + size], extension, budget)
        extension = _ExtendedHeader()
    if extension.kinds:
        raise TarError("ends after a header that describes no entry")


def _check_end(view: memoryview, position: int, extension: _ExtendedHeader) -> None:
    """Two blocks of zeros end an archive. Go reads on after a single one, so it is refused."""
    second = view[position + BLOCK : position + 2 * BLOCK].tobytes()
    if second.strip(b"\0"):
        raise TarError("holds data after its end")
    if extension.kinds:
        raise TarError("ends after a header that describes no entry")


def _check_header(header: bytes) -> None:
    if len(header) < BLOCK:
        raise TarError("ends too early")
    checksum = _octal(header[148:156], "checksum")
    if checksum != sum(header) - sum(header[148:156]) + 8 * 32:
        raise TarError("is not a tar: a header has a wrong checksum")
    if header[508:512] == b"tar\0":
        raise TarError("has star headers, which are not supported")


def _entry(
    header: bytes, kind: bytes, data: memoryview, extension: _ExtendedHeader, budget: TarBudget
) -> TarEntry:
    name = extension.name if extension.name is not None else _header_name(header)
    if len(name.encode()) > budget.name_bytes:
        raise TarError(f"holds a name longer than {budget.name_bytes} bytes: {name[:60]!r}…")
    if kind in _LINKS:
        raise TarError(f"holds a {_LINKS[kind]}: {name!r}")
    if kind in _OTHER_KINDS:
        raise TarError(f"holds {name!r}, which is no file but a {_OTHER_KINDS[kind]}")
    # V7 archives have no kind for folders: their names end in a slash.
    is_folder = kind == _FOLDER or (kind == b"\0" and name.endswith("/") and not data)
    if not is_folder and kind not in _REGULAR:
        raise TarError(f"holds {name!r}, which is no file: its type is {kind!r}")
    executable = bool(_octal(header[100:108], "mode") & 0o100)
    return TarEntry(name.rstrip("/") if is_folder else name, data, is_folder, executable)


def _header_name(header: bytes) -> str:
    name = _text(header[:100])
    # Only USTAR has a prefix; GNU keeps times in its place.
    prefix = _text(header[345:500]) if header[257:265] == b"ustar\x0000" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    """A field up to its first NUL."""
    return _utf8(field.partition(b"\0")[0])


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TarError(f"holds a name that is not UTF-8: {data[:60]!r}") from error


def _octal(field: bytes, name: str) -> int:
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise TarError(f"is not a tar: a header's {name} is not an octal number")
    return int(digits or b"0", 8)


def _read_extension(
    extension: _ExtendedHeader, kind: bytes, data: memoryview, budget: TarBudget
) -> None:
    """Takes over a long name or pax records for the next entry."""
    if len(data) > budget.header_bytes:
        raise TarError(f"holds a header of more than {budget.header_bytes} bytes")
    if kind == _PAX_GLOBAL:
        if _records(data.tobytes(), budget).keys() - {"comment"}:
            raise TarError("holds a global pax header, which is not supported")
        return
    clash = {_PAX} if kind in (_LONG_NAME, _LONG_LINK) else {_LONG_NAME, _LONG_LINK}
    if kind in extension.kinds or clash & extension.kinds:
        raise TarError("holds two long-name headers for one entry")
    extension.kinds |= {kind}
    if kind == _LONG_NAME:
        extension.name = _text(data.tobytes())
    elif kind == _PAX:
        _apply_records(extension, _records(data.tobytes(), budget))


def _apply_records(extension: _ExtendedHeader, records: dict[str, bytes]) -> None:
    for key, value in records.items():
        if key == "path":
            extension.name = _utf8(value)
        elif key == "size":
            if not value.isdigit() or len(value) > 15:
                raise TarError("is not a tar: the size of a pax header is not a number")
            extension.size = int(value)
        elif key not in _IGNORED_KEYS and not key.startswith(_IGNORED_PREFIXES):
            raise TarError(f"holds the pax record {key[:60]!r}, which is not supported")


def _records(data: bytes, budget: TarBudget) -> dict[str, bytes]:
    """Pax records: `LENGTH KEY=VALUE` and a line end, LENGTH being that of the whole record."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        budget.spend_record()
        space = data.find(b" ", position, position + 8)
        digits = data[position:space] if space > position else b""
        end = position + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : max(space + 1, end - 1)].partition(b"=")
        if not position < space < end <= len(data) or not equals or data[end - 1 : end] != b"\n":
            raise TarError("is not a tar: a pax header has a malformed record")
        name = _utf8(key)
        if name in records:
            raise TarError(f"holds the pax record {name[:60]!r} twice")
        # An empty path or size means "as the header says" to Go, and a NUL ends a name elsewhere.
        if name in {"path", "size"} and (not value or b"\0" in value):
            raise TarError(f"is not a tar: the pax record {name!r} has an empty value or a NUL")
        records[name] = value
        position = end
    return records
