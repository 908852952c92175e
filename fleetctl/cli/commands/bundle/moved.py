"""`fleetctl bundle moved`: declares that a bundle has another name in Git."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.options import ContextName, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import UsageError


def declare_move(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The present name of the bundle.")],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="The new name in Git. Repeat OLD if only the GitRepo changes.",
        ),
    ] = "",
    take_back: Annotated[
        bool,
        typer.Option(
            "--take-back",
            help="Cancel the declaration. This works until a scan finds the new name.",
        ),
    ] = False,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Declare that a bundle gets another name in Git: its releases, objects and history stay.

    You can do this before you push the commit.
    """
    if bool(new) == take_back:
        step = "Write `fleetctl bundle moved OLD NEW`, or `fleetctl bundle moved OLD --take-back`."
        raise UsageError(
            "name the new bundle, or cancel the declaration",
            subject=f"bundle {old}",
            next_step=step,
        )
    with open_session(context, workspace) as session:
        path = relative("bundles", session.workspace, old, "moved")
        if take_back:
            session.client.call("DELETE", path)
            out.line(f"bundle/{old} moves nowhere")
            return
        session.client.call("POST", path, {"to": new})
    outcome = (
        "moves to the GitRepo whose scan finds it next"
        if new == old
        else f"becomes bundle/{new} at the next scan that finds the new name"
    )
    out.line(f"bundle/{old} {outcome}; its releases stay")
