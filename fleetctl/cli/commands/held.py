"""`fleetctl held`: lists and confirms removals that wait for confirmation."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_age, format_count
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.help import new_group
from fleetctl.cli.options import ContextName, Everywhere, NoHeaders, Output, Workspace
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative

app = new_group("Removals that wait for confirmation.")


def _object_name(item: dict[str, Any]) -> str:
    return f"{item['kind'].lower()}/{item['name']}"


def _amount(item: dict[str, Any]) -> str:
    noun = "bundles" if item["kind"] == "GitRepo" else "clusters"
    return f"{item['removals']}/{item['of']} {noun}"


_COLUMNS = [
    Column("WHAT", _object_name),
    Column("REMOVES", _amount),
    Column("SINCE", lambda item: format_age(item["since"])),
    Column("WHY", lambda item: item["message"], flexible=True),
]
_NAMESPACE_COLUMN = Column("NAMESPACE", lambda item: str(item["workspace"]))


@app.command("list")
def list_(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """List removals that wait for confirmation, and the command that confirms each.

    To cancel a removal, undo the change of labels or of Git that caused it.
    """
    with open_session(context, workspace) as session:
        params = {} if everywhere else {"workspace": session.workspace}
        items: list[dict[str, Any]] = session.client.call("GET", "held", params=params)["items"]
        if not items and not everywhere:
            session.warn_if_empty()
    if out.print_for_scripts({"items": items}, output, map(_object_name, items)):
        return
    if not items:
        out.say("No removals are waiting.")
    else:
        print_table(
            [_NAMESPACE_COLUMN, *_COLUMNS] if everywhere else _COLUMNS,
            items,
            headers=not no_headers,
            wide=output is Format.WIDE,
        )
        for item in items:
            out.say(f"To confirm: {item['confirm']}")
            for move in item.get("moves") or []:
                out.say(f"If it was renamed: fleetctl bundle moved {move['from']} {move['to']}")


@app.command()
def confirm(
    name: Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")],
    removals: Annotated[
        int,
        typer.Option(
            metavar="N",
            help=(
                "Number of clusters to remove the bundle from, as `fleetctl held list` shows it."
            ),
        ),
    ],
    digest: Annotated[
        str,
        typer.Option(
            metavar="D",
            help=("Digest of exactly these clusters, as `fleetctl held list -o json` shows it."),
        ),
    ] = "",
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Confirm a held removal. If the number of clusters has changed, nothing is removed."""
    with open_session(context, workspace) as session:
        path = relative("held", session.workspace, name, "confirm")
        session.client.call("POST", path, {"removals": removals, "digest": digest})
    out.line(f"bundle/{name} is removed from {format_count(removals, 'cluster')}")
