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
            metavar="FILE", help="File for the private key. FILE.pub gets the public key."
        ),
    ],
) -> None:
    """Make a release key and print its public key.

    Keep the private key away from the manager and from the clusters.
    """
    from fleetctl.cli.commands.settings.agent_release.signing import make_key

    line = make_key(file)
    out.say(
        f"The private key is in {file}: a person who has it can run programs on clusters"
        " that pin it. The public key, for"
    )
    out.say("`fleet-agent run --release-key`:")
    out.line(line)
