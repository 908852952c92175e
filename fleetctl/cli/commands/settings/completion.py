"""`fleetctl completion`: prints the completion script of a shell."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetctl.cli.completion import SCRIPTS
from fleetctl.cli.display import output as out
from fleetctl.core.model.errors import UsageError


def completion(shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish")]) -> None:
    """Print the completion script of a shell.

    bash and zsh: `source <(fleetctl completion bash)`. fish: `fleetctl completion fish | source`.
    """
    if shell not in SCRIPTS:
        raise UsageError(
            f"there is no completion for {shell!r}",
            subject="completion",
            next_step="Name bash, zsh or fish.",
        )
    for text in SCRIPTS[shell].rstrip("\n").split("\n"):
        out.line(text)
