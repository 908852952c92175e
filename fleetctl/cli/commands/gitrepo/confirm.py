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
        typer.Option(metavar="N", help="How many bundles may be removed: the number that is held."),
    ],
    commit: Annotated[str, typer.Option(metavar="C", help="The commit that removes them.")],
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Let a held removal go: exactly that many bundles, at that commit."""
    with open_session(context, workspace) as session:
        session.client.call(
            "POST",
            relative("gitrepos", session.workspace, name, "confirm"),
            {"removals": removals, "commit": commit},
        )
    out.line(f"gitrepo/{name}: {format_count(removals, 'removal')} confirmed")
