"""`fleetctl bundle correct`: corrects drift without a commit."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, OnClusters, Output, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative
from fleetctl.core.text.listing import list_names


def correct(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle.")],
    cluster: OnClusters = None,
    selector: Annotated[
        str,
        typer.Option(
            "-l", "--selector", metavar="SELECTOR", help="Only on clusters with these labels."
        ),
    ] = "",
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Apply a bundle again where objects differ from Git. This makes no revision and no rollout.

    An offline cluster applies it when its agent polls again.
    """
    body = {"clusters": list(cluster or []), "selector": selector}
    with open_session(context, workspace) as session:
        answer = session.client.call(
            "POST", relative("bundles", session.workspace, name, "correct"), body
        )
    if out.print_for_scripts(answer, output, [f"bundle/{name}"]):
        return
    if not answer["clusters"]:
        out.say("No object differs from Git.")
        return
    names = list_names(answer["names"], count=answer["clusters"])
    amount = format_count(answer["clusters"], "cluster")
    out.line(f"bundle/{name} is applied again on {amount}: {names}")
    out.say(f"To see the result: fleetctl bundle diff {name}")
