"""Asks the person at the terminal: for confirmation, or for a secret."""

from __future__ import annotations

import sys
from typing import Any

from fleetctl.cli.display import output
from fleetctl.core.model.errors import RefusedError, UsageError


def secret_line(file: Any, *, option: str) -> str:
    """Read the first line of a file, or of standard input when `file` is None. A terminal shows no
    echo. Raises UsageError.
    """
    try:
        if file is not None:
            text = file.read_text("utf-8").partition("\n")[0]
        elif sys.stdin.isatty():
            from getpass import getpass

            text = getpass(
                f"{option.removeprefix('--').removesuffix('-stdin')}: ", stream=sys.stderr
            )
        else:
            text = sys.stdin.readline()
    except (OSError, UnicodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(
            f"{file or 'standard input'} cannot be read: {cause}",
            subject=option,
            next_step="Correct the path.",
        ) from error
    secret: str = text.strip("\r\n")
    if not secret.strip():
        raise UsageError(
            f"{file or 'standard input'} is empty",
            subject=option,
            next_step="The first line must contain the secret.",
        )
    return secret


# From so many objects on, a person types the number instead of y.
_LARGE_NUMBER = 20


def confirm(question: str, *, yes: bool, number: int = 1) -> None:
    """Ask for confirmation. Raises RefusedError without a terminal, or when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(
            "there is no terminal to ask for confirmation", subject=question, next_step="Add --yes."
        )
    if number >= _LARGE_NUMBER:
        if output.ask(f"{question} Type {number} to continue:") != str(number):
            raise RefusedError(
                "nothing was done", subject=question, next_step=f"Type {number}, or add --yes."
            )
        return
    if output.ask(f"{question} [y/N]").lower() not in {"y", "yes"}:
        raise RefusedError(
            "nothing was done", subject=question, next_step="Answer y, or add --yes."
        )
