"""`fleetctl bundle status`: the state of each bundle on each cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.commands.bundle.filters import BY_BUNDLE, Cluster, Repo, check_filters
from fleetctl.cli.display.output import Format
from fleetctl.cli.objects.list_request import CHUNK_SIZE, ListRequest, View
from fleetctl.cli.objects.list_view import read
from fleetctl.cli.options import (
    ChunkSize,
    ContextName,
    Everywhere,
    Limit,
    NoHeaders,
    NotReady,
    Output,
    SortBy,
    States,
    Watch,
    Workspace,
)
from fleetctl.cli.session import open_session


def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only this bundle.")] = "",
    output: Output = Format.TABLE,
    cluster: Cluster = "",
    repo: Repo = "",
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    state: States = "",
    not_ready: NotReady = False,
    watch: Watch = False,
    sort_by: SortBy = "status",
    limit: Limit = 0,
    chunk_size: ChunkSize = CHUNK_SIZE,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """Show each bundle on each cluster, worst state first, with commit and message."""
    with open_session(context, workspace) as session:
        if name:
            # a wrong name is an error, not an empty table
            session.client.get("bundles", session.workspace, name)
        if not everywhere:
            check_filters(session, repo=repo, cluster=cluster)
        filters = {
            "cluster": cluster,
            "repo": repo,
            "selector": f"{BY_BUNDLE}{name}" if name else "",
        }
        view = View(
            output,
            everywhere,
            watch,
            not no_headers,
            sort_by,
            state,
            not_ready,
            limit=limit,
            chunk_size=chunk_size,
        )
        read(session, [ListRequest("bundledeployments", filters=filters)], view)
