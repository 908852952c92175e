"""`fleetctl bundle list`."""

from __future__ import annotations

from fleetctl.cli.commands.bundle.filters import Repo, check_filters
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
    Selector,
    SortBy,
    States,
    Watch,
    Workspace,
)
from fleetctl.cli.session import open_session


def list_(
    output: Output = Format.TABLE,
    repo: Repo = "",
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    selector: Selector = "",
    state: States = "",
    not_ready: NotReady = False,
    watch: Watch = False,
    sort_by: SortBy = "",
    limit: Limit = 0,
    chunk_size: ChunkSize = CHUNK_SIZE,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """List bundles with their number of ready clusters."""
    with open_session(context, workspace) as session:
        if not everywhere:
            check_filters(session, repo=repo)
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
        read(session, [ListRequest("bundles", filters={"selector": selector, "repo": repo})], view)
