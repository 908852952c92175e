"""How `fleet-agent.pyz` starts: it unpacks itself once, checks by digest what it unpacked before,
and runs it.

Rule: compiled libraries cannot be loaded out of a zip, so they must lie on the disk; what lies
there is used only when every file has the digest that the .pyz names, and is made again, in a
folder beside it and with one rename, when not: after a power cut, a full disk or a stray hand. This
file stands at the root of the .pyz as well and imports the standard library only.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
import zipimport
import zlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

ABOUT = "fleet-agent.json"
SITE = "site/"
FOLDER = "agents/unpacked"
_DAMAGED_STATUS, _DISK_STATUS = 1, 5  # what others caused may pass


def main(archive: Path) -> None:
    """Never returns."""
    try:
        site = unpack(archive, roots(sys.argv[1:]))
    except OSError as error:
        sys.stderr.write(
            f"error: {archive.name} cannot be unpacked: {error.strerror}: {error.filename}\n"
            "  Check the space and the rights on the disk.\n"
        )
        sys.exit(_DAMAGED_STATUS if error.errno == errno.EIO else _DISK_STATUS)
    sys.path.insert(0, str(site))
    try:
        # In the .pyz this module stands alone, beside the package.
        package = (__package__ or "agent").partition(".")[0]
        launch, app = import_module(f"{package}.upgrade.launcher"), import_module(f"{package}.app")
    except Exception:
        # The sources are whole, so this may be compiled code that a power cut left: the next start
        # compiles anew.
        for cache in list(site.rglob("__pycache__")):
            shutil.rmtree(cache, ignore_errors=True)
        raise
    launch.ARCHIVE = archive  # type: ignore[attr-defined]
    sys.exit(app.main())


def roots(words: Sequence[str]) -> list[Path]:
    """Folders to unpack into, best first: of the state directory, of the user, a temporary one."""
    state = _state_dir(words)
    folders: list[Path] = []
    if state is not None:
        if words[:1] == ["enrol"]:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(state):
            folders.append(state / FOLDER)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    folders.append((Path(cache) if cache else Path("~/.cache").expanduser()) / "fleet-agent")
    return folders


def _state_dir(words: Sequence[str]) -> Path | None:
    for at, word in enumerate(words):
        if word == "--state-dir" and at + 1 < len(words):
            return Path(words[at + 1])
        if word.startswith("--state-dir="):
            return Path(word.partition("=")[2])
    return None


def _is_ours(folder: Path) -> bool:
    """Code is run only out of a directory that nobody else can write to."""
    try:
        status = folder.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def unsafe(path: Path, *, parents: bool = True) -> str:
    """Why another user can change `path` (a folder, or a file that is run), as the rest of a
    sentence; "" when only this user and root can. With `parents` a folder above it must not let
    others exchange it. Raises OSError.
    """
    about = path.stat()
    if about.st_uid not in {os.getuid(), 0}:
        return f"belongs to user {about.st_uid}"
    if about.st_mode & stat.S_IWOTH or (
        about.st_mode & stat.S_IWGRP and about.st_gid not in {os.getegid(), 0}
    ):
        return f"can be written by other users (mode {stat.S_IMODE(about.st_mode):04o})"
    above = {*path.absolute().parents, *path.resolve().parents} if parents else set()
    for folder in sorted(above):
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return (
                f"lies in {folder}, where every user can replace it (mode {stat.S_IMODE(mode):04o})"
            )
    return ""


def unpack(archive: Path, places: Sequence[Path]) -> Path:
    """The folder with the program's packages, whole, in the first of `places` that can be used.
    Raises OSError.
    """
    name = digest_of(archive)[:32]
    # which is loaded already; zipfile would cost an idle agent half a MiB
    importer = zipimport.zipimporter(str(archive))
    files: dict[str, str] = json.loads(_member(importer, ABOUT))["files"]
    for root in places:
        if _whole(root / name, files):
            return root / name
        try:
            return _unpack_into(importer, files, root, name)
        except OSError:
            continue
    root = Path(tempfile.mkdtemp(prefix="fleet-agent-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return _unpack_into(importer, files, root, name)


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(folder: Path, files: dict[str, str]) -> bool:
    try:
        return all(digest_of(folder / name) == digest for name, digest in files.items())
    except OSError:
        return False


def _unpack_into(
    archive: zipimport.zipimporter, files: dict[str, str], root: Path, name: str
) -> Path:
    """Unpack, let it reach the disk, and only then give it its name."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = root / f".new-{name}-{secrets.token_hex(4)}"
    try:
        for file, digest in files.items():
            path = new / file
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(_read(archive, file, digest))
        _sync(root)
        return _rename_into(new, root / name, files)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _read(archive: zipimport.zipimporter, file: str, digest: str) -> bytes:
    data = _member(archive, SITE + file)
    if hashlib.sha256(data).hexdigest() != digest:
        raise OSError(errno.EIO, "the file is damaged", archive.archive)
    return data


def _member(archive: zipimport.zipimporter, name: str) -> bytes:
    try:
        return archive.get_data(name)
    except (OSError, EOFError, zipimport.ZipImportError, zlib.error) as error:
        raise OSError(errno.EIO, "the file is damaged", archive.archive) from error


def _rename_into(new: Path, folder: Path, files: dict[str, str]) -> Path:
    if folder.exists():
        if _whole(folder, files):  # another start was quicker
            shutil.rmtree(new, ignore_errors=True)
            return folder
        old = new.with_name(new.name.replace(".new-", ".old-"))
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    new.rename(folder)
    _sync(folder.parent)
    return folder


def _sync(folder: Path) -> None:
    """All of the folder's file system, by one call: a thousand single ones take half a minute on a
    slow card.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs = getattr(ctypes.CDLL(None), "syncfs", None)
        if syncfs is None or syncfs(handle) != 0:
            os.sync()
    finally:
        os.close(handle)
