"""A bundle is its inputs: files in one canonical archive, and what to do with them.

The archive is an uncompressed USTAR tar: regular files only, sorted by path bytes, mtime 0, uid and
gid 0, no names, modes 0644 or
0755. A path that does not fit into USTAR's fields (100 bytes for the last part, 155 for the folder)
      stands in a pax header before its entry, as its only record. Its digest is the SHA-256 of
      those bytes, so the same commit and options give the same digest on every machine.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from typing import Any

import msgspec

from fleetctl.core.formats import tar as tarreader
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, CommitId, Digest, RepoName, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.model.wire import Dependency


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    files: int = 20_000
    depth: int = 32
    path_bytes: int = 1024
    part_bytes: int = 255  # of a file's or folder's name, as in Linux
    file_bytes: int = 5 * 1024 * 1024
    total_bytes: int = 64 * 1024 * 1024


DEFAULT_LIMITS = Limits()
_LONG_NAME = "long-name"  # in the header of an entry whose name stands in a pax header before it


class File(msgspec.Struct, frozen=True):
    data: bytes
    executable: bool = False


Files = Mapping[str, File]


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Who: all criteria that are stated must hold. A selector of {} matches every cluster; none
    stated matches nobody.
    """

    name: str = ""
    cluster_name: str = ""
    cluster_selector: dict[str, Any] | None = None
    cluster_group: str = ""
    cluster_group_selector: dict[str, Any] | None = None
    do_not_deploy: bool = False
    options: Options = Options()


class BundleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a scan makes of one directory. `targets` say who gets it, `customizations` how it
    differs there.
    """

    workspace: Workspace
    name: BundleName
    repo: RepoName = RepoName("")
    path: str = ""
    commit: CommitId = CommitId("")
    labels: dict[str, str] = {}
    options: Options = Options()
    targets: list[Target] = []
    overrides_targets: bool = False  # the targets stand in fleet.yaml, not in the GitRepo
    customizations: list[Target] = []
    customization_mode: str = "FirstMatch"
    depends_on: list[Dependency] = []
    paused: bool = False
    archive: Digest = Digest("")
    size: int = 0
    files: int = 0
    rollout_strategy: dict[str, Any] | None = None
    moved_from: BundleName = BundleName("")  # what it was called; its releases stay


def chart_folder(chart: str, repo: str, version: str) -> str:
    """Where a fetched chart stands in the archive; whoever has the options of a cluster finds the
    chart that they mean.
    """
    return ".charts/" + chart_digest(chart, repo, version)[:16]


def chart_digest(chart: str, repo: str, version: str) -> str:
    """As Fleet names it (rancher/fleet `bundlereader.checksum`)."""
    return hashlib.sha256(f"{chart}:{repo}:{version}".encode()).hexdigest()


def check_path(path: str, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Why `path` may not stand in an archive, or None."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(p in {"", ".", ".."} for p in parts):
        return "is not a plain relative path"
    if len(path.encode()) > limits.path_bytes or len(parts) > limits.depth:
        return f"is longer than {limits.path_bytes} bytes or deeper than {limits.depth} folders"
    if any(len(p.encode()) > limits.part_bytes for p in parts):
        return f"has a part of more than {limits.part_bytes} bytes"
    if any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in path):
        return "holds a control character or a backslash"
    if any(p.lower() == ".git" for p in parts):
        return "passes through a .git folder"
    return None


def pack(files: Files, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The canonical archive of `files`. Raises UsageError naming the file that breaks a limit."""
    _check(files, limits)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(files, key=str.encode):
            info = tarfile.TarInfo(path)
            info.size = len(files[path].data)
            info.mode = 0o755 if files[path].executable else 0o644
            try:
                tar.addfile(info, io.BytesIO(files[path].data))
            except ValueError:  # the name does not fit into USTAR's two fields
                _add_long_name(tar, path)
                info.name = _LONG_NAME
                tar.addfile(info, io.BytesIO(files[path].data))
    return out.getvalue()


def _add_long_name(tar: tarfile.TarFile, path: str) -> None:
    """A pax header with the name of the next entry."""
    text = f" path={path}\n".encode()
    length = len(text) + 1
    while len(str(length)) + len(text) != length:
        length = len(str(length)) + len(text)
    info = tarfile.TarInfo(_LONG_NAME)
    info.type, info.size, info.mode = tarfile.XHDTYPE, length, 0o644
    tar.addfile(info, io.BytesIO(str(length).encode() + text))


def unpack(data: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, File]:
    """The files of a canonical archive, in memory. Raises UsageError on what `pack` does not write.

    The archive comes from a manager or from a disk: it is read with the strict reader of
    `core/tar`.
    """
    files: dict[str, File] = {}
    total = 0
    budget = tarreader.Budget(bytes=0, entries=2 * limits.files + 1, name_bytes=limits.path_bytes)
    try:
        for entry in tarreader.entries(data, budget):
            name, size = entry.name, len(entry.data)
            total += size
            reason = check_path(name, limits)
            if entry.is_folder or name in files or reason or total > limits.total_bytes:
                raise _forbidden(name)
            files[name] = File(bytes(entry.data), executable=entry.executable)
    except tarreader.TarError as why:
        raise UsageError(f"the archive {why}", next_step="Fetch it again.") from why
    _check(files, limits)
    return files


def _forbidden(name: str) -> UsageError:
    summary = f"archive holds a forbidden entry {name!r}"
    return UsageError(summary, next_step="Scan the repository again.")


def archive_digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def _check(files: Files, limits: Limits) -> None:
    total = 0
    if len(files) > limits.files:
        raise UsageError(
            f"{len(files)} files are more than the {limits.files} that a bundle may hold",
            next_step="Split the bundle.",
        )
    for path, file in files.items():
        why = check_path(path, limits)
        if why:
            raise UsageError(
                f"{path!r} {why}", subject=path, next_step="Rename it, or list it in .fleetignore."
            )
        total += len(file.data)
        if len(file.data) > limits.file_bytes:
            summary = (
                f"{path} has {len(file.data)} bytes, more than the {limits.file_bytes} that one"
                " file may have"
            )
            raise UsageError(summary, subject=path, next_step="List it in .fleetignore.")
    if total > limits.total_bytes:
        raise UsageError(
            f"{total} bytes are more than the {limits.total_bytes} of a bundle",
            next_step="Split the bundle.",
        )
