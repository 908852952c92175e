"""`fleetctl version`: the versions of this program and of the manager."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Output
from fleetctl.cli.session import opened


def version(
    client: Annotated[bool, typer.Option("--client", help="Only this program's.")] = False,
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Versions of this program and of the manager."""
    from fleetctl.cli import app

    document = output in {Format.JSON, Format.YAML}
    found: dict[str, Any] = {"client": {"version": app.version()}}
    if not document:
        out.line(f"fleetctl  {app.version()}")
    if not client:
        with opened(context) as session:
            found["manager"] = session.client.call("GET", "version")
        if not document:
            out.line(f"manager   {found['manager']['version']} (epoch {found['manager']['epoch']})")
    if document:
        out.document(found, output)
