"""`fleetctl bundle history` and `fleetctl rollback`: what a bundle has been, and going back to it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from fleetctl.cli import output as out
from fleetctl.cli.common import ContextName, NoHeaders, Output, Session, Workspace, opened
from fleetctl.cli.output import Column, Format, age
from fleetctl.core.errors import UsageError

_COLUMNS = [
    Column("REV", lambda r: f"{r['number']}{'*' if r['current'] else ''}"),
    Column("COMMIT", lambda r: r["commit"][:7]),
    Column("TAKEN", lambda r: age(r["taken"])),
    Column("READY", lambda r: f"{r['ready']}/{r['clusters']}"),
    Column("PINNED", lambda r: "yes" if r["pinned"] else ""),
    Column("AUTHOR", lambda r: r["author"], flexible=True),
    Column("SUBJECT", lambda r: r["subject"], flexible=True),
]


def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The bundle.")],
    output: Output = Format.TABLE,
    workspace: Workspace = "",
    no_headers: NoHeaders = False,
    context: ContextName = "",
) -> None:
    """What a bundle has been, newest first; `*` is what its clusters should have. `fleetctl rollback` goes back."""
    with opened(context, workspace) as session:
        items = session.client.call("GET", f"{_path(session, name)}/history")["items"]
    if output is Format.NAME:
        for item in items:
            out.line(item["number"])
    elif output in {Format.JSON, Format.YAML}:
        out.document({"items": items}, output)
    else:
        out.table(_COLUMNS, items, headers=not no_headers, wide=output is Format.WIDE)


def rollback(
    name: Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")],
    to: Annotated[int, typer.Option("--to", metavar="REV", help="The revision; without it the one before the present one.")] = 0,
    release: Annotated[bool, typer.Option("--release", help="Follow Git again.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Shown to everybody who looks.")] = "",
    workspace: Workspace = "",
    context: ContextName = "",
) -> None:
    """Give clusters an earlier revision of a bundle, until it is released; newer commits wait meanwhile."""
    if release and (to or reason):
        raise UsageError("--release takes neither --to nor --reason", subject="rollback", next_step="Leave them out.")
    with opened(context, workspace) as session:
        path = f"{_path(session, name)}/rollback"
        if release:
            session.client.call("DELETE", path)
            out.line(f"bundle/{name} follows Git again")
            return
        body: dict[str, Any] = {"to": to, "reason": reason}
        pinned = session.client.call("POST", path, body)["pinned"]
    out.line(f"bundle/{name} is pinned to revision {pinned}; `fleetctl rollback {name} --release` follows Git again")


def _path(session: Session, name: str) -> str:
    return f"bundles/{quote(session.workspace, safe='')}/{quote(name, safe='')}"
