"""The strict reader of tar archives."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from collections.abc import Callable

import pytest

from fleetctl.core.formats.bundle_archive import archive_digest, pack, unpack
from fleetctl.core.formats.tar import BLOCK, TarBudget, TarEntry, TarError, entries, gunzip
from fleetctl.core.model.errors import UsageError


def archive(
    names: list[str],
    *,
    tar_format: int = tarfile.USTAR_FORMAT,
    change: Callable[[tarfile.TarInfo], None] = lambda info: None,
    content: bytes = b"text",
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as opened:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            change(info)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(data: bytes, **limits: int) -> list[TarEntry]:
    return list(entries(data, TarBudget(**limits)))


def raw_entry(name: bytes, kind: bytes, content: bytes, *, size: bytes | None = None) -> bytes:
    """One header with its content, of any kind; `size` is the field's text."""
    info = tarfile.TarInfo("x")
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[:100] = name.ljust(100, b"\0")
    header[124:136] = size or b"%011o\0" % len(content)
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % BLOCK)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


END = bytes(2 * BLOCK)
FILE = raw_entry(b"a", b"0", b"text")


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(tar_format: int) -> None:
    """GNU tar and Python write names beyond 100 bytes in a header of their own."""
    name = "web/" + "ä" * 80 + "/" + "b" * 120
    (entry,) = read(archive([name], tar_format=tar_format))
    assert (entry.name, bytes(entry.data)) == (name, b"text")


def test_the_prefix_of_ustar_belongs_to_the_name() -> None:
    name = "web/" + "a/" * 60 + "b"
    assert [e.name for e in read(archive([name]))] == [name]


def test_a_global_comment_is_passed_over() -> None:
    """`git archive` writes the commit there."""
    data = raw_entry(b"pax_global_header", b"g", record("comment", "0" * 40)) + FILE + END
    assert [e.name for e in read(data)] == ["a"]


def test_modes_and_folders_are_read() -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.mode = 0o755
        if info.name == "web":
            info.type, info.size = tarfile.DIRTYPE, 0

    folder, file = read(archive(["web", "web/run.sh"], change=change))
    assert (folder.is_folder, file.is_folder, file.executable) == (True, False, True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FILE[:-1], "ends too early"),
        (FILE[:600], "ends too early"),
        (FILE[:100], "ends too early"),
        (b"x" * BLOCK, "checksum"),
        (bytes(BLOCK) + FILE, "data after its end"),
        (raw_entry(b"a", b"1", b""), "hard link"),
        (raw_entry(b"a", b"2", b""), "symbolic link"),
        (raw_entry(b"a", b"3", b""), "character device"),
        (raw_entry(b"a", b"6", b""), "named pipe"),
        (raw_entry(b"a", b"S", b""), "sparse"),
        (raw_entry(b"a", b"7", b""), "type is"),
        (raw_entry(b"a", b"V", b""), "type is"),
        (raw_entry(b"\xff", b"0", b""), "UTF-8"),
        (raw_entry(b"a", b"0", b"", size=b"-0000000001\0"), "size is not an octal"),
        (raw_entry(b"a", b"0", b"", size=b"\x80" + bytes(10) + b"\x01"), "size is not an octal"),
        (raw_entry(b"a", b"0", b"", size=b"77777777777\0"), "ends too early"),
        (raw_entry(b"x", b"x", record("path", "b")), "describes no entry"),
        (raw_entry(b"x", b"x", record("path", "b")) + END, "describes no entry"),
        (raw_entry(b"x", b"x", record("path", "b")) * 2 + FILE, "two long-name"),
        (raw_entry(b"x", b"L", b"b\0") + raw_entry(b"x", b"x", b"") + FILE, "two long-name"),
        (raw_entry(b"x", b"x", record("path", "b") * 2) + FILE, "twice"),
        (raw_entry(b"x", b"x", record("path", "b\0c")) + FILE, "NUL"),
        (raw_entry(b"x", b"x", record("path", "")) + FILE, "empty value"),
        (raw_entry(b"x", b"x", record("size", "-1")) + FILE, "not a number"),
        (raw_entry(b"x", b"x", record("size", "99999999")) + FILE, "ends too early"),
        (raw_entry(b"x", b"x", record("GNU.sparse.map", "0,1")) + FILE, "GNU.sparse.map"),
        (raw_entry(b"x", b"x", b"12 path=b\n") + FILE, "malformed"),
        (raw_entry(b"x", b"x", b"0 path=b\n") + FILE, "malformed"),
        (raw_entry(b"x", b"x", b"path=b\n") + FILE, "malformed"),
        (raw_entry(b"x", b"g", record("path", "b")) + FILE, "global"),
        (raw_entry(b"x", b"x", b"0" * 60_000) + FILE, "header of more than"),
        (raw_entry(b"x", b"L", b"a" * 2000) + FILE, "name longer than"),
    ],
)
def test_what_is_not_a_plain_file_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(TarError, match=reason):
        read(data)


