"""`fleetctl gitrepo confirm`: confirms a held removal of bundles."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.options import ContextName, Name, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative


def confirm(
    name: Name,
    removals: Annotated[
        int,
        typer.Option(
            metavar="N", help="Number of bundles to remove, as `fleetctl gitrepo get` shows it."
        ),
    ],
    commit: Annotated[str, typer.Option(metavar="C", help="The commit that removes the bundles.")],
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Confirm a held removal of bundles: exactly this number, at this commit."""
    with open_session(context, workspace) as session:
        session.client.call(
            "POST",
            relative("gitrepos", session.workspace, name, "confirm"),
            {"removals": removals, "commit": commit},
        )
    out.line(f"gitrepo/{name}: {format_count(removals, 'removal')} confirmed")
