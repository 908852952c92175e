"""`fleetctl context`: the managers that a person is logged in to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli import config
from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.help import new_group
from fleetctl.cli.options import Name, NoHeaders, Output, Yes
from fleetctl.cli.prompt import confirm
from fleetctl.core.model.errors import NotFound

app = new_group("Managers that you are logged in to.")
_COLUMNS = [
    Column("CURRENT", lambda row: "*" if row["current"] else " "),
    Column("NAME", lambda row: str(row["name"])),
    Column("WORKSPACE", lambda row: str(row["workspace"])),
    Column("URL", lambda row: str(row["url"])),
]


def _row(context: config.Context, current: str) -> dict[str, Any]:
    """Without its token."""
    trust = "pinned CA" if context.ca else "the system's authorities"
    return {
        "name": context.name,
        "url": context.url,
        "workspace": context.workspace,
        "trust": trust,
        "current": context.name == current,
    }


@app.command("list")
def list_(output: Output = Format.TABLE, no_headers: NoHeaders = False) -> None:
    """List contexts. * marks the current one."""
    contexts = config.read()
    rows = [_row(context, contexts.current) for context in contexts.by_name.values()]
    if out.print_for_scripts(rows, output, (row["name"] for row in rows)):
        return
    if not rows:
        out.say("No contexts: log in with the `fleetctl login …` line that the manager printed.")
    else:
        print_table(_COLUMNS, rows, headers=not no_headers)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of a context. The default is the current one."),
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show one context, without its token."""
    row = _row(config.select_context(name), config.read().current)
    if output is Format.TABLE or output is Format.WIDE:
        for key, value in row.items():
            out.line(
                f"{key + ':':<11}{('yes' if value else 'no') if isinstance(value, bool) else value}"
            )
    elif output is Format.NAME:
        out.line(row["name"])
    else:
        out.document(row, output)


@app.command()
def use(
    name: Name,
    workspace: Annotated[
        str,
        typer.Option(
            "-n",
            "--workspace",
            "--namespace",
            metavar="NAME",
            help="Change the workspace of the context.",
        ),
    ] = "",
) -> None:
    """Make a context the current one."""
    selected_context = config.select_context(name)
    contexts = config.read()
    contexts.current = name
    contexts.by_name[name].workspace = workspace or selected_context.workspace
    config.write(contexts)
    out.line(f"context {name} is the current one, workspace {contexts.by_name[name].workspace}")


@app.command()
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a context. Its token stays valid until it expires or is revoked."""
    contexts = config.read()
    if name not in contexts.by_name:
        step = f"Valid contexts: {', '.join(sorted(contexts.by_name)) or 'none'}."
        raise NotFound(f"there is no context {name}", subject=str(config.path()), next_step=step)
    confirm(f"Forget the login to {contexts.by_name[name].url}?", yes=yes)
    del contexts.by_name[name]
    contexts.current = "" if contexts.current == name else contexts.current
    config.write(contexts)
    out.line(f"context {name} deleted")
