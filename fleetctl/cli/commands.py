"""The commands, each loaded only when it is asked for, and what is wrong with a command line in one sentence and a next step."""

from __future__ import annotations

import difflib
import re
from importlib import import_module
from typing import Any

import typer

from fleetctl.cli.common import HELP
from fleetctl.cli.menu import COMMANDS
from fleetctl.core.errors import UsageError

_CHOICE = re.compile(r"'([^']*)' is not one of (.*)")


def command(name: str) -> Any:
    """The command or group of that name, ready to be called. Raises UsageError with the nearest one."""
    places = {known: place for known, _, place in COMMANDS}
    if name not in places:
        what = "option" if name.startswith("-") else "command"
        step = "Options come after the command, as in `fleetctl status -w`." if what == "option" else nearest(name, places)
        raise UsageError(f"there is no {what} {name[:80]!r}", subject="fleetctl", next_step=step)
    module, _, attribute = places[name].partition(":")
    found = getattr(import_module(f"fleetctl.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, context_settings=HELP)(found)
    return typer.main.get_command(alone)


def nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"Did you mean {near[0]}?" if near else "`fleetctl --help` lists the commands."


def usage(error: Any) -> tuple[str, str, str]:
    """(summary, subject, next step) of what typer has against a command line."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "fleetctl"
    summary, step = str(error.format_message()).rstrip("."), f"See `{path} --help`."
    option = getattr(error, "option_name", "")
    if option and type(error).__name__ == "NoSuchOption":
        known = [name for param in context.command.params for name in param.opts] if context else []
        near = difflib.get_close_matches(option, known, 1, cutoff=0.5)
        return f"there is no option {option}", path, (f"Did you mean {near[0]}? " if near else "") + step
    if ". Did you mean " in summary:
        summary, _, rest = summary.partition(". Did you mean ")
        return _lower(summary), path, f"Did you mean {rest.strip('?').replace(chr(39), '')}? {step}"
    summary = _lower(summary.replace("Value error, ", ""))
    choice = _CHOICE.search(summary)
    near = difflib.get_close_matches(choice[1], re.findall(r"'([^']*)'", choice[2]), 1) if choice else []
    return summary, path, (f"Did you mean {near[0]}? " if near else "") + step


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
