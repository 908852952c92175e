"""An argparse parser whose errors are UsageErrors in the form of `fleetctl`: a sentence, a
suggestion, the next step.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from fleetctl.core.model.errors import UsageError
from fleetctl.core.text.suggest import did_you_mean, nearest_option, question

_NOT_A_NUMBER = re.compile(r"invalid (int|float) value: (.*)")
_NO_CHOICE = re.compile(r"invalid choice: '([^']*)'")
_MISSING = "the following arguments are required: "


class Parser(argparse.ArgumentParser):
    """Parses the command line of a program; `parse` raises UsageError for wrong words."""

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Raises UsageError. `--help` and `--version` end the process, as argparse does."""
        _check_words(self, list(words))
        return self.parse_args(words)

    def error(self, message: str) -> NoReturn:
        """argparse calls this with its own sentence. Raises UsageError."""
        step = f"See `{self.prog} --help`."
        if message.startswith(_MISSING):
            raise UsageError(
                f"missing: {message.removeprefix(_MISSING)}", subject=self.prog, next_step=step
            )
        name, colon, detail = message.removeprefix("argument ").partition(": ")
        if not colon:
            raise UsageError(message, subject=self.prog, next_step=step)
        if number := _NOT_A_NUMBER.fullmatch(detail):
            kind = "a whole number" if number[1] == "int" else "a number"
            raise UsageError(
                f"{name}: {number[2]} is not {kind}", subject=self.prog, next_step=step
            )
        if choice := _NO_CHOICE.match(detail):
            choices = self._choices(name)
            step = did_you_mean(choice[1], choices) + f"Valid values: {', '.join(choices)}."
            raise UsageError(
                f"{name}: {choice[1]!r} is not a valid value", subject=self.prog, next_step=step
            )
        detail = {"expected one argument": "a value is missing"}.get(detail, detail)
        raise UsageError(f"{name}: {detail}", subject=self.prog, next_step=step)

    def _choices(self, name: str) -> list[str]:
        actions = (
            action
            for action in self._actions
            if "/".join(action.option_strings) == name or action.dest == name
        )
        return [str(choice) for action in actions for choice in action.choices or ()]


def _check_words(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Raises UsageError for the first command or option that does not exist.

    argparse reports a missing option before an unknown one, which hides that the option was written
    wrongly.
    """
    rest = iter(words)
    commands = _commands(parser)
    if commands and not words:
        step = f"Commands: {', '.join(_visible(parser))}. See `{parser.prog} --help`."
        raise UsageError("no command is given", subject=parser.prog, next_step=step)
    for word in rest:
        if word == "--":
            return
        if word.startswith("-") and len(word) > 1:
            _check_option(parser, word, rest)
        elif commands:
            if word not in commands:
                near = did_you_mean(word, _visible(parser))
                step = f"{near}See `{parser.prog} --help`."
                raise UsageError(
                    f"there is no command {word[:80]!r}", subject=parser.prog, next_step=step
                )
            _check_words(commands[word], list(rest))
            return


def _check_option(parser: argparse.ArgumentParser, word: str, rest: Iterator[str]) -> None:
    """Skip the option's value. Raises UsageError for an option that the parser does not have."""
    # the only table of options that argparse has
    options: dict[str, argparse.Action] = parser._option_string_actions
    name, equals, _ = word.partition("=")
    fitting = [
        option
        for option in options
        if option == name or (name.startswith("--") and option.startswith(name))
    ]
    if not fitting:
        near = question(nearest_option(name, options))
        step = f"{near}See `{parser.prog} --help`."
        raise UsageError(f"there is no option {name[:80]}", subject=parser.prog, next_step=step)
    action = options[name if name in fitting else fitting[0]]
    if not equals and action.nargs != 0:
        next(rest, None)


def _commands(parser: argparse.ArgumentParser) -> dict[str, Any]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _visible(parser: argparse.ArgumentParser) -> list[str]:
    """The commands that help lists; others are for the program itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [choice.dest for choice in action._choices_actions]
    return []
