"""`fleetctl diff`: what a change in Git would change on clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import Output
from fleetctl.cli.preview.fleet_files import chosen
from fleetctl.cli.preview.object_changes import Change, Key, changes_of, key_of
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
from fleetctl.cli.preview.renderer import Rendered, Renderer
from fleetctl.cli.preview.request import everywhere, wish_of
from fleetctl.cli.preview.scan import mirrors_of, prepared
from fleetctl.core.charts.capabilities import parse_capabilities
from fleetctl.core.model.errors import UsageError
from fleetctl.core.scan.problems import Problem
from fleetctl.core.targeting.target import select

DIFFERS = 1


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Folder, or CLONE@REVISION.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, as it would become.")],
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
        bool, typer.Option("--show-secrets", help="Also the values of Secrets.")
    ] = False,
    output: Output = Format.TABLE,
) -> int:
    """What would change on clusters between two folders or commits. Exit status 1 when something
    would.
    """
    if output not in {Format.TABLE, Format.WIDE, Format.JSON, Format.YAML}:
        raise UsageError(
            f"-o {output.value} shows no differences",
            subject="diff",
            next_step="Write -o table, json or yaml.",
        )
    if not name and gitrepo is None:
        name = str(wish_of(new, "", workspace, [], None, None).repo.name)
    capabilities = parse_capabilities(kube_version, api_versions or [])
    sides: list[list[Rendered]] = []
    problems: list[Problem] = []
    # directories that cannot be read on one side: their differences are not known
    unknown: set[str] = set()
    for place in (old, new):
        wish = everywhere(
            wish_of(place, name if gitrepo is None else "", workspace, path or [], targets, gitrepo)
        )
        made, wrong, _ = prepared(place, wish, [], mirrors_of(mirror or []))
        for problem in wrong:
            out.error(f"{place}: {problem.summary}", problem.next_step)
        problems += wrong
        unknown |= {problem.path for problem in wrong}
        fleet, wanted = chosen(clusters, cluster or [], selector, label or [], wish)
        kept = [b for b in made if not bundle or b.spec.name in bundle]
        pairs = [
            (b, match)
            for one in wanted
            for b in kept
            for match in select(b.spec, [one], fleet.groups)
        ]
        sides.append(Renderer(hooks=True, crds=True, capabilities=capabilities).all(pairs))
    sides = [[one for one in side if not _is_below(one.bundle.path, unknown)] for side in sides]
    broken = _broken(sides)
    found = _grouped(sides[0], sides[1], broken, show_secrets=show_secrets)
    if output in {Format.JSON, Format.YAML}:
        out.document([_as_document(changes, names) for changes, names in found], output)
    elif found or not problems:
        _shown(found)
    return max(
        UsageError.exit_status if problems else 0, *broken.values(), 0, DIFFERS if found else 0
    )


def _is_below(path: str, folders: set[str]) -> bool:
    return any(path == folder or not folder or path.startswith(f"{folder}/") for folder in folders)


def _broken(sides: Sequence[Sequence[Rendered]]) -> dict[tuple[str, str], int]:
    """(cluster, bundle) that could not be rendered on one side, with the exit status; said on
    stderr.
    """
    found: dict[tuple[str, str], int] = {}
    for side, rendered in zip(("before", "after"), sides, strict=True):
        for one in rendered:
            if one.error:
                found[one.cluster.name, one.bundle.name] = one.error.status
                out.error(
                    f"bundle {one.bundle.name} on cluster {one.cluster.name}, {side}:"
                    f" {one.error.summary}",
                    one.error.next_step,
                )
    return found


def _grouped(
    old: Sequence[Rendered],
    new: Sequence[Rendered],
    broken: dict[tuple[str, str], int],
    *,
    show_secrets: bool,
) -> list[tuple[list[Change], list[str]]]:
    """Clusters for which the same changes, once."""
    before, after = _objects(old), _objects(new)
    found: dict[tuple[Change, ...], list[str]] = {}
    for cluster in dict.fromkeys([*before, *after]):
        changes = changes_of(
            before.get(cluster, {}), after.get(cluster, {}), show_secrets=show_secrets
        )
        kept = tuple(c for c in changes if (cluster, c.key.bundle) not in broken)
        if kept:
            found.setdefault(kept, []).append(cluster)
    return [(list(changes), names) for changes, names in found.items()]


def _objects(side: Sequence[Rendered]) -> dict[str, dict[Key, dict[str, Any]]]:
    found: dict[str, dict[Key, dict[str, Any]]] = {}
    for one in side:
        mine = found.setdefault(one.cluster.name, {})
        for item in one.objects:
            mine[key_of(one, item)] = item
    return found


def _shown(found: Sequence[tuple[list[Change], list[str]]]) -> None:
    if not found:
        out.say("No differences.")
    for changes, names in found:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        counts = ", ".join(
            f"{sum(c.what == what for c in changes)} {what}"
            for what in ("added", "changed", "removed")
        )
        out.line(f"{format_count(len(names), 'cluster')} ({shown}): {counts}")
        for change in changes:
            out.diff(change.text)


def _as_document(changes: Sequence[Change], names: list[str]) -> dict[str, Any]:
    return {
        "clusters": names,
        "changes": [{**c.key._asdict(), "what": c.what, "diff": c.text} for c in changes],
    }
