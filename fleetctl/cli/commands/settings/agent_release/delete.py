"""`fleetctl agent-release delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.cli.options import ContextName, Yes
from fleetctl.cli.prompt import confirm
from fleetctl.cli.session import open_session
from fleetctl.core.formats.url_path import relative


def delete(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version, for every platform.")
    ],
    yes: Yes = False,
    context: ContextName = "",
) -> None:
    """Forget a version; refused while a cluster wants it. Agents that run it go on."""
    with open_session(context) as session:
        confirm(f"Delete agent version {version}?", yes=yes)
        files = session.client.call("DELETE", relative("agent-releases", version))["items"]
    out.line(f"agent version {version} deleted ({format_count(len(files), 'file')})")
