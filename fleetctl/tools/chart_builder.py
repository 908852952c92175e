"""From a render plan to something helm can install.

Rule: a chart stays the chart; raw and kustomize bundles become a chart whose one template hands the
bytes through (`.Files.Get`), untouched by the template engine. Only where a chart's output must
change does helm call back, through a plugin in a folder of our own.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.charts.capabilities import HELM_DEFAULT, Capabilities
from fleetctl.core.formats import tar
from fleetctl.core.formats.yaml import json_for_yaml, load
from fleetctl.core.model.bundle import File, check_path
from fleetctl.core.model.errors import KubeVersionMismatch, ToolMissing, UsageError
from fleetctl.core.rendering.render import RenderPlan, Style, manifests, templates
from fleetctl.tools import post_renderer as postrender
from fleetctl.tools.field_substitution import Substitute
from fleetctl.tools.helm import HelmCli, Release, TemplateFlags
from fleetctl.tools.kustomize import Kustomize, require

PLUGIN = "fleetctl-postrender"
# Where the post-renderer leaves the definitions that must be there before the release, and what Git
# states in the place of live values.
DEFINITIONS, BEFORE = "definitions.json", "before.json"
_PACKED_DEPTH = 4  # packed charts inside packed charts
_CRDS = re.compile(r"(^|/)crds/")
_CHART = "apiVersion: v2\nname: {name}\nversion: 0.0.0\ntype: application\n"
_TEMPLATE = b'{{ .Files.Get "manifests.yaml" }}\n'


Change = Callable[[bytes, postrender.Changes], Awaitable[bytes]]


@dataclass(frozen=True)
class PreparedChart:
    """`post_renderer`: name of the plugin in `plugins`, or ""."""

    chart: Path
    values: bytes
    post_renderer: str = ""
    plugins: Path | None = None


@dataclass(frozen=True)
class ChartContent:
    """What a bundle that is no chart consists of: objects as one stream, and files that helm's
    template engine reads.
    """

    text: bytes
    engine: Mapping[str, File] = field(default_factory=dict)


async def content(
    plan: RenderPlan,
    workdir: Path,
    *,
    kustomize: Kustomize | None,
    deadline: float,
    scopes: Mapping[str, bool] | None = None,
    change: Change | None = None,
) -> ChartContent:
    """Of a raw or kustomize bundle; `workdir` is made anew; `scopes` as in `postrender.Changes`;
    `change` does `postrender.changed` elsewhere than in this process. Raises UsageError,
    RenderFailed, ToolFailed, ToolMissing.
    """
    await asyncio.to_thread(_empty, workdir)
    plan = examine(plan)
    text = plan.text
    if text is None:
        await asyncio.to_thread(_write, plan, workdir / "source", "")
        text = await require(kustomize).build(
            workdir / "source" / plan.kustomize_dir, deadline=deadline
        )
    changes = postrender.Changes(plan.forced_namespace, plan.keep_crds, plan.confined, scopes)
    if changes.leave(text):
        return ChartContent(text, plan.engine)
    return ChartContent(
        await change(text, changes) if change else postrender.change_objects(text, changes),
        plan.engine,
    )


def examine(plan: RenderPlan) -> RenderPlan:
    """The plan with what only its files tell: the definitions of a chart, the objects of a raw
    bundle. It reads foreign archives and YAML, so the agent has it done in the sandbox. Raises
    InvalidFile.
    """
    if plan.style is Style.RAW and plan.text is None:
        return msgspec.structs.replace(
            plan, text=manifests(plan.files), engine=templates(plan.files), files={}
        )
    if plan.is_helm and plan.crds is None:
        return msgspec.structs.replace(plan, crds=tuple(crds_of(_of_chart(plan))))
    return plan


@dataclass(frozen=True)
class Extra:
    """More for the post-renderer: live values of fields that others own, digests of definitions
    that need not be applied first, and `scopes` as in `postrender.Changes`.
    """

    scopes: Mapping[str, bool] | None = None
    substitutes: Sequence[Substitute] = ()
    settled: Collection[str] = ()


def generate_chart(
    plan: RenderPlan, workdir: Path, bundle_content: ChartContent, extra: Extra | None = None
) -> PreparedChart:
    """A chart below `workdir` that hands the content through."""
    chart = _write_chart(workdir / "chart", bundle_content.text, plan.chart_name)
    for path, file in bundle_content.engine.items():
        (chart / path).parent.mkdir(parents=True, exist_ok=True)
        (chart / path).write_bytes(file.data)
    if not bundle_content.engine:
        return PreparedChart(chart, b"{}")
    return _with_plugin(
        plan,
        workdir,
        PreparedChart(chart, plan.values),
        bundle_content.engine.values(),
        extra,
        _job(plan, workdir, extra),
    )


def chart(
    plan: RenderPlan, workdir: Path, kustomize: Kustomize | None, extra: Extra | None = None
) -> PreparedChart:
    """A helm bundle's own chart below `workdir`, made anew. Raises UsageError, ToolMissing."""
    _empty(workdir)
    return _chart(plan, workdir, kustomize, extra)


