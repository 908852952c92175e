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
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version, on all platforms.")],
    yes: Yes = False,
    context: ContextName = "",
) -> None:
    """Delete an agent version. This is refused while it is the target version of a cluster.

    Agents that run it keep running.
    """
    with open_session(context) as session:
        confirm(f"Delete agent version {version}?", yes=yes)
        files = session.client.call("DELETE", relative("agent-releases", version))["items"]
    out.line(f"agent version {version} deleted ({format_count(len(files), 'file')})")
