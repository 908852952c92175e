"""`fleetctl get`: shows objects of any kind."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.display.output import Format
from fleetctl.cli.objects.list_request import CHUNK_SIZE, ListRequest, View
from fleetctl.cli.objects.list_view import read
from fleetctl.cli.objects.selection import names_by_plural
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
from fleetctl.core.model.errors import UsageError


def get(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help=(
                "A kind or its short name, several kinds with commas between them, `all`, or "
                "KIND/NAME."
            ),
        ),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Names of objects. The default is all objects of the kind."
        ),
    ] = None,
    output: Output = Format.TABLE,
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
    """Show objects of any kind. Short names: gr, cl, cg, crt, b, bd, sch, cm."""
    names_of = names_by_plural(kind, names or [])
    wants = [
        ListRequest(plural, kind_names, {"selector": selector})
        for plural, kind_names in names_of.items()
    ]
    if everywhere and any(names_of.values()):
        raise UsageError(
            "a name belongs to one workspace",
            subject="-A",
            next_step="Give -n WORKSPACE, or leave out the name.",
        )
    with open_session(context, workspace) as session:
        read(
            session,
            wants,
            View(
                output,
                everywhere,
                watch,
                not no_headers,
                sort_by,
                state,
                not_ready,
                limit=limit,
                chunk_size=chunk_size,
            ),
        )