async def prepare(
    plan: RenderPlan,
    workdir: Path,
    *,
    kustomize: Kustomize | None,
    deadline: float,
    change: Change | None = None,
) -> PreparedChart:
    """Write the whole bundle as one chart below `workdir` (made anew); `change` as for `content`.
    Raises UsageError, RenderFailed, ToolFailed, ToolMissing.
    """
    if plan.is_helm:
        return await asyncio.to_thread(chart, plan, workdir, kustomize)
    return generate_chart(
        plan,
        workdir,
        await content(plan, workdir, kustomize=kustomize, deadline=deadline, change=change),
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
    """The objects as YAML, hooks included, for previews: from the same chart that would be
    installed. `crds`: with those of a chart's `crds` folder. Raises ToolMissing when there is no
    helm and it needs one.
    """
    if plan.is_helm:
        prepared_chart = chart(plan, workdir, kustomize)
    else:
        bundle_content = await content(plan, workdir, kustomize=kustomize, deadline=deadline)
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
    """The error of a preview, which knows no cluster: with the chart, and the flag for the
    version.
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


def _empty(workdir: Path) -> None:
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(mode=0o700, parents=True)


def _write_chart(chart: Path, text: bytes, name: str) -> Path:
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(_CHART.format(name=name))
    (chart / "manifests.yaml").write_bytes(text)
    (chart / "templates" / "fleetctl-manifests.yaml").write_bytes(_TEMPLATE)
    return chart


def _chart(
    plan: RenderPlan, workdir: Path, kustomize: Kustomize | None, extra: Extra | None
) -> PreparedChart:
    folder = workdir / "chart"
    if plan.confined:
        _refuse_crds(plan)
    _write(plan, folder, plan.chart)
    prefix = f"{plan.chart}/" if plan.chart else ""
    job = _job(plan, workdir, extra)
    if plan.is_kustomize:
        _write(plan, workdir / "source", "")
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
    return _with_plugin(plan, workdir, PreparedChart(folder, plan.values), plugins, extra, job)


def _job(plan: RenderPlan, workdir: Path, extra: Extra | None) -> dict[str, Any]:
    """What the post-renderer has to do beside what the plan says; empty when there is nothing."""
    if not extra or not extra.substitutes:
        return {}
    return {
        "respect": msgspec.to_builtins(list(extra.substitutes)),
        "before": str(workdir / BEFORE),
        "place": plan.namespace,
    }


def settle(workdir: Path, digests: Collection[str]) -> None:
    """Tell the post-renderer below `workdir` that these definitions have been applied."""
    path = workdir / "plugins" / PLUGIN / "job.json"
    job = msgspec.json.decode(path.read_bytes())
    job["definitions"]["settled"] = sorted({*job["definitions"]["settled"], *digests})
    path.write_bytes(msgspec.json.encode(job))


def unsettle(workdir: Path) -> bool:
    """Whether the post-renderer below `workdir` believed in definitions that may be gone; from now
    on it believes in none.
    """
    path = workdir / "plugins" / PLUGIN / "job.json"
    job = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    if not job.get("definitions", {}).get("settled"):
        return False
    job["definitions"]["settled"] = []
    path.write_bytes(msgspec.json.encode(job))
    return True


def has_crds(plan: RenderPlan) -> bool:
    """Whether the chart, or one that it depends on, may have a `crds` folder."""
    return bool(examine(plan).crds)


async def crds(plan: RenderPlan, folder: Path, helm: HelmCli, *, deadline: float) -> bytes:
    """The definitions of the `crds` folders of the chart and of its enabled dependencies, as helm
    would install them: those that it finds in the chart without its templates, which nobody renders
    for this. Raises RenderFailed, ToolFailed.
    """
    bare = {
        path: file
        for path, file in plan.files.items()
        if "templates/" not in path and not path.endswith("values.schema.json")
    }
    bare |= _for_any_kubernetes(plan)
    _write(msgspec.structs.replace(plan, files=bare), folder, plan.chart)
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
    """The chart's description without kubeVersion: without a cluster helm compares its own
    default.
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


def _with_plugin(
    plan: RenderPlan,
    workdir: Path,
    prepared_chart: PreparedChart,
    texts: Iterable[File],
    extra: Extra | None,
    job: dict[str, Any] | None = None,
) -> PreparedChart:
    """`prepared_chart` with a post-renderer where its output may have to change or to be refused: a
    run of it costs as much as helm itself.
    """
    keep = plan.keep_crds and may_hold(texts, b"CustomResourceDefinition")
    if not (job or plan.forced_namespace or keep):
        return prepared_chart
    rule = {
        "confined": plan.confined,
        "scopes": extra.scopes if extra and plan.forced_namespace else None,
    }
    work = {"namespace": plan.forced_namespace, "keep_crds": keep, **rule, **(job or {})}
    return replace(prepared_chart, post_renderer=PLUGIN, plugins=_plugin(workdir, work))


def _refuse_crds(plan: RenderPlan) -> None:
    """helm installs what lies in `crds` before it renders anything. Raises UsageError naming the
    file.
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
            next_step="Let a bundle without a target namespace bring the definitions.",
        )


def _of_chart(plan: RenderPlan) -> dict[str, bytes]:
    """The chart's files by their path in it."""
    start = f"{plan.chart}/" if plan.chart else ""
    return {
        path[len(start) :]: file.data for path, file in plan.files.items() if path.startswith(start)
    }


def crds_of(files: Mapping[str, bytes]) -> list[str]:
    """Lists the files of a chart's `crds` folders, with those of its subcharts, packed or not.

    A packed subchart that cannot be read may hold some, and is listed with the reason.
    """
    return sorted(_crds_in(files, tar.TarBudget(), _PACKED_DEPTH))


def _crds_in(files: Mapping[str, bytes], budget: tar.TarBudget, depth: int) -> list[str]:
    paths = [p for p in files if _CRDS.search(p) and p.endswith((".yaml", ".yml", ".json"))]
    for path, data in files.items():
        if path.endswith((".tgz", ".tar.gz")) and "charts/" in path:
            paths += [path + place for place in _crds_of_packed(data, budget, depth)]
    return paths


def _crds_of_packed(data: bytes, budget: tar.TarBudget, depth: int) -> list[str]:
    """Where definitions are in a packed chart, or may be, each as the rest of a sentence."""
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
        whole = entry.name.removeprefix("./")
        reason = None if entry.is_folder else check_path(whole)  # helm reads a backslash as a slash
        if reason:
            raise tar.TarError(f"holds {entry.name!r}, which {reason}")
        path = whole.partition("/")[2]
        if not entry.is_folder and (_CRDS.search(path) or path.endswith("gz")):
            files[path] = bytes(entry.data) if path.endswith("gz") else b""
    return files


def may_hold(files: Iterable[File], word: bytes) -> bool:
    """Whether templates may write `word`: it stands in one, or in an archive that is not looked
    into.
    """
    return any(word in file.data or file.data.startswith(b"\x1f\x8b") for file in files)


def _plugin(workdir: Path, job: dict[str, Any]) -> Path:
    """A post-renderer plugin of helm 4 that runs our own script with the job that lies beside
    it.
    """
    folder = workdir / "plugins" / PLUGIN
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    script = Path(postrender.__file__)
    root = script.parents[2]
    command = {
        "command": sys.executable,
        "args": ["-P", "-c", _CALL, str(root), str(folder / "job.json")],
    }
    manifest = {
        "apiVersion": "v1",
        "type": "postrenderer/v1",
        "name": PLUGIN,
        "version": "0.1.0",
        "runtime": "subprocess",
        "runtimeConfig": {"platformCommand": [command]},
    }
    (folder / "plugin.yaml").write_bytes(msgspec.json.encode(manifest))
    return workdir / "plugins"


_CALL = (
    "import sys; sys.path.insert(0, sys.argv[1]); from fleetctl.tools.post_renderer import main;"
    " main(sys.argv[2])"
)


def _write(plan: RenderPlan, folder: Path, prefix: str) -> None:
    """The files below `prefix` of the bundle, written into a folder that nobody else writes."""
    start = f"{prefix}/" if prefix else ""
    for path, file in plan.files.items():
        if not path.startswith(start) or (not start and path.startswith(".charts/")):
            continue
        target = folder / path[len(start) :]
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(target, flags, 0o700 if file.executable else 0o600), "wb") as out:
            out.write(file.data)
