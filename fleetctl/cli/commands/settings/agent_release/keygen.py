"""`fleetctl agent-release keygen`: makes a release key without a manager."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetctl.cli.display import output as out


def keygen(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Where the private key goes; FILE.pub gets the public one."
        ),
    ],
) -> None:
    """Make a release key. Keep it off the manager and off the clusters; the public key is
    printed.
    """
    from fleetctl.cli.commands.settings.agent_release.signing import make_key

    line = make_key(file)
    out.say(
        f"The private key is in {file}: whoever has it can run programs on clusters that pin it."
        " The public key, for"
    )
    out.say("`fleet-agent run --release-key`:")
    out.line(line)
