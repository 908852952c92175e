"""`fleetctl bundles`, `targets` and `render`: what a repository would become, without a manager."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Column, Format
from fleetctl.cli.local_engine import (
    Fleet,
    Rendered,
    Renderer,
    Wish,
    built,
    fleet_of,
    picked,
    scanned,
    wish_of,
)
from fleetctl.cli.session import NoHeaders, Output, labels_of
from fleetctl.core.charts.capabilities import parse_capabilities
from fleetctl.core.model.cluster import Cluster, parse_selector
from fleetctl.core.model.errors import FleetError, UsageError
from fleetctl.core.model.ids import ClusterName, Workspace
from fleetctl.core.model.problems import Problem
from fleetctl.core.scan.scan import Built, Draft
from fleetctl.core.targeting.target import Match, Miss, explain, select

Place = Annotated[
    str, typer.Argument(metavar="DIR", help="Folder of the repository, or CLONE@REVISION.")
]
RepoName = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="Name of the GitRepo; the folder's when not given."
    ),
]
InWorkspace = Annotated[
    str,
    typer.Option(
        "-n", "--workspace", "--namespace", metavar="NAME", help="Workspace of the GitRepo."
    ),
]
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", metavar="DIR", help="Directory to scan; may be given several times."),
]
Targets = Annotated[
    Path | None,
    typer.Option("--targets", metavar="FILE", help="File with `targets:`, as a GitRepo has them."),
]
GitRepoFile = Annotated[
    Path | None,
    typer.Option(
        "--gitrepo", metavar="FILE", help="File with the GitRepo, instead of these options."
    ),
]
Clusters = Annotated[
    Path | None,
    typer.Option("--clusters", metavar="FILE", help="File with Clusters and ClusterGroups."),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster", metavar="NAME", help="Only this cluster; may be given several times."
    ),
]
Select = Annotated[
    str,
    typer.Option("-l", "--selector", metavar="SELECTOR", help="Only clusters with these labels."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="K=V", help="Labels of the cluster that --cluster names, without a file."
    ),
]
Bundles = Annotated[
    list[str] | None,
    typer.Option("--bundle", metavar="NAME", help="Only this bundle; may be given several times."),
]
KubeVersion = Annotated[
    str,
    typer.Option(
        "--kube-version",
        metavar="VERSION",
        help="Kubernetes version that charts see; helm's default without.",
    ),
]
ApiVersions = Annotated[
    list[str] | None,
    typer.Option(
        "--api-versions",
        "-a",
        metavar="API",
        help="Another API version that charts see; may be given several times.",
    ),
]
Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror", metavar="URL=URL", help="Read charts of the first address from the second."
    ),
]
FAILED = 1


def bundles(
    place: Place,
    name: RepoName = "",
    workspace: InWorkspace = "",
    path: Paths = None,
    targets: Targets = None,
    gitrepo: GitRepoFile = None,
    mirror: Mirrors = None,
    output: Output = Format.TABLE,
    no_headers: NoHeaders = False,
) -> int:
    """The bundles that a scan makes of a folder or a commit; -o yaml prints them as Fleet's Bundle
    documents.
    """
    mirrors = mirrors_of(mirror or [])
    wish = wish_of(place, name, workspace, path or [], targets, gitrepo)
    drafts, problems, warnings = scanned(place, wish)
    if output in {Format.YAML, Format.JSON}:
        made, more = built(drafts, mirrors)
        problems = [*problems, *more]
        _documents(drafts, made, wish, output)
    elif output is Format.NAME:
        for draft in drafts:
            out.line(f"bundle/{draft.spec.name}")
    else:
        out.table(
            _BUNDLES, [_row(d) for d in drafts], headers=not no_headers, wide=output is Format.WIDE
        )
    return told(problems, warnings)


def targets(
    place: Place,
    clusters: Clusters = None,
    name: RepoName = "",
    workspace: InWorkspace = "",
    path: Paths = None,
    targets: Targets = None,
    gitrepo: GitRepoFile = None,
    cluster: Names = None,
    selector: Select = "",
    label: Labels = None,
    bundle: Bundles = None,
    output: Output = Format.TABLE,
    no_headers: NoHeaders = False,
) -> int:
    """Which cluster gets which bundle, through which target and customization, and which does not
    and why.
    """
    wish = everywhere(wish_of(place, name, workspace, path or [], targets, gitrepo))
    fleet, wanted = chosen(clusters, cluster or [], selector, label or [], wish)
    drafts, problems, warnings = scanned(place, wish)
    rows = [
        _fate(d, found)
        for d in only(drafts, bundle or [])
        for found in explain(d.spec, wanted, fleet.groups)
    ]
    if not out.answered(
        rows, output, (f"{row['cluster']}/{row['bundle']}" for row in rows if row["deploys"])
    ):
        out.table(_FATES, rows, headers=not no_headers, wide=output is Format.WIDE)
    return told(problems, warnings)


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


def everywhere(wish: Wish) -> Wish:
    """Without targets of their own, bundles go to every cluster that is looked at."""
    import msgspec

    from fleetctl.core.documents.gitrepo import GitTarget

    spec = wish.repo.spec
    if spec.targets is not None:
        return wish
    repo = msgspec.structs.replace(
        wish.repo,
        spec=msgspec.structs.replace(spec, targets=[GitTarget(name="all", cluster_selector={})]),
    )
    return Wish(repo, wish.restricted)


def prepared(
    place: str, wish: Wish, names: Sequence[str], mirrors: dict[str, str]
) -> tuple[list[Built], list[Problem], list[Problem]]:
    """(bundles with their charts, problems, warnings)."""
    drafts, problems, warnings = scanned(place, wish)
    made, more = built(only(drafts, names), mirrors)
    return made, [*problems, *more], warnings


def only(drafts: list[Draft], names: Sequence[str]) -> list[Draft]:
    """Raises UsageError for a bundle that there is not."""
    known = {str(d.spec.name) for d in drafts}
    for name in names:
        if name not in known:
            step = (
                f"There are {', '.join(sorted(known)[:10])}."
                if known
                else "See `fleetctl bundles`."
            )
            raise UsageError(f"there is no bundle {name!r}", subject="--bundle", next_step=step)
    return [d for d in drafts if not names or d.spec.name in names]


def chosen(
    path: Path | None, names: list[str], selector: str, labels: list[str], wish: Wish
) -> tuple[Fleet, list[Cluster]]:
    """The fleet, and the clusters of it that are looked at; without a file, one cluster made of
    --cluster and --label.
    """
    fleet = fleet_of(path, wish.repo.workspace)
    if path is None:
        if len(names) > 1:
            raise UsageError(
                "several clusters need a file",
                subject="--cluster",
                next_step="Add --clusters FILE.",
            )
        known = {k: v or "" for k, v in labels_of(labels).items()}
        mine = Cluster(
            workspace=Workspace(wish.repo.workspace),
            name=ClusterName(names[0] if names else "local"),
            labels=known,
        )
        fleet.clusters.append(mine)
    elif labels:
        raise UsageError(
            "--label is for a cluster without a file",
            subject="--label",
            next_step="Write the labels into the file.",
        )
    return fleet, picked(fleet, names, parse_selector(selector) if selector else None)


def mirrors_of(pairs: Sequence[str]) -> dict[str, str]:
    from fleetctl.sources.charts.mirrors import parse_mirrors

    return parse_mirrors(pairs)


def told(problems: Sequence[Problem], warnings: Sequence[Problem]) -> int:
    """Say what is wrong, on stderr; the exit status."""
    for warning in warnings:
        out.say(f"warning: {warning.summary}")
    for problem in problems:
        out.error(problem.summary, problem.next_step)
    return FAILED if problems else 0


def _documents(drafts: list[Draft], made: list[Built], wish: Wish, form: Format) -> None:
    from fleetctl.core.model.bundle import unpack
    from fleetctl.core.scan.bundle_document import bundle_document

    by_name = {d.spec.name: d for d in drafts}
    found = [
        bundle_document(by_name[b.spec.name], unpack(b.archive), restricted=wish.restricted)
        for b in made
    ]
    out.objects(found, form)


def _row(draft: Draft) -> dict[str, Any]:
    spec = draft.spec
    return {
        "name": spec.name,
        "path": spec.path or ".",
        "style": _style(draft),
        "files": len(draft.files),
        "bytes": sum(len(f.data) for f in draft.files.values()),
        "targets": len(spec.targets),
        "customizations": len(spec.customizations),
        "charts": ", ".join(f"{c.chart} {c.version}".strip() for c in draft.charts),
    }


def _style(draft: Draft) -> str:
    from fleetctl.core.charts.reference import local_folder
    from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS
    from fleetctl.core.model.options import HelmOptions
    from fleetctl.core.rendering.render import kustomize_folder
    from fleetctl.core.scan.tree import join

    options = draft.spec.options
    folder = local_folder(options.helm or HelmOptions())
    helm = bool(draft.charts) or join(folder, "Chart.yaml") in draft.files
    folders = {
        kustomize_folder(o) for o in (options, *(t.options for t in draft.spec.customizations))
    }
    kustomize = any(
        f is not None and join(f, name) in draft.files for f in folders for name in KUSTOMIZATIONS
    )
    return "+".join(word for word, on in (("helm", helm), ("kustomize", kustomize)) if on) or "raw"


def _fate(draft: Draft, found: Match | Miss) -> dict[str, Any]:
    from fleetctl.core.rendering.render import release_of

    row = {
        "cluster": found.cluster.name,
        "bundle": draft.spec.name,
        "deploys": isinstance(found, Match),
    }
    if isinstance(found, Miss):
        return row | {
            "target": "",
            "customization": "",
            "namespace": "",
            "release": "",
            "why": found.why,
        }
    try:
        release, namespace = release_of(found.options, draft.spec.name)
    except FleetError as error:
        return row | {
            "target": found.target,
            "customization": found.customization,
            "namespace": "",
            "release": "",
            "why": error.summary,
        }
    return row | {
        "target": found.target,
        "customization": found.customization,
        "namespace": namespace,
        "release": release,
        "why": "",
    }


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


def _col(title: str, key: str, *, wide: bool = False, flexible: bool = False) -> Column:
    return Column(title, lambda i: str(i[key]), wide=wide, flexible=flexible)


_BUNDLES = [
    _col("NAME", "name"),
    _col("PATH", "path", flexible=True),
    _col("STYLE", "style"),
    _col("FILES", "files"),
    _col("BYTES", "bytes", wide=True),
    _col("TARGETS", "targets", wide=True),
    _col("CUSTOM", "customizations"),
    _col("CHARTS", "charts", wide=True),
]
_FATES = [
    _col("CLUSTER", "cluster"),
    _col("BUNDLE", "bundle"),
    Column("DEPLOYS", lambda i: "yes" if i["deploys"] else "no"),
    Column("THROUGH", lambda i: " > ".join(filter(None, (i["target"], i["customization"])))),
    Column("NAMESPACE", lambda i: str(i["namespace"]), wide=True),
    _col("RELEASE", "release", wide=True),
    _col("WHY NOT", "why", flexible=True),
]
