"""`fleetctl render`: the objects that clusters would get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import Output
from fleetctl.cli.preview.fleet_files import chosen
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
from fleetctl.cli.preview.renderer import Rendered, Renderer
from fleetctl.cli.preview.request import everywhere, wish_of
from fleetctl.cli.preview.scan import mirrors_of, prepared, told
from fleetctl.core.charts.capabilities import parse_capabilities
from fleetctl.core.model.errors import UsageError
from fleetctl.core.scan.problems import Problem
from fleetctl.core.scan.scan import Built
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
        bool, typer.Option("--hooks", help="Also objects that helm runs as hooks.")
    ] = False,
    include_crds: Annotated[
        bool, typer.Option("--include-crds", help="Also what a chart's crds folder holds.")
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write CLUSTER/BUNDLE.yaml into this folder instead."),
    ] = None,
    output: Output = Format.YAML,
) -> int:
    """The objects that clusters would get, made by the code that their agents run."""
    if output not in {Format.YAML, Format.JSON, Format.NAME}:
        raise UsageError(
            f"-o {output.value} shows no objects",
            subject="render",
            next_step="Write -o yaml, json or name.",
        )
    wish = everywhere(wish_of(place, name, workspace, path or [], targets, gitrepo))
    made, problems, warnings = prepared(place, wish, bundle or [], mirrors_of(mirror or []))
    fleet, wanted = chosen(clusters, cluster or [], selector, label or [], wish)
    pairs = [
        (b, match)
        for match_of in wanted
        for b in made
        for match in select(b.spec, [match_of], fleet.groups)
    ]
    if not pairs and made:
        out.say("No cluster gets a bundle; `fleetctl targets` says why.")
    capabilities = parse_capabilities(kube_version, api_versions or [])
    found = Renderer(hooks=hooks, crds=include_crds, capabilities=capabilities).all(pairs)
    warnings += _unread(pairs)
    if output_dir is not None:
        _written(found, output_dir)
    else:
        _printed(found, output)
    return max(told(problems, warnings), _failures(found))


def _unread(pairs: Sequence[tuple[Built, Match]]) -> list[Problem]:
    """What only the cluster knows."""
    names = sorted(
        {b.spec.name for b, match in pairs if match.options.helm and match.options.helm.values_from}
    )
    said = "helm.valuesFrom is read on the cluster, and is left out here"
    return [
        Problem(path="", code="values-from", summary=f"bundle {name}: {said}") for name in names
    ]


def _failures(found: Sequence[Rendered]) -> int:
    for one in found:
        if one.error:
            out.error(
                f"bundle {one.bundle.name} on cluster {one.cluster.name}: {one.error.summary}",
                one.error.next_step,
            )
    return max((one.error.status for one in found if one.error), default=0)


def _printed(found: Sequence[Rendered], form: Format) -> None:
    good = [one for one in found if not one.error]
    if form is Format.JSON:
        out.document([_about(one) | {"objects": one.objects} for one in good], form)
        return
    for one in good:
        if form is Format.NAME:
            for item in one.objects:
                name = (item.get("metadata") or {}).get("name", "")
                kind = item["kind"].lower()
                out.line(f"{one.cluster.name}/{one.bundle.name}/{kind}/{name}")
        else:
            out.raw(_text(one))


def _about(one: Rendered) -> dict[str, Any]:
    assert one.plan is not None
    return {
        "cluster": one.cluster.name,
        "bundle": one.bundle.name,
        "namespace": one.plan.namespace,
        "release": one.plan.release,
    }


def _text(one: Rendered) -> str:
    about = _about(one)
    head = (
        f"# bundle {about['bundle']} on cluster {about['cluster']}: release"
        f" {about['namespace']}/{about['release']}\n"
    )
    return head + "".join("---\n" + text.decode().strip("\r\n") + "\n" for text in one.texts)


def _written(found: Sequence[Rendered], folder: Path) -> None:
    for one in found:
        if not one.error:
            path = folder / one.cluster.name / f"{one.bundle.name}.yaml"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_text(one), "utf-8")
            except OSError as why:
                raise UsageError(
                    f"cannot be written: {why.strerror}",
                    subject=str(path),
                    next_step="Name another --output-dir.",
                ) from why
            out.line(str(path))
