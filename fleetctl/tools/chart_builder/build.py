"""Builds the chart of a bundle, and renders its objects for previews.

A helm bundle keeps its chart. A raw or kustomize bundle becomes a chart whose one template returns
the bytes of a file (`.Files.Get`), so that the template engine does not change them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fleetctl.core.charts.capabilities import HELM_DEFAULT, Capabilities
from fleetctl.core.formats.yaml import json_for_yaml, load
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import KubeVersionMismatch, ToolMissing
from fleetctl.core.rendering.render import RenderPlan
from fleetctl.tools import post_renderer
from fleetctl.tools.chart_builder.examine import examine, refuse_crds
from fleetctl.tools.chart_builder.files import empty_folder, write_files
from fleetctl.tools.chart_builder.plugin import (
    DEFINITIONS,
    Extra,
    PreparedChart,
    may_hold,
    plan_job,
    with_plugin,
)
from fleetctl.tools.helm import HelmCli, Release, TemplateFlags
from fleetctl.tools.kustomize import Kustomize, require

_CHART = "apiVersion: v2\nname: {name}\nversion: 0.0.0\ntype: application\n"
_TEMPLATE = b'{{ .Files.Get "manifests.yaml" }}\n'


Change = Callable[[bytes, post_renderer.Changes], Awaitable[bytes]]


@dataclass(frozen=True)
class ChartContent:
    """The content of a raw or kustomize bundle. `text`: the objects as one stream; `engine`: the
    files that helm's template engine reads.
    """

    text: bytes
    engine: Mapping[str, File] = field(default_factory=dict)


async def build_content(
    plan: RenderPlan,
    workdir: Path,
    *,
    kustomize: Kustomize | None,
    deadline: float,
    scopes: Mapping[str, bool] | None = None,
    change: Change | None = None,
) -> ChartContent:
    """Build the content of a raw or kustomize bundle. Empties `workdir` first.

    scopes: as in `post_renderer.Changes`; change: runs `post_renderer.change_objects` in another
    process. Raises UsageError, RenderFailed, ToolFailed, ToolMissing.
    """
    await asyncio.to_thread(empty_folder, workdir)
    plan = examine(plan)
    text = plan.text
    if text is None:
        await asyncio.to_thread(write_files, plan, workdir / "source", "")
        text = await require(kustomize).build(
            workdir / "source" / plan.kustomize_dir, deadline=deadline
        )
    changes = post_renderer.Changes(plan.forced_namespace, plan.keep_crds, plan.confined, scopes)
    if changes.leave(text):
        return ChartContent(text, plan.engine)
    return ChartContent(
        await change(text, changes) if change else post_renderer.change_objects(text, changes),
        plan.engine,
    )


def generate_chart(
    plan: RenderPlan, workdir: Path, bundle_content: ChartContent, extra: Extra | None = None
) -> PreparedChart:
    """Write a chart below `workdir` that renders to the content."""
    chart = _write_chart(workdir / "chart", bundle_content.text, plan.chart_name)
    for path, file in bundle_content.engine.items():
        (chart / path).parent.mkdir(parents=True, exist_ok=True)
        (chart / path).write_bytes(file.data)
    if not bundle_content.engine:
        return PreparedChart(chart, b"{}")
    return with_plugin(
        plan,
        workdir,
        PreparedChart(chart, plan.values),
        bundle_content.engine.values(),
        extra,
        plan_job(plan, workdir, extra),
    )


def build_chart(
    plan: RenderPlan, workdir: Path, kustomize: Kustomize | None, extra: Extra | None = None
) -> PreparedChart:
    """Write a helm bundle's own chart below `workdir`, which is emptied first. Raises UsageError,
    ToolMissing.
    """
    empty_folder(workdir)
    return _helm_chart(plan, workdir, kustomize, extra)


async def prepare(
    plan: RenderPlan,
    workdir: Path,
    *,
    kustomize: Kustomize | None,
    deadline: float,
    change: Change | None = None,
) -> PreparedChart:
    """Write the whole bundle as one chart below `workdir`, which is emptied first. `change` as for
    `build_content`. Raises UsageError, RenderFailed, ToolFailed, ToolMissing.
    """
    if plan.is_helm:
        return await asyncio.to_thread(build_chart, plan, workdir, kustomize)
    return generate_chart(
        plan,
        workdir,
        await build_content(plan, workdir, kustomize=kustomize, deadline=deadline, change=change),
    )


async def render_objects(
    plan: RenderPlan,
    workdir: Path,
    *,
    helm: HelmCli | None,
    kustomize: Kustomize | None,
    deadline: float,
    crds: bool = False,
    capabilities: Capabilities = HELM_DEFAULT,
) -> bytes:
    """Render the objects and hooks as YAML, from the same chart that would be installed.

    crds: include the definitions of a chart's `crds` folder. Raises ToolMissing if the bundle needs
    helm and there is none.
    """
    if plan.is_helm:
        prepared_chart = build_chart(plan, workdir, kustomize)
    else:
        bundle_content = await build_content(plan, workdir, kustomize=kustomize, deadline=deadline)
        if not bundle_content.engine:
            return bundle_content.text
        prepared_chart = generate_chart(plan, workdir, bundle_content)
    if helm is None:
        raise ToolMissing(
            "a chart needs helm to be rendered",
            subject="helm",
            next_step="Install helm 4 and put it on PATH.",
        )
    flags = TemplateFlags(
        plan.skip_schema, plan.disable_dns, include_crds=crds, capabilities=capabilities
    )
    release = Release(plan.release, plan.namespace)
    try:
        return await helm.template(
            release,
            prepared_chart.chart,
            prepared_chart.values,
            prepared_chart,
            flags,
            deadline=deadline,
        )
    except KubeVersionMismatch as error:
        raise _preview_mismatch(plan, error, capabilities) from error


def _preview_mismatch(
    plan: RenderPlan, error: KubeVersionMismatch, capabilities: Capabilities
) -> KubeVersionMismatch:
    """The error of a preview, which knows no cluster. It names the chart, and the flag that sets
    the version.
    """
    description = plan.files.get(f"{plan.chart}/Chart.yaml" if plan.chart else "Chart.yaml")
    meta = load(description.data, file="Chart.yaml") if description else None
    name = (
        f"chart {meta.get('name')} {meta.get('version')}" if isinstance(meta, dict) else "the chart"
    )
    origin = (
        "the version given for the cluster"
        if capabilities.kube_version
        else "helm's own default, as no version was given"
    )
    step = (
        "Give the version of the cluster with --kube-version, or use a version of the chart for it."
    )
    return KubeVersionMismatch(
        f"{name} requires Kubernetes {error.wanted}, and was rendered for {error.version}"
        f" ({origin})",
        wanted=error.wanted,
        version=error.version,
        subject=name,
        next_step=step,
    )


def _write_chart(chart: Path, text: bytes, name: str) -> Path:
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(_CHART.format(name=name))
    (chart / "manifests.yaml").write_bytes(text)
    (chart / "templates" / "fleetctl-manifests.yaml").write_bytes(_TEMPLATE)
    return chart


def _helm_chart(
    plan: RenderPlan, workdir: Path, kustomize: Kustomize | None, extra: Extra | None
) -> PreparedChart:
    folder = workdir / "chart"
    if plan.confined:
        refuse_crds(plan)
    write_files(plan, folder, plan.chart)
    prefix = f"{plan.chart}/" if plan.chart else ""
    job = plan_job(plan, workdir, extra)
    if plan.is_kustomize:
        write_files(plan, workdir / "source", "")
        job |= {
            "kustomize": require(kustomize)._argv,
            "source": str(workdir / "source"),
            "dir": plan.kustomize_dir,
        }
    plugins = [
        file
        for path, file in plan.files.items()
        if path.startswith(prefix) and ("templates/" in path or path.endswith(".tgz"))
    ]
    if extra and may_hold(plugins, b"CustomResourceDefinition"):
        job["definitions"] = {"out": str(workdir / DEFINITIONS), "settled": sorted(extra.settled)}
    return with_plugin(plan, workdir, PreparedChart(folder, plan.values), plugins, extra, job)


async def render_crds(plan: RenderPlan, folder: Path, helm: HelmCli, *, deadline: float) -> bytes:
    """Render the definitions of the `crds` folders of the chart and of its enabled dependencies.

    helm renders the chart without its templates. Raises RenderFailed, ToolFailed.
    """
    bare = {
        path: file
        for path, file in plan.files.items()
        if "templates/" not in path and not path.endswith("values.schema.json")
    }
    bare |= _for_any_kubernetes(plan)
    write_files(msgspec.structs.replace(plan, files=bare), folder, plan.chart)
    flags = TemplateFlags(skip_schema=True, disable_dns=True)
    prepared_chart = PreparedChart(folder, plan.values)
    return await helm.template(
        Release(plan.release, plan.namespace),
        folder,
        plan.values,
        prepared_chart,
        flags,
        deadline=deadline,
    )


def _for_any_kubernetes(plan: RenderPlan) -> dict[str, File]:
    """The chart's Chart.yaml without `kubeVersion`, which helm would compare with its own default
    version.
    """
    path = f"{plan.chart}/Chart.yaml" if plan.chart else "Chart.yaml"
    meta = load(plan.files[path].data, file=path) if path in plan.files else None
    if not isinstance(meta, dict) or "kubeVersion" not in meta:
        return {}
    return {
        path: File(
            json_for_yaml({key: value for key, value in meta.items() if key != "kubeVersion"})
        )
    }
