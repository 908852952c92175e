"""Lists the charts that a bundle needs and that are not in the repository."""

from __future__ import annotations

from collections.abc import Mapping

from fleetctl.core.charts.reference import (
    ChartRequest,
    describe_unsupported,
    local_folder,
    remote_chart,
)
from fleetctl.core.filetree.tree import join
from fleetctl.core.formats.redact import refuse_login
from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.model.options import HelmOptions


def charts_to_fetch(
    spec: BundleSpec, files: Mapping[str, File], file_name: str
) -> list[ChartRequest]:
    """The charts of the bundle and its customizations that must be fetched, each once. Raises
    InvalidFile and UsageError.
    """
    requests: dict[ChartRequest, None] = {}
    for helm in (spec.options.helm, *(t.options.helm for t in spec.customizations)):
        if helm is None or not (helm.chart or helm.repo):
            continue
        for key, address in (("helm.repo", helm.repo or ""), ("helm.chart", helm.chart or "")):
            step = (
                "Take it out, put it into a Secret, and name that in helmSecretName of the GitRepo,"
                " with helmRepoURLRegex."
            )
            refuse_login(address, f"{file_name}: {key}", step)
        request = remote_chart(helm)
        if request is not None and not request.chart:
            summary = "helm.repo without helm.chart names no chart"
            raise InvalidFile(
                summary, file=file_name, next_step="Write the chart's name in `helm.chart`."
            )
        if request is None or not request.repo:
            _check_address(helm, files, file_name)
        if request is not None:
            requests[request] = None
    return list(requests)


def _check_address(helm: HelmOptions, files: Mapping[str, File], file_name: str) -> None:
    """Raises InvalidFile for a chart that is neither in the bundle nor at a supported address."""
    chart = helm.chart or ""
    folder = local_folder(helm)
    if join(folder, "Chart.yaml") in files:
        return
    problem = describe_unsupported(chart)
    if problem:
        raise InvalidFile(
            f"helm.chart: {chart}: {problem[0]}", file=file_name, next_step=problem[1]
        )
    if remote_chart(helm) is not None:
        return
    if folder.startswith(".."):
        summary = f"helm.chart: {chart} leaves the bundle's directory"
        raise InvalidFile(
            summary,
            file=file_name,
            next_step="Put the fleet.yaml above the chart, or the chart below the fleet.yaml.",
        )
    raise InvalidFile(
        f"helm.chart: {chart} holds no Chart.yaml",
        file=file_name,
        next_step="Correct the path, or add `helm.repo`.",
    )
