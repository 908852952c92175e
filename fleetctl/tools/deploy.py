"""From a render plan to something helm can install.

Rule: a chart stays the chart; raw and kustomize bundles become a chart whose one template hands the bytes through (`.Files.Get`), untouched
by the template engine. Only where a chart's output must change does helm call back, through a plugin in a folder of our own.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleetctl.core.errors import UsageError
from fleetctl.core.render import RenderPlan, Style, manifests
from fleetctl.tools import postrender
from fleetctl.tools.helm import HelmCli, Release
from fleetctl.tools.kustomize import Kustomize, needed

PLUGIN = "fleetctl-postrender"
# helm stores what a release was made of, twice, in one Secret of at most 1 MiB after gzip and base64.
_MOST_PACKED = 700_000
_CHART = b"apiVersion: v2\nname: fleetctl\nversion: 0.0.0\ntype: application\n"
_TEMPLATE = b'{{ .Files.Get "manifests.yaml" }}\n'


@dataclass(frozen=True)
class Prepared:
    """`post_renderer`: name of the plugin in `plugins`, or ""."""

    chart: Path
    values: bytes
    post_renderer: str = ""
    plugins: Path | None = None


async def prepare(plan: RenderPlan, workdir: Path, *, kustomize: Kustomize | None, deadline: float) -> Prepared:
    """Write the chart below `workdir` (made anew). Raises UsageError, ToolFailed, ToolMissing."""
    _empty(workdir)
    if plan.is_helm:
        return _chart(plan, workdir, kustomize)
    if plan.style is Style.RAW:
        text = manifests(plan.files)
    else:
        _write(plan, workdir / "source", "")
        text = await needed(kustomize).build(workdir / "source" / plan.kustomize_dir, deadline=deadline)
    if plan.forced_namespace:
        text = postrender.forced(text, plan.forced_namespace)
    _refuse_too_large(text, plan.release)
    return Prepared(_generated(workdir / "chart", text), b"{}")


async def rendered(plan: RenderPlan, workdir: Path, *, helm: HelmCli, kustomize: Kustomize | None, deadline: float) -> bytes:
    """The objects as YAML, for previews and directory targets: from the same chart that would be installed."""
    prepared = await prepare(plan, workdir, kustomize=kustomize, deadline=deadline)
    if not plan.is_helm:
        return (prepared.chart / "manifests.yaml").read_bytes()
    return await helm.template(Release(plan.release, plan.namespace), prepared.chart, prepared.values, prepared, deadline=deadline)


def _empty(workdir: Path) -> None:
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(mode=0o700, parents=True)


def _generated(chart: Path, text: bytes) -> Path:
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_bytes(_CHART)
    (chart / "manifests.yaml").write_bytes(text)
    (chart / "templates" / "all.yaml").write_bytes(_TEMPLATE)
    return chart


def _chart(plan: RenderPlan, workdir: Path, kustomize: Kustomize | None) -> Prepared:
    chart = workdir / "chart"
    _write(plan, chart, plan.chart)
    forced = plan.forced_namespace if _names_namespaces(plan) else ""
    if not plan.is_kustomize and not forced:
        return Prepared(chart, plan.values)
    job: dict[str, str | list[str]] = {"namespace": forced}
    if plan.is_kustomize:
        _write(plan, workdir / "source", "")
        job |= {"kustomize": needed(kustomize)._argv, "source": str(workdir / "source"), "dir": plan.kustomize_dir}
    return Prepared(chart, plan.values, PLUGIN, _plugin(workdir, job))


def _names_namespaces(plan: RenderPlan) -> bool:
    """Whether a template may write a namespace of its own; where none does, helm's is right and nothing need be changed."""
    prefix = f"{plan.chart}/" if plan.chart else ""
    return any(b"namespace" in file.data for path, file in plan.files.items() if path.startswith(prefix) and "templates/" in path)


def _plugin(workdir: Path, job: dict[str, str | list[str]]) -> Path:
    """A post-renderer plugin of helm 4 that runs our own script with the job that lies beside it."""
    folder = workdir / "plugins" / PLUGIN
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    script = Path(postrender.__file__)
    root = script.parents[2]
    command = {"command": sys.executable, "args": ["-P", "-c", _CALL, str(root), str(folder / "job.json")]}
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


_CALL = "import sys; sys.path.insert(0, sys.argv[1]); from fleetctl.tools.postrender import main; main(sys.argv[2])"


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


def _refuse_too_large(text: bytes, release: str) -> None:
    """Before anything is touched. Raises UsageError with the numbers."""
    if len(text) < _MOST_PACKED // 2:
        return
    import zlib

    packed = 2 * len(zlib.compress(text, 6)) * 4 // 3
    if packed > _MOST_PACKED:
        summary = f"{len(text)} bytes of objects do not fit into one release (about {packed} of {_MOST_PACKED} bytes when packed)"
        raise UsageError(summary, subject=f"release {release}", next_step="Split the bundle into several directories.")
