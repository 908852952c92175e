"""`fleetctl token`: tokens for people and programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_duration
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table
from fleetctl.cli.help import new_group
from fleetctl.cli.options import ContextName, Name, NoHeaders, Output, Yes, seconds
from fleetctl.cli.prompt import confirm
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import NotFound, UsageError

app = new_group("Tokens for people and programs.")


def _remaining_time(row: dict[str, Any]) -> str:
    """Time until it ends."""
    try:
        end = datetime.fromisoformat(str(row.get("expires") or ""))
    except ValueError:
        return "never"
    remaining = int((end - datetime.now(UTC)).total_seconds())
    return f"in {format_duration(remaining)}" if remaining > 0 else "expired"


_COLUMNS = [
    Column("NAME", lambda row: str(row["name"])),
    Column("ROLE", lambda row: str(row["role"])),
    Column("WORKSPACE", lambda row: str(row["workspace"] or "all")),
    Column("EXPIRES", _remaining_time),
    Column("AT", lambda row: str(row["expires"]), wide=True),
]


@app.command()
def create(
    name: Name,
    role: Annotated[
        str, typer.Option(metavar="admin|read", help="What the token may do.")
    ] = "read",
    bound_workspace: Annotated[
        str,
        typer.Option(
            "-n",
            "--workspace",
            "--namespace",
            metavar="NAME",
            help="Limit the token to one workspace.",
        ),
    ] = "",
    ttl: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long the token is valid, for example 12h or 90d."),
    ] = "30d",
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Create a token. Its value is printed once, alone on stdout."""
    if role not in {"admin", "read"}:
        raise UsageError(
            f"there is no role {role!r}", subject="--role", next_step="Write admin or read."
        )
    body = {
        "name": name,
        "role": role,
        "workspace": bound_workspace,
        "ttlSeconds": int(seconds(ttl, option="--ttl")),
    }
    with open_session(context) as session:
        token = session.client.call("POST", "tokens", body)
    if output in {Format.JSON, Format.YAML}:
        out.document(token, output)
        return
    scope = f"{role}, workspace {bound_workspace or 'all'}"
    out.say(
        f"Token {token['name']} ({scope}), valid until {token['expires']}. It is not shown again:"
    )
    out.line(token["token"])


@app.command("list")
def list_(
    output: Output = Format.TABLE, no_headers: NoHeaders = False, context: ContextName = ""
) -> None:
    """List tokens, without their values."""
    with open_session(context) as session:
        rows = session.client.call("GET", "tokens")["items"]
    if not out.print_for_scripts(rows, output, (row["name"] for row in rows)):
        print_table(_COLUMNS, rows, headers=not no_headers, wide=output is Format.WIDE)


@app.command()
def revoke(name: Name, yes: Yes = False, context: ContextName = "") -> None:
    """Revoke a token at once."""
    with open_session(context) as session:
        if name not in {row["name"] for row in session.client.call("GET", "tokens")["items"]}:
            raise NotFound(
                f"there is no token named {name}",
                subject=f"token {name}",
                next_step="See `fleetctl token list`.",
            )
        confirm(f"Revoke token {name}? It stops working at once.", yes=yes)
        session.client.call("DELETE", relative("tokens", name))
    out.line(f"token {name} revoked")
