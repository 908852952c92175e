"""`fleetctl diff`: what a change in Git would change on clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import Output
from fleetctl.cli.preview.fleet_files import select_fleet
from fleetctl.cli.preview.object_changes import Key, ObjectChange, changes_of, key_of
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
    RepoName,
    Select,
    Targets,
)
from fleetctl.cli.preview.renderer import Renderer, RenderResult
from fleetctl.cli.preview.request import everywhere, preview_request
from fleetctl.cli.preview.scan import mirrors_of, prepare_bundles
from fleetctl.core.charts.capabilities import parse_capabilities
from fleetctl.core.model.errors import UsageError
from fleetctl.core.scan.problems import ScanProblem
from fleetctl.core.targeting.target import select
from fleetctl.core.text.listing import list_names

DIFFERS = 1


def diff(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The old version: a folder, or CLONE@REVISION.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="The new version: a folder, or CLONE@REVISION.")
    ],
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
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Also show the values of Secrets.")
    ] = False,
    output: Output = Format.TABLE,
) -> int:
    """Show what would change on clusters between two folders or commits. The exit status is 1 if
    something would change.
    """
    if output not in {Format.TABLE, Format.WIDE, Format.JSON, Format.YAML}:
        raise UsageError(
            f"-o {output.value} shows no differences",
            subject="diff",
            next_step="Write -o table, json or yaml.",
        )
    if not name and gitrepo is None:
        name = str(preview_request(new, "", workspace, [], None, None).repo.name)
    capabilities = parse_capabilities(kube_version, api_versions or [])
    sides: list[list[RenderResult]] = []
    problems: list[ScanProblem] = []
    # directories that cannot be read on one side: their differences are not known
    unknown_paths: set[str] = set()
    for place in (old, new):
        request = everywhere(
            preview_request(
                place, name if gitrepo is None else "", workspace, path or [], targets, gitrepo
            )
        )
        built_bundles, place_problems, _ = prepare_bundles(
            place, request, [], mirrors_of(mirror or [])
        )
        for problem in place_problems:
            out.error(f"{place}: {problem.summary}", problem.next_step)
        problems += place_problems
        unknown_paths |= {problem.path for problem in place_problems}
        fleet, clusters_ = select_fleet(clusters, cluster or [], selector, label or [], request)
        selected_bundles = [b for b in built_bundles if not bundle or b.spec.name in bundle]
        pairs = [
            (b, match)
            for target in clusters_
            for b in selected_bundles
            for match in select(b.spec, [target], fleet.groups)
        ]
        sides.append(Renderer(hooks=True, crds=True, capabilities=capabilities).all(pairs))
    sides = [
        [target for target in side if not _is_below(target.bundle.path, unknown_paths)]
        for side in sides
    ]
    failures = _render_failures(sides)
    groups = _group_changes(sides[0], sides[1], failures, show_secrets=show_secrets)
    if output in {Format.JSON, Format.YAML}:
        out.document([_as_document(changes, names) for changes, names in groups], output)
    elif groups or not problems:
        _print_changes(groups)
    return max(
        UsageError.exit_status if problems else 0, *failures.values(), 0, DIFFERS if groups else 0
    )


def _is_below(path: str, folders: set[str]) -> bool:
    return any(path == folder or not folder or path.startswith(f"{folder}/") for folder in folders)


def _render_failures(sides: Sequence[Sequence[RenderResult]]) -> dict[tuple[str, str], int]:
    """Print what could not be rendered. Returns the exit status for each pair of cluster and
    bundle.
    """
    failures: dict[tuple[str, str], int] = {}
    for side, results in zip(("before", "after"), sides, strict=True):
        for result in results:
            if result.error:
                failures[result.cluster.name, result.bundle.name] = result.error.status
                out.error(
                    f"bundle {result.bundle.name} on cluster {result.cluster.name}, {side}:"
                    f" {result.error.summary}",
                    result.error.next_step,
                )
    return failures


def _group_changes(
    old: Sequence[RenderResult],
    new: Sequence[RenderResult],
    failures: dict[tuple[str, str], int],
    *,
    show_secrets: bool,
) -> list[tuple[list[ObjectChange], list[str]]]:
    """Groups of clusters with the same changes."""
    before, after = _objects(old), _objects(new)
    groups: dict[tuple[ObjectChange, ...], list[str]] = {}
    for cluster in dict.fromkeys([*before, *after]):
        changes = changes_of(
            before.get(cluster, {}), after.get(cluster, {}), show_secrets=show_secrets
        )
        visible = tuple(c for c in changes if (cluster, c.key.bundle) not in failures)
        if visible:
            groups.setdefault(visible, []).append(cluster)
    return [(list(changes), names) for changes, names in groups.items()]


def _objects(side: Sequence[RenderResult]) -> dict[str, dict[Key, dict[str, Any]]]:
    by_cluster: dict[str, dict[Key, dict[str, Any]]] = {}
    for result in side:
        objects = by_cluster.setdefault(result.cluster.name, {})
        for item in result.objects:
            objects[key_of(result, item)] = item
    return by_cluster


def _print_changes(groups: Sequence[tuple[list[ObjectChange], list[str]]]) -> None:
    if not groups:
        out.say("No differences.")
    for changes, names in groups:
        names_text = list_names(names, 5)
        counts = ", ".join(
            f"{sum(c.what == kind for c in changes)} {kind}"
            for kind in ("added", "changed", "removed")
        )
        out.line(f"{format_count(len(names), 'cluster')} ({names_text}): {counts}")
        for change in changes:
            out.diff(change.text)


def _as_document(changes: Sequence[ObjectChange], names: list[str]) -> dict[str, Any]:
    return {
        "clusters": names,
        "changes": [{**c.key._asdict(), "what": c.what, "diff": c.text} for c in changes],
    }
