"""What a fleet.yaml says of the bundle's other files without effect, and lines of a .fleetignore
that leave nothing out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from fleetctl.core.filetree.tree import inside
from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS
from fleetctl.core.lint.context import Advice, Layer, as_list, as_map, as_str

_PATCH = re.compile(r"(.*)_patch(\.[^./]+)")


def _kustomize(layer: Layer) -> Iterator[Advice]:
    directory = as_str(as_map(layer.own.get("kustomize")).get("dir"))
    folder = inside(directory or ".")
    if layer.files is None or folder is None or (layer.is_custom and not directory):
        return
    names = [name for name in KUSTOMIZATIONS if posixpath.join(folder, name) in layer.files]
    place = layer.at("kustomize", "dir") if directory else ()
    if directory and not names:
        yield (
            "kustomize-dir-missing",
            place,
            f"`kustomize.dir`: {directory} holds no kustomization.yaml",
            "Correct the path.",
        )
    elif names and "kustomization.yaml" not in names:
        summary = f"Rancher Fleet would not find {posixpath.join(folder, names[0])}"
        yield "kustomization-name", place, summary, "Name it kustomization.yaml."


def _overlays(layer: Layer) -> Iterator[Advice]:
    own_overlays = as_list(as_map(layer.own.get("yaml")).get("overlays"))
    if not own_overlays or layer.files is None:
        return
    style = _style(layer)
    if style:
        step = (
            "Remove it; what differs between clusters goes into `helm.values` or `kustomize.dir`."
        )
        yield (
            "overlays-without-effect",
            layer.at("yaml", "overlays"),
            f"`yaml.overlays` has no effect in a bundle with a {style}",
            step,
        )
        return
    plain_files = {path for path in layer.files if not path.startswith("overlays/")}
    names = [
        name
        for name in as_list(as_map(layer.all.get("yaml")).get("overlays"))
        if isinstance(name, str)
    ]
    for at, name in enumerate(names):
        prefix, place = (
            f"overlays/{name}/",
            layer.at("yaml", "overlays", at - (len(names) - len(own_overlays))),
        )
        overlay_files = {
            path.removeprefix(prefix) for path in layer.files if path.startswith(prefix)
        }
        is_own = at >= len(names) - len(own_overlays)
        if not overlay_files and is_own:
            yield (
                "overlay-missing",
                place,
                f"`yaml.overlays`: there is no folder {prefix[:-1]}",
                "Correct the name.",
            )
        for path in sorted(overlay_files):
            patch = _PATCH.fullmatch(path)
            if not patch:
                plain_files.add(path)
            elif patch[1] + patch[2] not in plain_files and is_own:
                summary = f"{prefix}{path} changes {patch[1]}{patch[2]}, which does not exist"
                yield "patch-without-target", place, summary, "Correct the file's name."


def _style(layer: Layer) -> str:
    """What stands between overlays and the bundle's manifests, or ""."""
    chart, files = as_str(layer.helm("chart")), layer.files or frozenset()
    folder = inside(chart or ".")
    if (chart and (as_str(layer.helm("repo")) or "://" in chart)) or (
        folder is not None and posixpath.join(folder, "Chart.yaml") in files
    ):
        return "chart"
    folder = inside(as_str(as_map(layer.all.get("kustomize")).get("dir")) or ".")
    if folder is not None and any(posixpath.join(folder, name) in files for name in KUSTOMIZATIONS):
        return "kustomization"
    return ""


RULES = (_kustomize, _overlays)


def ignored_lines(text: bytes, files: Collection[str]) -> Iterator[tuple[int, str, str]]:
    """(line, summary, next step) of each line of a .fleetignore that leaves nothing out. files:
    those below its folder.

    Fleet compares a line with the last part of a path alone, or as `NAME/*` with the names of
    folders.
    """
    folders = {part for path in files for part in path.split("/")[:-1]}
    parts = folders | {path.rpartition("/")[2] for path in files}
    for at, text_line in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        line = text_line.rstrip()
        if not line or line.startswith("#"):
            continue
        excerpt = line[:80]
        if "/*" in line[1:]:
            if line.removesuffix("/*") not in folders:
                yield (
                    at,
                    f"there is no folder for {excerpt!r}",
                    "Write `NAME/*`, with the folder's name alone.",
                )
        elif "/" in line:
            yield (
                at,
                f"{excerpt!r} matches nothing: a line is compared with names, not with paths",
                "Write the name alone, or `NAME/*`.",
            )
        elif line.startswith("!"):
            yield (
                at,
                f"{excerpt!r} has no effect: .fleetignore has no negation",
                "Remove the line.",
            )
        elif not any(fnmatchcase(part, line.replace("[^", "[!")) for part in parts):
            yield at, f"{excerpt!r} matches nothing", "Correct or remove the line."
