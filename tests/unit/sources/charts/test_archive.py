"""A chart's tarball is files at plain places, or it is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Sequence

import pytest

from fleetctl.core.formats.tar import TarBudget
from fleetctl.core.model.errors import SourceError
from fleetctl.sources.charts.archive import unpack

CHART = b"name: web\nversion: 1.0.0\n"
MOST = 1024 * 1024


def tarball(
    entries: Sequence[tuple[str, bytes | None]],
    change: Callable[[tarfile.TarInfo], None] = lambda info: None,
) -> bytes:
    """A gzipped tar of (name, content); None is a folder. `change` is applied to the last entry."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for at, (name, content) in enumerate(entries):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            if at == len(entries) - 1:
                change(info)
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def test_the_folder_is_cut_off_and_modes_are_kept() -> None:
    """Folders are no entries of their own."""

    def run(info: tarfile.TarInfo) -> None:
        info.mode = 0o755

    data = tarball([("web", None), ("web/Chart.yaml", CHART), ("./web/files/run.sh", b"#!")], run)
    chart = unpack(data, "chart web", TarBudget(bytes=MOST))
    assert (chart.name, chart.version, len(chart.digest)) == ("web", "1.0.0", 64)
    assert {path: file.executable for path, file in chart.files.items()} == {
        "Chart.yaml": False,
        "files/run.sh": True,
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("web/../../etc/passwd", "is not a plain relative path"),
        ("../web/x", "is not a plain relative path"),
        ("/web/x", "is not a plain relative path"),
        ("web", "is not a plain relative path"),
        ("web//x", "is not a plain relative path"),
        ("web/a\\b", "backslash"),
        ("web/a\nb", "control character"),
        ("web/.git/config", ".git folder"),
        ("web/" + "a/" * 40 + "x", "deeper than"),
        ("web/Chart.yaml", "twice"),
        ("other/x", "more than one folder"),
    ],
)
def test_odd_places_are_refused(name: str, words: str) -> None:
    """One line with the chart and the place."""
    with pytest.raises(SourceError, match=words) as caught:
        unpack(
            tarball([("web/Chart.yaml", CHART), (name, b"x")]), "chart web", TarBudget(bytes=MOST)
        )
    assert caught.value.summary.startswith("chart web ")
    assert "\n" not in caught.value.summary


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_are_refused(kind: bytes) -> None:
    """helm would follow the first."""

    def turn(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc/passwd"

    with pytest.raises(SourceError, match="holds"):
        unpack(
            tarball([("web/Chart.yaml", CHART), ("web/x", b"")], turn),
            "chart web",
            TarBudget(bytes=MOST),
        )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "is not a gzipped tar"),
        (b"", "ends too early"),
        (gzip.compress(b"hello" * 1000), "is not a tar"),
        (gzip.compress(bytes(MOST + 1)), "unpacks to more than"),
        (tarball([("web/Chart.yaml", CHART)])[:-9], "ends too early"),
        (tarball([("web/values.yaml", b"a: 1")]), "has no Chart.yaml"),
        (tarball([("web/Chart.yaml", b"- a")]), "has no Chart.yaml"),
        (tarball([("web/Chart.yaml", b"name: ../x\nversion: 1.0.0")]), "calls itself"),
        (tarball([("web/Chart.yaml", b"name: x\nversion: ../1")]), "calls itself"),
    ],
    ids=[
        "html",
        "empty",
        "gzip-of-text",
        "too-large",
        "cut",
        "no-chart-yaml",
        "a-list",
        "name-with-slash",
        "version-with-slash",
    ],
)
def test_what_is_no_chart_is_refused(data: bytes, words: str) -> None:
    """Cut off, too large, or something else."""
    with pytest.raises(SourceError, match=words):
        unpack(data, "chart web", TarBudget(bytes=MOST))


def test_ten_million_empty_entries_are_stopped_by_their_bytes() -> None:
    """Each has a header, and headers count."""
    bomb = gzip.compress(tarfile.TarInfo("web/d/").tobuf() * 40_000)
    assert len(bomb) < 200_000
    with pytest.raises(SourceError, match="unpacks to more than"):
        unpack(bomb, "chart web", TarBudget(bytes=MOST))
