"""Where fetched and built tools are kept: ``<root>/<name>-<version>/<name>``.

Rule: a file under its final name is complete. It is written beside it, synced, then renamed;
whoever is killed in between leaves only a temporary directory, which the next holder of the lock
removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.localkube.errors import LocalkubeError

LOCK_SECONDS = 3600.0


def say(line: str) -> None:
    """One line to a person, on standard error: standard output belongs to ``--print-env``."""
    print(f"localkube: {line}", file=sys.stderr, flush=True)


def root() -> Path:
    """The cache directory, from FLEETCTL_TOOLS_CACHE, else XDG_CACHE_HOME, else ~/.cache; one below
    the folder for temporary files when that cannot be written. Not created here.
    """
    own = os.environ.get("FLEETCTL_TOOLS_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    found = (Path(base) if base else Path.home() / ".cache") / "fleetctl" / "tools"
    there = next(path for path in (found, *found.parents) if path.exists())
    return (
        found
        if os.access(there, os.W_OK)
        else Path(tempfile.gettempdir()) / f"fleetctl-tools-{os.getuid()}"
    )


def place(name: str, version: str) -> Path:
    """Where this version of the tool is, or would be."""
    return root() / f"{name}-{version}" / name


def cached(name: str, version: str) -> Path | None:
    """The tool's file if it is there and executable."""
    path = place(name, version)
    return path if path.is_file() and os.access(path, os.X_OK) else None


@contextlib.contextmanager
def locked(what: str, seconds: float = LOCK_SECONDS) -> Iterator[Path]:
    """Hold the lock of ``what`` and give a temporary directory in the cache; both end with the
    block.

    The lock is the kernel's (flock): a killed holder frees it. A second one waits and says so.
    """
    base = root()
    base.mkdir(parents=True, exist_ok=True)
    with (base / f".lock-{what}").open("a") as handle:
        _take(handle.fileno(), what, seconds)
        for stale in base.glob(f".tmp-{what}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".tmp-{what}-", dir=base))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _take(descriptor: int, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LocalkubeError(
                    f"another process holds {root()}/.lock-{what} for {seconds:g} s"
                ) from None
            if not told:
                say(f"waiting for another process that is getting {what}")
                told = True
            time.sleep(0.2)


def put(ready: Path, name: str, version: str) -> Path:
    """Move a finished binary into the cache, all or nothing. ``ready`` is on the cache's file
    system.
    """
    ready.chmod(0o755)
    sync(ready)
    target = place(name, version)
    target.parent.mkdir(parents=True, exist_ok=True)
    ready.replace(target)
    sync(target.parent)
    return target


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bin_directory(links: Mapping[str, Path]) -> Path:
    """A directory of symbolic links, one for each name. Its own name is a digest of them, so it
    never changes.
    """
    text = "\n".join(f"{name}={path}" for name, path in sorted(links.items()))
    target = root() / f"bin-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    root().mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".tmp-bin-", dir=root()))
    fresh.chmod(0o755)
    for name, path in links.items():
        (fresh / name).symlink_to(path)
    try:
        fresh.rename(target)
    except OSError:
        # Another process made the same directory first.
        shutil.rmtree(fresh, ignore_errors=True)
        if not target.is_dir():
            raise
    return target
