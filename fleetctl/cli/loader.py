"""Loads a command when it is used, and describes errors of a command line in one sentence and a
next step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer

from fleetctl.cli import suggest
from fleetctl.cli.command_table import COMMANDS
from fleetctl.cli.help import HELP, HelpCommand
from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.suggest import did_you_mean, nearest, nearest_option, question

_NO_VALUE = re.compile(r"[Oo]ption '([^']*)' does not take a value")
_VERB = re.compile(r"No such command '([^']*)'")
_SENTENCES = (
    (
        re.compile(r"[Ii]nput should be a valid integer, unable to parse string as an integer"),
        "it is not a whole number",
    ),
    (
        re.compile(r"[Ii]nput should be a valid number, unable to parse string as a number"),
        "it is not a number",
    ),
    (re.compile(r"[Ii]nput should be greater than or equal to (\S+)"), r"it must be at least \1"),
    (re.compile(r"got unexpected extra arguments?(?:\(s\))? \((.*)\)"), r"unexpected argument: \1"),
)
_CHOICE = re.compile(r"'([^']*)' is not one of (.*)")


def command(name: str) -> Any:
    """Load the command or group of that name. Raises UsageError with the nearest name."""
    places = {name_: place for name_, _, place in COMMANDS}
    if name not in places:
        raise _unknown(name, places)
    module, _, attribute = places[name].partition(":")
    command_or_group = getattr(import_module(f"fleetctl.cli.{module}"), attribute)
    if isinstance(command_or_group, typer.Typer):
        for registered_command in command_or_group.registered_commands:
            registered_command.cls = HelpCommand
        return typer.main.get_command(command_or_group)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, context_settings=HELP, cls=HelpCommand)(command_or_group)
    return typer.main.get_command(alone)


def _unknown(name: str, names: Iterable[str]) -> UsageError:
    if name.startswith("-"):
        step = "Options come after the command: fleetctl COMMAND [OPTIONS]."
        if name in {"-v", "-V"}:
            step = "`fleetctl --version` shows the version."
        return UsageError(
            f"there is no option {name[:80]!r} before a command", subject="fleetctl", next_step=step
        )
    equivalent = suggest.COMMANDS.get(name.lower())
    if equivalent:
        step = f"Use fleetctl {equivalent}." if " or " not in equivalent else f"Use {equivalent}."
    else:
        step = did_you_mean(name, names) + "`fleetctl --help` lists the commands."
    return UsageError(f"there is no command {name[:80]!r}", subject="fleetctl", next_step=step)


def usage(error: Any, command_path: str) -> tuple[str, str, str]:
    """Describe an error of typer. Returns summary, subject and next step."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else command_path
    summary, step = str(error.format_message()).rstrip("."), f"See `{path} --help`."
    option = getattr(error, "option_name", "")
    if option and type(error).__name__ == "NoSuchOption":
        option_names = (
            [name for param in context.command.params for name in param.opts] if context else []
        )
        near = nearest_option(option, option_names)
        return f"there is no option {option}", path, question(near) + step
    if flag := _NO_VALUE.search(summary):
        if flag[1] == "--dry-run":
            step = "Write --dry-run, --dry-run=client, --dry-run=server or --dry-run=none."
        else:
            step = f"Write it without `=`. {step}"
        return f"option {flag[1]} takes no value", path, step
    verb = _VERB.search(summary)
    if verb and context is not None:
        near = suggest.VERBS.get(verb[1].lower(), "")
        option_names = list(getattr(context.command, "commands", {}))
        near = near if near in option_names or " " in near else nearest(verb[1], option_names)
        return f"there is no command {verb[1]!r}", path, question(near) + step
    summary, _, _ = summary.partition(". Did you mean ")
    summary = _plain(_lower(summary.replace("Value error, ", "")))
    choice = _CHOICE.search(summary)
    near = nearest(choice[1], re.findall(r"'([^']*)'", choice[2])) if choice else ""
    return summary, path, question(near) + step


def _plain(summary: str) -> str:
    """Replace sentences of the validator by plain ones."""
    for pattern, text in _SENTENCES:
        summary = pattern.sub(text, summary)
    return summary


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
