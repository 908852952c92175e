"""A chart's tarball, unpacked in memory: regular files below one folder, and nothing else.

Rule: the whole stream is inflated up to a bound before the tar is read (`core/tar.py`), so that
neither a compression bomb nor ten million empty entries cost more than the bound.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.formats import tar
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.bundle import File, check_path
from fleetctl.core.model.errors import SourceError

_PLAIN_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,128}")


@dataclass(frozen=True)
class Chart:
    """`files` by their path below the chart's root; `digest` is the SHA-256 of the archive."""

    name: str
    version: str
    digest: str
    files: dict[str, File] = field(repr=False)


def unpack(data: bytes, name: str, budget: tar.TarBudget) -> Chart:
    """Unpacks the chart in a gzipped tar. `name` is for errors. Raises SourceError.

    A budget that is shared bounds a chart together with its dependencies.
    """
    files: dict[str, File] = {}
    folders: set[str] = set()
    try:
        for entry in tar.entries(tar.gunzip(data, budget), budget):
            if entry.is_folder:
                continue
            whole = entry.name.removeprefix("./")
            top, _, path = whole.partition("/")
            folders.add(top)
            reason = check_path(path) or check_path(whole)
            if reason:
                raise _wrong(name, f"holds {entry.name!r}, which {reason}")
            if path in files:
                raise _wrong(name, f"holds {entry.name!r} twice")
            files[path] = File(bytes(entry.data), executable=entry.executable)
    except tar.TarError as error:
        raise _wrong(name, str(error)) from error
    if len(folders) > 1:
        raise _wrong(name, "holds more than one folder")
    return _chart_of(files, data, name)


def meta(files: Mapping[str, File], name: str) -> dict[str, Any]:
    """Chart.yaml. Raises SourceError, InvalidFile."""
    file = (
        load(files["Chart.yaml"].data, file=f"Chart.yaml of {name}")
        if "Chart.yaml" in files
        else None
    )
    if not isinstance(file, dict) or not isinstance(file.get("name"), str):
        raise _wrong(name, "has no Chart.yaml with a name")
    return file


def _chart_of(files: dict[str, File], data: bytes, name: str) -> Chart:
    chart_meta = meta(files, name)
    version = str(chart_meta.get("version"))
    if (
        not _PLAIN_VERSION.fullmatch(version)
        or check_path(chart_meta["name"])
        or "/" in chart_meta["name"]
    ):
        raise _wrong(name, f"calls itself {chart_meta['name']!r} {version!r}")
    return Chart(chart_meta["name"], version, hashlib.sha256(data).hexdigest(), files)


def _wrong(name: str, problem: str) -> SourceError:
    return SourceError(
        f"{name} {problem}",
        subject=name,
        next_step="Package the chart again, or correct its address.",
    )
