"""Tools built from source with Go, once, into the cache.

Rule: what is built is pinned. Our own modules are built with ``-mod=readonly`` from the go.sum in
the tree; the others by exact version, which Go checks against its checksum database. The caller's
GOFLAGS, GOOS and the like do not leak in, and Go never downloads another Go (GOTOOLCHAIN=local).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.localkube.child_processes import Spec, run
from tests.localkube.errors import ToolMissing
from tests.localkube.toolchain import cache
from tests.localkube.toolchain.recipes import RECIPES, FromGo

BUILD_SECONDS = 3600.0
GO_WANTED = "1.26"
GO_PLACES = ("/usr/local/go/bin", "/usr/lib/go/bin")


def build(name: str) -> Path:
    """Build the tool into the cache and return its file; ToolMissing says in one line why that is
    impossible.
    """
    recipe = RECIPES[name].go
    with cache.locked(name) as scratch:
        # Another process may have built it while this one waited for the lock.
        if found := cache.cached(name, recipe.version):
            return found
        go = _go()
        if go is None:
            raise ToolMissing(
                f"{name} is missing: not on PATH ({RECIPES[name].wanted}), not in {cache.root()},"
                f" and there is no Go to build it. Install {name}, or Go >= {GO_WANTED}, and run"
                " `make tools` again."
            )
        cache.say(
            f"building {name} {recipe.version} with Go, once: about {recipe.takes} on 2 cores"
        )
        _compile(name, recipe, go, scratch)
        return cache.put(scratch / "out" / name, name, recipe.version)


def build_module(name: str, recipe: FromGo) -> Path:
    """Build a program of this tree into the cache, once for each version. Raises ToolMissing."""
    if program := cache.cached(name, recipe.version):
        return program
    with cache.locked(name) as scratch:
        if program := cache.cached(name, recipe.version):
            return program
        _compile(name, recipe, require_go(), scratch)
        return cache.put(scratch / "out" / name, name, recipe.version)


def require_go() -> str:
    """The path of the go command. Raises ToolMissing."""
    go = _go()
    if go is None:
        raise ToolMissing(f"there is no Go on PATH: install Go >= {GO_WANTED}")
    return go


def go_environment(folder: Path) -> dict[str, str]:
    """The environment for the go command. It writes its intermediate files below `folder`."""
    return _environment(folder, folder)


def _go() -> str | None:
    """On PATH, or where its own installers put it."""
    return shutil.which("go") or shutil.which("go", path=os.pathsep.join(GO_PLACES))


def _compile(name: str, recipe: FromGo, go: str, scratch: Path) -> None:
    out = scratch / "out"
    out.mkdir()
    common = ["-trimpath", "-buildvcs=false", "-ldflags", recipe.ldflags]
    if recipe.module is not None:
        argv = [go, "build", "-mod=readonly", *common, "-o", str(out / name), recipe.package]
    else:
        argv = [go, "install", *common, f"{recipe.package}@v{recipe.version}"]
    log = scratch / "go.log"
    spec = Spec(argv, log=log, env=_environment(out, scratch), cwd=recipe.module or scratch, nice=5)
    try:
        status = run(spec, BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise ToolMissing(
            f"{name}: Go was still building after {BUILD_SECONDS:g} s and was stopped"
        ) from None
    if status != 0:
        raise ToolMissing(_explain(name, status, log.read_text("utf-8", "replace")))
    if recipe.module is None:
        _rename_installed(out, name)


def _rename_installed(out: Path, name: str) -> None:
    """``go install`` names the file itself (and puts it into a directory per platform when
    cross-compiling).
    """
    built = next(path for path in sorted(out.rglob("*")) if path.is_file())
    if built != out / name:
        built.rename(out / name)


def _environment(out: Path, scratch: Path) -> dict[str, str]:
    drop = {"GOOS", "GOARCH", "GOWORK", "GOEXPERIMENT"}
    env = {key: value for key, value in os.environ.items() if key not in drop}
    env |= {"GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}
    env.setdefault("HOME", str(Path.home()))  # Go keeps its caches there and refuses to guess
    # Go's intermediate files are large: on the cache's disk, and removed with the scratch
    # directory.
    (scratch / "tmp").mkdir()
    return env | {"GOBIN": str(out), "GOTMPDIR": str(scratch / "tmp")}


def _explain(name: str, status: int, log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()] or [
        f"go ended with {status} and said nothing"
    ]
    if "no space left on device" in log or "disk quota exceeded" in log.lower():
        return (
            f"{name}: the disk is full. Go needs about 5 GB for its build cache (`go env GOCACHE`),"
            f" 2 GB for modules and 1 GB in {cache.root()}: free some, or set GOCACHE and"
            " FLEETCTL_TOOLS_CACHE to another disk."
        )
    if "requires go >=" in log:
        return (
            f"{name}: this Go is too old ({lines[-1].strip()}). Install Go >= {GO_WANTED} or {name}"
            " itself."
        )
    if status == -9 or "signal: killed" in log:
        return (
            f"{name}: the build was killed, most likely for lack of memory (kube-apiserver needs 2"
            " GB)."
        )
    return f"{name}: Go could not build it: {lines[-1].strip()}"
