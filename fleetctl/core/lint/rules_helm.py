"""What a fleet.yaml says of a chart without effect: where it comes from, its values, templates, and
waiting for it.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterator
from typing import Any

from fleetctl.core.charts.reference import OCI, describe_unsupported
from fleetctl.core.documents.convert import Path
from fleetctl.core.filetree.tree import inside
from fleetctl.core.lint.context import Advice, Layer, as_list, as_str

_LABEL = "global.fleet.clusterLabels."


def _chart(layer: Layer) -> Iterator[Advice]:
    chart, repo = (as_str(layer.helm(key)) for key in ("chart", "repo"))
    is_oci = chart.startswith(OCI) or repo.startswith(OCI)
    is_remote = bool(repo) or "://" in chart
    if as_str(layer.own_helm("repo")) and not chart and not is_oci:
        summary = "`helm.repo` without `helm.chart` names no chart"
        yield "repo-without-chart", layer.at("helm", "repo"), summary, "Write the chart's name."
    if as_str(layer.own_helm("version")) and not repo and not is_oci:
        origin = (
            "which comes as it is from its address" if is_remote else "which lies in the bundle"
        )
        step = "Remove it, or name the chart's repository in `helm.repo`."
        yield (
            "version-without-repo",
            layer.at("helm", "version"),
            f"`helm.version` has no effect on a chart {origin}",
            step,
        )
    yield from _chart_address(layer, as_str(layer.own_helm("chart")), repo)


def _chart_address(layer: Layer, chart: str, repo: str) -> Iterator[Advice]:
    """What is wrong with a `helm.chart` that is not a name in a repository."""
    place = layer.at("helm", "chart")
    if chart.startswith(OCI):
        step = "Write the address in `helm.repo`, and no `helm.chart`. It stays the same chart."
        summary = "`helm.chart: oci://…` is deprecated in Fleet"
        yield "oci-in-chart", place, summary, step
    folder = inside(chart)
    is_there = (
        layer.files is not None
        and folder is not None
        and posixpath.join(folder, "Chart.yaml") in layer.files
    )
    problem = describe_unsupported(chart, repo)
    if not chart or repo or is_there:
        return
    if problem:
        yield "chart-address", place, f"`helm.chart`: {chart}: {problem[0]}", problem[1]
    elif "://" in chart:
        return
    elif folder is None:
        step = "Put the fleet.yaml above the chart, or the chart below the fleet.yaml."
        summary = f"`helm.chart`: {chart} leaves the bundle's directory"
        yield "chart-missing", place, summary, step
    elif layer.files is not None:
        step = "Correct the path, or name the chart's repository in `helm.repo`."
        yield "chart-missing", place, f"`helm.chart`: {chart} holds no Chart.yaml", step


def _values_files(layer: Layer) -> Iterator[Advice]:
    names = as_list(layer.own_helm("valuesFiles"))
    has_chart = as_str(layer.helm("chart")) or as_str(layer.helm("repo"))
    if names and not layer.is_custom and not has_chart:
        step = "For a chart in the bundle's own folder write `chart: .` beside it."
        summary = (
            "`helm.valuesFiles` is not read, because there is no `helm.chart` and no `helm.repo`"
        )
        yield "values-files-without-chart", layer.at("helm", "valuesFiles"), summary, step
        return
    for at, name in enumerate(names):
        path = inside(name) if isinstance(name, str) else None
        if path is not None and layer.files is not None and path not in layer.files:
            place = layer.at("helm", "valuesFiles", at)
            yield (
                "values-file-missing",
                place,
                f"`helm.valuesFiles`: there is no file {name}",
                "Correct the path.",
            )


def _templates(layer: Layer) -> Iterator[Advice]:
    off = layer.helm("disablePreProcess") is True
    if (
        off
        and layer.helm("templateValues")
        and (layer.own_helm("templateValues") or layer.own_helm("disablePreProcess"))
    ):
        key = "templateValues" if layer.own_helm("templateValues") else "disablePreProcess"
        summary = "`helm.templateValues` has no effect with `disablePreProcess: true`"
        yield "templates-switched-off", layer.at("helm", key), summary, "Remove one of the two."
    for key in ("values", "templateValues"):
        for path, text in _texts(layer.own_helm(key), layer.at("helm", key)):
            if not off and _is_open(text):
                step = (
                    "Close it with `}`, or set `helm.disablePreProcess` when the chart's own values"
                    " look like that."
                )
                yield "template-open", path, "a template begins with `${` and does not end", step
            if key == "values":
                yield from _label(path, text)


def _is_open(text: str) -> bool:
    at = text.rfind("${")
    return at >= 0 and "}" not in text[at:]


def _label(path: Path, text: str) -> Iterator[Advice]:
    if text.startswith(_LABEL) and text != _LABEL:
        return
    step = f"Write `{_LABEL}NAME` and nothing before it."
    if text in {_LABEL, _LABEL[:-1]}:
        yield "cluster-label", path, "the text names no label", step
    elif _LABEL in text:
        step = "Write it alone, or use a template: `${ .ClusterLabels.NAME }`."
        yield (
            "cluster-label",
            path,
            f"`{_LABEL}` becomes a label's value only at the beginning of a text",
            step,
        )
    elif text[:1] in "gG" and len(text) < 300 and not any(c.isspace() for c in text):
        head = ".".join([*text.split(".")[:3], ""])
        if (
            text.count(".") >= 2
            and difflib.SequenceMatcher(None, head.lower(), _LABEL.lower()).ratio() > 0.8
        ):
            yield (
                "cluster-label",
                path,
                f"`{head}` is not `{_LABEL}`, so the text stays as it is",
                step,
            )


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _texts(item, (*path, at))


def _waiting(layer: Layer) -> Iterator[Advice]:
    seconds = layer.helm("timeoutSeconds")
    if isinstance(seconds, int) and seconds > 0:
        return
    for key, description in (
        ("waitForJobs", "waits for nothing"),
        ("atomic", "undoes only what fails at once"),
    ):
        if layer.own_helm(key) is True:
            summary = f"`helm.{key}` {description} without `helm.timeoutSeconds`"
            yield (
                "wait-without-timeout",
                layer.at("helm", key),
                summary,
                "Write how long to wait, such as `timeoutSeconds: 300`.",
            )


RULES = (_chart, _values_files, _templates, _waiting)
