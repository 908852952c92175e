"""`fleetctl gitrepo sync`: makes the manager poll a repository now."""

from __future__ import annotations

from fleetctl.cli.display import output as out
from fleetctl.cli.objects.selection import select_names
from fleetctl.cli.options import ContextName, Every, OptionalNames, Selector, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative


def sync(
    names: OptionalNames = None,
    selector: Selector = "",
    every: Every = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Poll the repository now, and scan it again."""
    with open_session(context, workspace) as session:
        for name in select_names(session, "gitrepos", names, selector, every=every):
            session.client.call("POST", relative("gitrepos", session.workspace, name, "sync"))
            out.line(f"gitrepo/{name} sync requested")
