"""Examines the files of a bundle: the definitions of its chart, the objects of a raw bundle.

Foreign archives and YAML are read here, so the agent runs `examine` in its sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fleetctl.core.formats import tar
from fleetctl.core.model.bundle import check_path
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rendering.render import RenderPlan, Style, manifests, templates

_PACKED_DEPTH = 4  # packed charts inside packed charts
_CRDS = re.compile(r"(^|/)crds/")


def examine(plan: RenderPlan) -> RenderPlan:
    """Add to the plan what only its files show: the definitions of a chart, the objects of a raw
    bundle. Raises InvalidFile.
    """
    if plan.style is Style.RAW and plan.text is None:
        return msgspec.structs.replace(
            plan, text=manifests(plan.files), engine=templates(plan.files), files={}
        )
    if plan.is_helm and plan.crds is None:
        return msgspec.structs.replace(plan, crds=tuple(crds_of(chart_files(plan))))
    return plan


def has_crds(plan: RenderPlan) -> bool:
    """Whether the chart, or one that it depends on, may have a `crds` folder."""
    return bool(examine(plan).crds)


def refuse_crds(plan: RenderPlan) -> None:
    """Raises UsageError for a chart with a `crds` folder, which helm installs before it renders
    anything. The error names the file.
    """
    definition = next(iter(examine(plan).crds or ()), None)
    if definition:
        summary = (
            f"{definition} of the chart is cluster-scoped: the GitRepo's targetNamespace keeps"
            f" everything in {plan.forced_namespace}"
        )
        if definition.endswith(")"):
            summary = (
                f"{definition}: the GitRepo's targetNamespace needs a chart that can be read as a"
                " whole"
            )
        raise UsageError(
            summary,
            subject=definition,
            next_step="Deploy the definitions with a bundle that has no target namespace.",
        )


def chart_files(plan: RenderPlan) -> dict[str, bytes]:
    """The files of the plan's chart by their path in the chart."""
    start = f"{plan.chart}/" if plan.chart else ""
    return {
        path[len(start) :]: file.data for path, file in plan.files.items() if path.startswith(start)
    }


def crds_of(files: Mapping[str, bytes]) -> list[str]:
    """List the files of a chart's `crds` folders, with those of its subcharts, packed or not.

    A packed subchart that cannot be read may hold definitions. It is listed with the reason.
    """
    return sorted(_crds_in(files, tar.TarBudget(), _PACKED_DEPTH))


def _crds_in(files: Mapping[str, bytes], budget: tar.TarBudget, depth: int) -> list[str]:
    paths = [p for p in files if _CRDS.search(p) and p.endswith((".yaml", ".yml", ".json"))]
    for path, data in files.items():
        if path.endswith((".tgz", ".tar.gz")) and "charts/" in path:
            paths += [path + place for place in _crds_of_packed(data, budget, depth)]
    return paths


def _crds_of_packed(data: bytes, budget: tar.TarBudget, depth: int) -> list[str]:
    """The places in a packed chart that hold definitions or may hold some, each as the rest of a
    sentence.
    """
    if depth == 0:
        return [" (it is packed into too many other charts)"]
    try:
        inner = _unpack_files(data, budget)
    except tar.TarError as error:
        return [f" (it {error})"]
    return [f": {name}" for name in _crds_in(inner, budget, depth - 1)]


def _unpack_files(data: bytes, budget: tar.TarBudget) -> dict[str, bytes]:
    """The definitions and archives of a packed chart, without its own folder. Raises TarError."""
    files = {}
    for entry in tar.entries(tar.gunzip(data, budget), budget):
        full_path = entry.name.removeprefix("./")
        reason = (
            None if entry.is_folder else check_path(full_path)
        )  # helm reads a backslash as a slash
        if reason:
            raise tar.TarError(f"holds {entry.name!r}, which {reason}")
        path = full_path.partition("/")[2]
        if not entry.is_folder and (_CRDS.search(path) or path.endswith("gz")):
            files[path] = bytes(entry.data) if path.endswith("gz") else b""
    return files
