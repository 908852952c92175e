"""`fleetctl version`: the versions of this program and of the manager."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Output
from fleetctl.cli.session import open_session
from fleetctl.cli.version import version as client_version


def version(
    client: Annotated[
        bool, typer.Option("--client", help="Only the version of this program.")
    ] = False,
    output: Output = Format.TABLE,
    context: ContextName = "",
) -> None:
    """Show the versions of this program and of the manager."""
    document = output in {Format.JSON, Format.YAML}
    versions: dict[str, Any] = {"client": {"version": client_version()}}
    if not document:
        out.line(f"fleetctl  {client_version()}")
    if not client:
        with open_session(context) as session:
            versions["manager"] = session.client.call("GET", "version")
        if not document:
            out.line(
                f"manager   {versions['manager']['version']} (epoch {versions['manager']['epoch']})"
            )
    if document:
        out.document(versions, output)