def test_entries_have_a_budget() -> None:
    with pytest.raises(TarError, match="too many entries"):
        read(FILE * 11, entries=10)


def test_pax_records_have_a_budget_over_all_headers_and_archives() -> None:
    """Short records cost time for each, of a header that describes a file and of a global one."""
    local = raw_entry(b"x", b"x", b"".join(record(f"SCHILY.{n}", "") for n in range(40))) + FILE
    global_ = raw_entry(b"g", b"g", record("comment", "a")) + FILE
    budget = TarBudget(records=100)
    assert len(list(entries(local * 2 + global_ * 20 + END, budget))) == 22
    with pytest.raises(TarError, match="too many pax records"):
        list(entries(global_ + END, budget))
    with pytest.raises(TarError, match="too many pax records"):
        read(local * 3 + END, records=100)


def test_a_small_archive_with_very_many_pax_records_is_refused() -> None:
    """Without the budget, 300 kB of gzip took 11 s."""
    header = raw_entry(b"x", b"x", b"".join(record(f"SCHILY.{n}", "") for n in range(1_600)))
    packed = gzip.compress((header + FILE) * 100 + END, compresslevel=1)
    budget = TarBudget()
    with pytest.raises(TarError, match="too many pax records"):
        list(entries(gunzip(packed, budget), budget))


def test_a_pax_header_of_zeros_takes_linear_time() -> None:
    """Python before 3.11.10 needs minutes for digits that end in no record."""
    header = raw_entry(b"x", b"x", b"0" * 1_000_000)
    started = time.perf_counter()
    for _ in range(20):
        with pytest.raises(TarError):
            read(header + FILE, header_bytes=2_000_000)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends too early"),
        (b"<html>", "not a gzipped tar"),
        (gzip.compress(FILE[:900])[:-9], "ends too early"),
        (gzip.compress(FILE[:400]) * 2, "after the end"),
        (gzip.compress(bytes(2000)), "more than 1000 bytes"),
    ],
    ids=["empty", "no gzip", "cut", "two members", "too large"],
)
def test_gzip_is_inflated_within_the_budget(data: bytes, reason: str) -> None:
    with pytest.raises(TarError, match=reason):
        gunzip(data, TarBudget(bytes=1000))


def test_a_budget_is_shared_between_archives() -> None:
    budget = TarBudget(bytes=1500)
    assert gunzip(gzip.compress(bytes(1000)), budget) == bytes(1000)
    with pytest.raises(TarError, match="more than 500 bytes"):
        gunzip(gzip.compress(bytes(1000)), budget)


@pytest.mark.parametrize(
    "data",
    [
        archive(["a", "a"]),
        archive(["../a"]),
        archive(["/a"]),
        archive([".git/config"]),
        raw_entry(b"a", b"5", b"") + END,
        raw_entry(b"a", b"2", b"") + END,
        FILE[:-1],
    ],
    ids=["twice", "above", "absolute", "git", "folder", "link", "cut"],
)
def test_a_bundle_archive_that_pack_does_not_write_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="archive"):
        unpack(data)
    assert len(archive_digest(data)) == 64


def test_what_was_packed_is_unpacked() -> None:
    files = unpack(archive(["a.yaml", "b/c.yaml"]))
    assert unpack(pack(files)) == files
