"""A chart's tarball, unpacked in memory: regular files below one folder, and nothing else.

Rule: the whole stream is inflated up to a bound before the tar is looked at, so that neither a compression bomb nor ten million empty
entries cost more than the bound.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.bundle import DEFAULT_LIMITS, File, check_path
from fleetctl.core.errors import SourceError
from fleetctl.core.yamldoc import load

_GZIP = 31  # zlib's code for a gzip header
_PLAIN_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,128}")


@dataclass(frozen=True)
class Chart:
    """`files` by their path below the chart's root; `digest` is the SHA-256 of the archive."""

    name: str
    version: str
    digest: str
    files: dict[str, File] = field(repr=False)


def unpack(data: bytes, name: str, *, most: int) -> Chart:
    """The chart in a gzipped tar of at most `most` bytes. `name` is for errors. Raises SourceError."""
    tar = _inflated(data, name, most)
    files: dict[str, File] = {}
    folders: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
            for info in opened:
                if info.isdir():
                    continue
                top, _, path = info.name.removeprefix("./").partition("/")
                folders.add(top)
                _check(info, path, files, name)
                handle = opened.extractfile(info)
                assert handle is not None
                files[path] = File(handle.read(), executable=bool(info.mode & 0o100))
    except (tarfile.TarError, ValueError, OSError, EOFError) as why:
        raise _wrong(name, f"is not a gzipped tar: {why}") from why
    if len(folders) > 1:
        raise _wrong(name, "holds more than one folder")
    return _described(files, data, name)


def meta(files: Mapping[str, File], name: str) -> dict[str, Any]:
    """Chart.yaml. Raises SourceError, InvalidFile."""
    found = load(files["Chart.yaml"].data, file=f"Chart.yaml of {name}") if "Chart.yaml" in files else None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise _wrong(name, "has no Chart.yaml with a name")
    return found


def _described(files: dict[str, File], data: bytes, name: str) -> Chart:
    said = meta(files, name)
    version = str(said.get("version"))
    if not _PLAIN_VERSION.fullmatch(version) or check_path(said["name"]) or "/" in said["name"]:
        raise _wrong(name, f"calls itself {said['name']!r} {version!r}")
    return Chart(said["name"], version, hashlib.sha256(data).hexdigest(), files)


def _inflated(data: bytes, name: str, most: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        found = stream.decompress(data, most + 1)
    except zlib.error as why:
        raise _wrong(name, f"is not a gzipped tar: {why}") from why
    if len(found) > most:
        raise _wrong(name, f"unpacks to more than {most} bytes")
    if not stream.eof:
        raise _wrong(name, "ends too early")
    return found


def _check(info: tarfile.TarInfo, path: str, files: Mapping[str, File], name: str) -> None:
    """Raises SourceError for whatever is no plain file at a plain place."""
    why = check_path(path) or check_path(info.name.removeprefix("./"))
    if info.issym() or info.islnk():
        raise _wrong(name, f"holds a link: {info.name!r}")
    if not info.isreg() or info.issparse():
        raise _wrong(name, f"holds {info.name!r}, which is no file")
    if why:
        raise _wrong(name, f"holds {info.name!r}, which {why}")
    if path in files:
        raise _wrong(name, f"holds {info.name!r} twice")
    if len(files) >= DEFAULT_LIMITS.files:
        raise _wrong(name, f"holds more than {DEFAULT_LIMITS.files} files")


def _wrong(name: str, what: str) -> SourceError:
    return SourceError(f"{name} {what}", subject=name, next_step="Package the chart again, or correct its address.")
