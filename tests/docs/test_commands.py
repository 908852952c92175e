"""Every command line that the documents show can be parsed: its command and all of its options
exist.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import command_line as agent_command_line
from fleetctl.cli.app import main
from fleetctl.cli.examples import EXAMPLES
from fleetctl.cli.loader import command
from fleetctl.core.model.errors import FleetError
from manager import config as manager_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:fleetctl|fleet-agent|fleet-manager) [^`]+)`")
_PROGRAM = re.compile(r"^(?:\$ |sudo )?((?:fleetctl|fleet-agent|fleet-manager) .*)$")


def lines_of(page: Path) -> Iterator[str]:
    text = page.read_text()
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := _PROGRAM.match(line.strip()):
                yield found[1]
    yield from (re.sub(r"\s+", " ", line) for line in _INLINE.findall(_FENCE.sub("", text)))


def words_of(line: str) -> list[str]:
    """The words up to a comment, a pipe or another command; "" for a line that is no command
    line.
    """
    line = re.split(r"\s#|\s[|>]|\s&&|\s<<|;|…|\.\.\.", line)[0]
    try:
        return shlex.split(line)
    except ValueError:
        return []


LINES = sorted({(page.name, line) for page in PAGES for line in lines_of(page)})
LINES += [
    (f"--help of {path}", line)
    for path, lines in EXAMPLES.items()
    for line in lines
    if line.startswith("fleetctl ")
]


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_documented_command_exists(page: str, line: str) -> None:
    words = words_of(line)
    if len(words) < 2:
        return
    program, rest = words[0], words[1:]
    if program == "fleetctl":
        check_fleetctl(rest)
    else:
        parser = (
            agent_command_line.build_parser()
            if program == "fleet-agent"
            else manager_config.parser()
        )
        check_argparse(parser, rest)


def check_fleetctl(words: list[str]) -> None:
    if words[0] in {"COMMAND", "--version", "--help"} or "|" in words[0]:
        return
    found: Any = command(words[0])
    rest = words[1:]
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        alternatives = rest[0].split("|")  # `rollout status|pause`
        assert set(alternatives) <= set(found.commands), f"no command {rest[0]}"
        found, rest = found.commands[alternatives[0]], rest[1:]
    known = {name for param in found.params for name in (*param.opts, *param.secondary_opts)} | {
        "--help",
        "-h",
    }
    assert not (options_of(rest) - known), f"no option {options_of(rest) - known}"


def options_of(words: list[str]) -> set[str]:
    names = {
        word.strip("[]").partition("=")[0] for word in words if word.strip("[]").startswith("-")
    }
    return {part for name in names for part in name.split("|") if len(part) > 1 and part != "--"}


def check_argparse(parser: Any, words: list[str]) -> None:
    known = {"--help", "-h"}
    while parser is not None:
        known |= set(parser._option_string_actions)
        choices = next(
            (a.choices for a in parser._actions if a.choices and isinstance(a.choices, dict)), None
        )
        if choices is None or not words or words[0].startswith("-"):
            break
        name = words[0].split("|")[0]
        assert name in choices, f"no command {name}"
        parser, words = choices[name], words[1:]
    assert not (options_of(words) - known), f"no option {options_of(words) - known}"


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_are_shown_by_the_help_of_their_command(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert all(line in text for line in EXAMPLES[path])
    assert "<list[" not in text
    assert "<str>" not in text


@pytest.mark.parametrize("words", [["status", "--nope"], ["gitrepo", "nope"], ["nope"]])
def test_a_wrong_command_would_be_found(words: list[str]) -> None:
    with pytest.raises((AssertionError, FleetError)):
        check_fleetctl(words)
