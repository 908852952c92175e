"""Writes the post-renderer plugin of a chart, and the job that the post-renderer has to do.

helm calls back only where the output of a chart must change: a run costs as much as helm itself.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.model.bundle import File
from fleetctl.core.rendering.render import RenderPlan
from fleetctl.tools import post_renderer
from fleetctl.tools.field_substitution import Substitute

PLUGIN = "fleetctl-postrender"
# The post-renderer writes two files: the definitions that must exist before the release, and what
# Git states for fields that keep their live values.
DEFINITIONS, BEFORE = "definitions.json", "before.json"


@dataclass(frozen=True)
class PreparedChart:
    """`post_renderer`: name of the plugin in `plugins`, or ""."""

    chart: Path
    values: bytes
    post_renderer: str = ""
    plugins: Path | None = None


@dataclass(frozen=True)
class Extra:
    """Input of the post-renderer beside the plan. `substitutes`: live values of fields that others
    own; `settled`: digests of definitions that need not be applied first; `scopes`: as in
    `post_renderer.Changes`.
    """

    scopes: Mapping[str, bool] | None = None
    substitutes: Sequence[Substitute] = ()
    settled: Collection[str] = ()


def plan_job(plan: RenderPlan, workdir: Path, extra: Extra | None) -> dict[str, Any]:
    """The job of the post-renderer beside the plan; empty if there is none."""
    if not extra or not extra.substitutes:
        return {}
    return {
        "respect": msgspec.to_builtins(list(extra.substitutes)),
        "before": str(workdir / BEFORE),
        "place": plan.namespace,
    }


def settle(workdir: Path, digests: Collection[str]) -> None:
    """Record for the post-renderer below `workdir` that these definitions have been applied."""
    path = workdir / "plugins" / PLUGIN / "job.json"
    job = msgspec.json.decode(path.read_bytes())
    job["definitions"]["settled"] = sorted({*job["definitions"]["settled"], *digests})
    path.write_bytes(msgspec.json.encode(job))


def unsettle(workdir: Path) -> bool:
    """Forget the applied definitions of the post-renderer below `workdir`. Returns whether there
    were some.
    """
    path = workdir / "plugins" / PLUGIN / "job.json"
    job = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    if not job.get("definitions", {}).get("settled"):
        return False
    job["definitions"]["settled"] = []
    path.write_bytes(msgspec.json.encode(job))
    return True


def with_plugin(
    plan: RenderPlan,
    workdir: Path,
    prepared_chart: PreparedChart,
    texts: Iterable[File],
    extra: Extra | None,
    job: dict[str, Any] | None = None,
) -> PreparedChart:
    """Add a post-renderer to `prepared_chart` if the output may have to change or to be refused."""
    keep = plan.keep_crds and may_hold(texts, b"CustomResourceDefinition")
    if not (job or plan.forced_namespace or keep):
        return prepared_chart
    rule = {
        "confined": plan.confined,
        "scopes": extra.scopes if extra and plan.forced_namespace else None,
    }
    work = {"namespace": plan.forced_namespace, "keep_crds": keep, **rule, **(job or {})}
    return replace(prepared_chart, post_renderer=PLUGIN, plugins=_plugin(workdir, work))


def may_hold(files: Iterable[File], word: bytes) -> bool:
    """Whether templates may write `word`: a file contains it, or is an archive, which is not
    searched.
    """
    return any(word in file.data or file.data.startswith(b"\x1f\x8b") for file in files)


def _plugin(workdir: Path, job: dict[str, Any]) -> Path:
    """Write a post-renderer plugin of helm 4 that runs `post_renderer.main` with the job beside
    it.
    """
    folder = workdir / "plugins" / PLUGIN
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    script = Path(post_renderer.__file__)
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
