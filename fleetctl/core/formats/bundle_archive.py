"""The archive of a bundle: all of its inputs in one canonical file.

The archive is an uncompressed USTAR tar: regular files only, sorted by path bytes, mtime 0, uid and
gid 0, no names, modes 0644 or 0755. A path that does not fit into USTAR's fields (100 bytes for the
last part, 155 for the folder) is in a pax header before its entry, as its only record. The digest
is the SHA-256 of those bytes, so the same commit and options give the same digest on every machine.
"""

from __future__ import annotations

import hashlib
import io
import tarfile

from fleetctl.core.formats import tar as tarreader
from fleetctl.core.model.bundle import DEFAULT_LIMITS, File, Files, Limits, check_path
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import Digest

_LONG_NAME = "long-name"  # in the header of an entry whose name is in a pax header before it


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
    `core/formats/tar.py`.
    """
    files: dict[str, File] = {}
    total = 0
    budget = tarreader.TarBudget(
        bytes=0, entries=2 * limits.files + 1, name_bytes=limits.path_bytes
    )
    try:
        for entry in tarreader.entries(data, budget):
            name, size = entry.name, len(entry.data)
            total += size
            reason = check_path(name, limits)
            if entry.is_folder or name in files or reason or total > limits.total_bytes:
                raise _forbidden_name_error(name)
            files[name] = File(bytes(entry.data), executable=entry.executable)
    except tarreader.TarError as error:
        raise UsageError(f"the archive {error}", next_step="Fetch it again.") from error
    _check(files, limits)
    return files


def _forbidden_name_error(name: str) -> UsageError:
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
        fault = check_path(path, limits)
        if fault:
            raise UsageError(
                f"{path!r} {fault}",
                subject=path,
                next_step="Rename it, or list it in .fleetignore.",
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
