"""`fleetctl delete`: deletes objects of any kind."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.objects.files import read_objects
from fleetctl.cli.objects.removal import RemovalTarget, remove
from fleetctl.cli.objects.selection import names_by_plural, select_names
from fleetctl.cli.options import ContextName, Every, Files, Selector, Workspace, Yes
from fleetctl.cli.session import open_session
from fleetctl.core.model.errors import UsageError


def delete(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Kind, or KIND/NAME.")] = "",
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names.")] = None,
    file: Files = None,
    selector: Selector = "",
    every: Every = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="Do not fail if the object does not exist.")
    ] = False,
    yes: Yes = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Delete objects of any kind. The command first shows what else this removes."""
    if bool(kind) == bool(file):
        raise UsageError(
            "give names or a file",
            subject="delete",
            next_step="Write `fleetctl delete KIND NAME` or -f FILE.",
        )
    if file:
        doomed = [
            RemovalTarget(item.plural, item.name, item.workspace)
            for item in read_objects(file, workspace)
        ]
        with open_session(context, workspace) as session:
            remove(session, doomed, yes=yes, absent_is_fine=ignore_not_found)
        return
    names_of = names_by_plural(kind, names or [])
    with open_session(context, workspace) as session:
        picks = {
            plural: select_names(session, plural, kind_names, selector, every=every)
            for plural, kind_names in names_of.items()
        }
        doomed = [
            RemovalTarget(plural, name)
            for plural, kind_names in picks.items()
            for name in kind_names
        ]
        remove(session, doomed, yes=yes, absent_is_fine=ignore_not_found)
