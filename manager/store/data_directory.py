"""The data directory: where it lies, who may read it, and whether its files belong together.

Rule: a key or database that is missing beside others is an error. A new one in its place would cut
off every agent or make stored Secrets unreadable, and would do so in silence. Only an empty
directory gets new ones: `.first-start` marks it until the first start has succeeded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from fleetctl.core.model.errors import RefusedError, UsageError
from fleetctl.durable import write_whole

from .. import log

DATABASE, SIGNING_KEY, SECRET_KEY, CA, CA_KEY = (
    "fleet.db",
    "signing.key",
    "secret.key",
    "tls/ca.pem",
    "tls/ca.key",
)
# What can be given up with --accept-lost, and what that costs.
LOSSES = {
    DATABASE: "every object, token and enrolment is lost; every agent must enrol again",
    SIGNING_KEY: "no agent accepts the new key; every agent must enrol again",
    SECRET_KEY: "stored Secrets cannot be read; apply each Secret again",
    CA_KEY: "a new CA is created; every agent must enrol again and every person must log in again",
}
_PRIVATE = (
    DATABASE,
    f"{DATABASE}-wal",
    f"{DATABASE}-shm",
    SIGNING_KEY,
    SECRET_KEY,
    CA_KEY,
    "tls/server.key",
    "admin.token",
)
_MARK = ".first-start"
_RESTORE = "Restore {name} from the backup of {folder} (docs/operations.md)."


@dataclass(frozen=True)
class Layout:
    """Which files the data directory must hold. Keys may lie elsewhere (`--secret-key-file`,
    `--tls-key`).
    """

    folder: Path
    own_secret_key: bool = True
    own_ca: bool = True
    database: bool = True

    def required(self) -> tuple[str, ...]:
        names = [DATABASE] if self.database else []
        names += (
            [SIGNING_KEY]
            + ([SECRET_KEY] if self.own_secret_key else [])
            + ([CA, CA_KEY] if self.own_ca else [])
        )
        return tuple(names)


def check(layout: Layout, accepted_losses: Collection[str] = ()) -> None:
    """Raises UsageError when a key or the database is missing beside others. Begins the first start
    of an empty directory.

    `accepted` names files that a person has given up (see `LOSSES`).
    """
    folder, mark = layout.folder, layout.folder / _MARK
    secure(folder)
    present = {name for name in layout.required() if _is_there(folder / name)}
    if mark.exists():
        return  # the first start was interrupted: what is missing is created
    if not present and not _has_run(folder):
        write_whole(mark, b"")
        return
    for name in layout.required():
        if name in present:
            continue
        if (CA_KEY if name == CA else name) not in accepted_losses:
            raise _missing(folder, name, "is empty" if (folder / name).exists() else "is missing")
        log.warning(
            "lost file accepted", file=name, consequence=LOSSES[CA_KEY if name == CA else name]
        )
    lost_files = [name for name in layout.required() if name not in present]
    _set_aside(folder, {*lost_files, CA, CA_KEY} if {CA, CA_KEY} & set(lost_files) else lost_files)


def first_start_done(folder: Path) -> None:
    (folder / _MARK).unlink(missing_ok=True)


def is_first_start(folder: Path) -> bool:
    return (folder / _MARK).exists()


def secure(folder: Path) -> None:
    """Take from others what they may read of the directory and its secret files. Raises
    RefusedError for a foreign owner.
    """
    for path in (folder, folder / "tls", *(folder / name for name in _PRIVATE)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if status.st_uid not in {os.geteuid(), 0}:
            summary = (
                f"{path} belongs to user {status.st_uid}, and the manager runs as user"
                f" {os.geteuid()}"
            )
            raise RefusedError(
                summary,
                subject="--data-dir",
                next_step=f"Run `chown -R {os.geteuid()} {folder}`, or start as its owner.",
            )
        mode = stat.S_IMODE(status.st_mode)
        if not mode & 0o077:
            continue
        if status.st_uid == os.geteuid():
            path.chmod(mode & 0o700)
            log.warning(
                "mode corrected", path=str(path), was=f"{mode:04o}", now=f"{mode & 0o700:04o}"
            )
        elif mode & 0o007:
            summary = f"{path} is open to every user (mode {mode:04o}) and belongs to root"
            raise RefusedError(
                summary, subject="--data-dir", next_step=f"Run `chmod o-rwx {path}` as root."
            )


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _has_run(folder: Path) -> bool:
    """Whether something of an earlier manager lies here, though keys and database are gone."""
    return (folder / "admin.token").exists() or any(_files(folder / "archives"))


def _files(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.is_dir() else ()


def _missing(folder: Path, name: str, remedy: str) -> UsageError:
    choice = CA_KEY if name == CA else name
    step = _RESTORE.format(name=name, folder=folder)
    step += (
        f" If there is none, `fleet-manager serve … --accept-lost {choice}` once: {LOSSES[choice]}."
    )
    return UsageError(
        f"{folder / name} {remedy}, and this directory was used by a manager before",
        subject=name,
        next_step=step,
    )


def _set_aside(folder: Path, names: Iterable[str]) -> None:
    """Keep what is left of a pair under another name: nothing overwrites it."""
    for name in names:
        path = folder / name
        if path.exists():
            path.replace(_free(path))


def _free(path: Path) -> Path:
    return next(
        p for n in range(1, 1000) if not (p := path.with_name(f"{path.name}.lost-{n}")).exists()
    )


_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "ocfs2",
        "gfs2",
        "beegfs",
    }
    | {
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.davfs",
        "davfs",
    }
)


def prepare_data_dir(folder: Path, mounts: str | None = None) -> None:
    """Make the data directory, mode 0700. Raises UsageError, and RefusedError on a network file
    system, where SQLite breaks.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        summary = f"{folder} cannot be created: {error.strerror}"
        raise UsageError(
            summary, subject="--data-dir", next_step="Choose a directory that this user may write."
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(
            f"{folder} is not readable and writable",
            subject="--data-dir",
            next_step="Give it to this user, mode 0700.",
        )
    kind = _file_system(folder, _mounts() if mounts is None else mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        summary = f"{folder} is on a network file system ({kind}), where the database would break"
        raise RefusedError(
            summary, subject="--data-dir", next_step="Choose a directory on a local disk."
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ""


def _file_system(folder: Path, mounts: str) -> str:
    """The type of the longest mount point above `folder`; the last one wins, as it lies over the
    others.
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        prefix, _, right = line.partition(" - ")
        words = prefix.split()
        if len(words) < 5 or not right:
            continue
        point = Path(words[4].replace("\\040", " "))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind
