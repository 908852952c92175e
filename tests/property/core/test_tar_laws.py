"""The strict reader agrees with Python's tarfile on every archive that other tools write."""

from __future__ import annotations

import contextlib
import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.formats.tar import TarBudget, TarError, entries

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=90)
NAMES = st.lists(PARTS.filter(lambda part: part not in {".", ".."}), min_size=1, max_size=6)
PLAIN = NAMES.map("/".join).filter(lambda name: len(name.encode()) < 900)
FILES = st.dictionaries(PLAIN, st.binary(max_size=1100), max_size=5)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@given(FILES, FORMATS, st.booleans(), st.floats(0, 2e9))
def test_it_reads_what_tarfile_writes(
    files: dict[str, bytes], tar_format: int, executable: bool, time: float
) -> None:
    """Names of any length, any bytes; times are fractions, which pax writes as records."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o755 if executable else 0o644, time  # type: ignore[assignment]
            archive.addfile(info, io.BytesIO(data))
    read = list(entries(out.getvalue(), TarBudget()))
    assert {e.name: bytes(e.data) for e in read} == files
    assert all(e.executable is executable and not e.is_folder for e in read)


@given(st.binary(max_size=2000), st.integers(0, 1500), st.binary(min_size=1, max_size=20))
def test_any_bytes_are_read_or_refused(data: bytes, position: int, change: bytes) -> None:
    """No input ends in another exception."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("ä" * 120)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    whole = out.getvalue()
    for text in (data, whole[:position] + change + whole[position + len(change) :]):
        with contextlib.suppress(TarError):
            list(entries(text, TarBudget()))
