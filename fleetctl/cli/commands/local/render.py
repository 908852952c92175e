"""`fleetctl render`: the objects that clusters would get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import Output
from fleetctl.cli.preview.fleet_files import select_fleet
from fleetctl.cli.preview.options import (
    ApiVersions,
    Bundles,
    Clusters,
    GitRepoFile,
    InWorkspace,
    KubeVersion,
    Labels,
    Mirrors,
    Names,
    Paths,
    Place,
    RepoName,
    Select,
    Targets,
)
from fleetctl.cli.preview.renderer import Renderer, RenderResult
from fleetctl.cli.preview.request import everywhere, preview_request
from fleetctl.cli.preview.scan import mirrors_of, prepare_bundles, report_problems
from fleetctl.core.charts.capabilities import parse_capabilities
from fleetctl.core.model.errors import UsageError
from fleetctl.core.scan.problems import ScanProblem
from fleetctl.core.scan.scan import ScannedBundle
from fleetctl.core.targeting.target import Match, select


def render(
    place: Place,
    clusters: Clusters = None,
    cluster: Names = None,
    selector: Select = "",
    label: Labels = None,
    name: RepoName = "",
    workspace: InWorkspace = "",
    path: Paths = None,
    targets: Targets = None,
    gitrepo: GitRepoFile = None,
    bundle: Bundles = None,
    mirror: Mirrors = None,
    kube_version: KubeVersion = "",
    api_versions: ApiVersions = None,
    hooks: Annotated[
        bool, typer.Option("--hooks", help="Also print objects that helm runs as hooks.")
    ] = False,
    include_crds: Annotated[
        bool,
        typer.Option("--include-crds", help="Also print the objects of the chart's crds folder."),
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write files CLUSTER/BUNDLE.yaml into this folder instead of printing.",
        ),
    ] = None,
    output: Output = Format.YAML,
) -> int:
    """Print the objects that clusters would get. The command uses the code that agents run."""
    if output not in {Format.YAML, Format.JSON, Format.NAME}:
        raise UsageError(
            f"-o {output.value} shows no objects",
            subject="render",
            next_step="Write -o yaml, json or name.",
        )
    request = everywhere(preview_request(place, name, workspace, path or [], targets, gitrepo))
    built_bundles, problems, warnings = prepare_bundles(
        place, request, bundle or [], mirrors_of(mirror or [])
    )
    fleet, clusters_ = select_fleet(clusters, cluster or [], selector, label or [], request)
    pairs = [
        (b, match)
        for target in clusters_
        for b in built_bundles
        for match in select(b.spec, [target], fleet.groups)
    ]
    if not pairs and built_bundles:
        out.say("No cluster gets a bundle; `fleetctl targets` shows why.")
    capabilities = parse_capabilities(kube_version, api_versions or [])
    results = Renderer(hooks=hooks, crds=include_crds, capabilities=capabilities).all(pairs)
    warnings += _unread(pairs)
    if output_dir is not None:
        _write_files(results, output_dir)
    else:
        _print_objects(results, output)
    return max(report_problems(problems, warnings), _failures(results))


def _unread(pairs: Sequence[tuple[ScannedBundle, Match]]) -> list[ScanProblem]:
    """Warnings about values that only the cluster has."""
    names = sorted(
        {b.spec.name for b, match in pairs if match.options.helm and match.options.helm.values_from}
    )
    message = "helm.valuesFrom is read on the cluster, and is not included"
    return [
        ScanProblem(path="", code="values-from", summary=f"bundle {name}: {message}")
        for name in names
    ]


def _failures(results: Sequence[RenderResult]) -> int:
    for result in results:
        if result.error:
            place = f"bundle {result.bundle.name} on cluster {result.cluster.name}"
            out.error(f"{place}: {result.error.summary}", result.error.next_step)
    return max((result.error.status for result in results if result.error), default=0)


def _print_objects(results: Sequence[RenderResult], form: Format) -> None:
    good = [result for result in results if not result.error]
    if form is Format.JSON:
        out.document([_identity(result) | {"objects": result.objects} for result in good], form)
        return
    for result in good:
        if form is Format.NAME:
            for item in result.objects:
                name = (item.get("metadata") or {}).get("name", "")
                kind = item["kind"].lower()
                out.line(f"{result.cluster.name}/{result.bundle.name}/{kind}/{name}")
        else:
            out.raw(_manifest_text(result))


def _identity(result: RenderResult) -> dict[str, Any]:
    assert result.plan is not None
    return {
        "cluster": result.cluster.name,
        "bundle": result.bundle.name,
        "namespace": result.plan.namespace,
        "release": result.plan.release,
    }


def _manifest_text(result: RenderResult) -> str:
    about = _identity(result)
    head = (
        f"# bundle {about['bundle']} on cluster {about['cluster']}: release"
        f" {about['namespace']}/{about['release']}\n"
    )
    return head + "".join("---\n" + text.decode().strip("\r\n") + "\n" for text in result.texts)


def _write_files(results: Sequence[RenderResult], folder: Path) -> None:
    for result in results:
        if not result.error:
            path = folder / result.cluster.name / f"{result.bundle.name}.yaml"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_manifest_text(result), "utf-8")
            except OSError as error:
                raise UsageError(
                    f"cannot be written: {error.strerror}",
                    subject=str(path),
                    next_step="Name another --output-dir.",
                ) from error
            out.line(str(path))
