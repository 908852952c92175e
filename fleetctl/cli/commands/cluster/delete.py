"""`fleetctl cluster delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.objects.removal import RemovalTarget, remove
from fleetctl.cli.objects.selection import select_names
from fleetctl.cli.options import ContextName, Every, OptionalNames, Selector, Workspace, Yes
from fleetctl.cli.session import open_session


def delete(
    names: OptionalNames = None,
    selector: Selector = "",
    every: Every = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Also remove the deployed objects from the cluster.")
    ] = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Delete a cluster from the manager and revoke its key. Deployed objects stay on it."""
    with open_session(context, workspace) as session:
        names = select_names(session, "clusters", names, selector, every=every)
        remove(
            session,
            [RemovalTarget("clusters", name) for name in names],
            yes=yes,
            uninstall=uninstall,
        )
