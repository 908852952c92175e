"""`fleetctl held`: removals that wait for a person, and letting them go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Column, Format, age
from fleetctl.cli.session import (
    ContextName,
    Everywhere,
    NoHeaders,
    Output,
    Workspace,
    counted,
    new_group,
    opened,
)
from fleetctl.core.formats.url_path import relative

app = new_group()
app.info.help = "Removals that wait for a person."


def _what(one: dict[str, Any]) -> str:
    return f"{one['kind'].lower()}/{one['name']}"


_COLUMNS = [
    Column("WHAT", _what),
    Column(
        "REMOVES",
        lambda one: (
            f"{one['removals']}/{one['of']} {'bundles' if one['kind'] == 'GitRepo' else 'clusters'}"
        ),
    ),
    Column("SINCE", lambda one: age(one["since"])),
    Column("WHY", lambda one: one["message"], flexible=True),
]
_WHERE = Column("NAMESPACE", lambda one: str(one["workspace"]))


@app.command("list")
def list_(
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    everywhere: Everywhere = False,
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """What is held, with the numbers, and how to let it go. To undo it, put back what was
    changed.
    """
    with opened(context, workspace) as session:
        params = {} if everywhere else {"workspace": session.workspace}
        items: list[dict[str, Any]] = session.client.call("GET", "held", params=params)["items"]
    if out.answered({"items": items}, output, map(_what, items)):
        return
    if not items:
        out.say("Nothing is held.")
    else:
        out.table(
            [_WHERE, *_COLUMNS] if everywhere else _COLUMNS,
            items,
            headers=not no_headers,
            wide=output is Format.WIDE,
        )
        for one in items:
            out.say(f"To let it go: {one['confirm']}")
            for move in one.get("moves") or []:
                out.say(f"If it has moved: fleetctl bundle moved {move['from']} {move['to']}")


@app.command()
def confirm(
    name: Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")],
    removals: Annotated[
        int,
        typer.Option(
            metavar="N", help="From how many clusters it may be removed: the number that is held."
        ),
    ],
    digest: Annotated[
        str,
        typer.Option(
            metavar="D", help="Exactly these clusters: the digest that `held list -o json` shows."
        ),
    ] = "",
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Let a held removal go: exactly that many clusters, and nothing when there are more or fewer
    by now.
    """
    with opened(context, workspace) as session:
        path = relative("held", session.workspace, name, "confirm")
        session.client.call("POST", path, {"removals": removals, "digest": digest})
    out.line(f"bundle/{name} is removed from {counted(removals, 'cluster')}")
