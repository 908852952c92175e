"""`fleetctl gitrepo delete`."""

from __future__ import annotations

from fleetctl.cli.objects.removal import RemovalTarget, remove
from fleetctl.cli.objects.selection import select_names
from fleetctl.cli.options import ContextName, Every, OptionalNames, Selector, Workspace, Yes
from fleetctl.cli.session import open_session


def delete(
    names: OptionalNames = None,
    selector: Selector = "",
    every: Every = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Delete a GitRepo and all objects that it deployed, on all clusters."""
    with open_session(context, workspace) as session:
        names = select_names(session, "gitrepos", names, selector, every=every)
        remove(session, [RemovalTarget("gitrepos", name) for name in names], yes=yes)
