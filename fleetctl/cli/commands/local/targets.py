"""`fleetctl targets`: which cluster would get which bundle, and why."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, key_column, print_table
from fleetctl.cli.options import NoHeaders, Output
from fleetctl.cli.preview.fleet_files import select_fleet
from fleetctl.cli.preview.options import (
    Bundles,
    Clusters,
    GitRepoFile,
    InWorkspace,
    Labels,
    Names,
    Paths,
    Place,
    RepoName,
    Select,
    Targets,
)
from fleetctl.cli.preview.request import everywhere, preview_request
from fleetctl.cli.preview.scan import only, report_problems, scan_drafts
from fleetctl.core.model.errors import FleetError
from fleetctl.core.scan.draft import Draft
from fleetctl.core.targeting.target import Match, Miss, explain

_COLUMNS = [
    key_column("CLUSTER", "cluster"),
    key_column("BUNDLE", "bundle"),
    Column("DEPLOYS", lambda i: "yes" if i["deploys"] else "no"),
    Column("THROUGH", lambda i: " > ".join(filter(None, (i["target"], i["customization"])))),
    Column("NAMESPACE", lambda i: str(i["namespace"]), wide=True),
    key_column("RELEASE", "release", wide=True),
    key_column("WHY NOT", "why", flexible=True),
]


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
    """Show which cluster gets which bundle, by which target and customization, and why others do
    not get it.
    """
    request = everywhere(preview_request(place, name, workspace, path or [], targets, gitrepo))
    fleet, clusters_ = select_fleet(clusters, cluster or [], selector, label or [], request)
    drafts, problems, warnings = scan_drafts(place, request)
    rows = [
        _row(d, outcome)
        for d in only(drafts, bundle or [])
        for outcome in explain(d.spec, clusters_, fleet.groups)
    ]
    if not out.print_for_scripts(
        rows, output, (f"{row['cluster']}/{row['bundle']}" for row in rows if row["deploys"])
    ):
        print_table(_COLUMNS, rows, headers=not no_headers, wide=output is Format.WIDE)
    return report_problems(problems, warnings)


def _row(draft: Draft, outcome: Match | Miss) -> dict[str, Any]:
    from fleetctl.core.rendering.render import release_of

    row = {
        "cluster": outcome.cluster.name,
        "bundle": draft.spec.name,
        "deploys": isinstance(outcome, Match),
    }
    if isinstance(outcome, Miss):
        return row | {
            "target": "",
            "customization": "",
            "namespace": "",
            "release": "",
            "why": outcome.why,
        }
    try:
        release, namespace = release_of(outcome.options, draft.spec.name)
    except FleetError as error:
        return row | {
            "target": outcome.target,
            "customization": outcome.customization,
            "namespace": "",
            "release": "",
            "why": error.summary,
        }
    return row | {
        "target": outcome.target,
        "customization": outcome.customization,
        "namespace": namespace,
        "release": release,
        "why": "",
    }
