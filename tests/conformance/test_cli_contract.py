"""What scripts rely on: commands and options, exit statuses, and where errors go. A change here is
a change for users.

`cli/commands.txt` is the frozen surface. Additions are written with `python -m
tests.conformance.test_cli_contract`; what is there stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetctl.cli.app import top_help
from fleetctl.cli.command_table import COMMANDS
from fleetctl.cli.loader import command
from fleetctl.core.model.errors import every_error
from tests.support.cli.person import Person

FROZEN = Path(__file__).with_name("cli") / "commands.txt"
DOCS = Path(__file__).parents[2] / "docs"


def _surface() -> Iterator[str]:
    """`command argument… option…` for each command."""
    for name, *_ in COMMANDS:
        found = command(name)
        for words, leaf in _leaves(name, found):
            arguments = [str(p.metavar or p.name) for p in leaf.params if not hasattr(p, "is_flag")]
            options = sorted(
                "/".join(p.opts) + ("" if p.is_flag else "=")
                for p in leaf.params
                if hasattr(p, "is_flag")
            )
            yield " ".join([words, *arguments, *options])


def _leaves(name: str, found: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(found, "commands"):
        yield from ((f"{name} {sub}", leaf) for sub, leaf in found.commands.items())
    else:
        yield name, found


def test_commands_and_options_are_the_frozen_ones():
    """Nothing goes, nothing is added in passing."""
    assert list(_surface()) == FROZEN.read_text().splitlines()


def test_top_help_is_the_tree_of_commands():
    """The table that answers --help quickly names every command of a group."""
    shown = top_help()
    for name, what, _ in COMMANDS:
        assert f"  {name} " in shown
        found = command(name)
        for sub in getattr(found, "commands", {}):
            assert re.search(rf"\b{sub}\b", what), (name, sub)


def test_every_command_explains_itself(tmp_path: Path):
    """-h and --help say the same, on stdout."""
    person = Person(tmp_path)
    for words in [
        words.split() for name, *_ in COMMANDS for words, _ in _leaves(name, command(name))
    ]:
        said = person.good(*words, "--help")
        assert said == person.good(*words, "-h")
        assert f"Usage: fleetctl {' '.join(words)}" in said


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_every_option_has_a_help_text(name: str):
    """A person who reads --help needs no other page."""
    for words, leaf in _leaves(name, command(name)):
        assert leaf.help, words
        for param in leaf.params:
            assert not hasattr(param, "is_flag") or param.help, (words, param.name)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("help", "wait"), 0),
        (("version", "--client"), 0),
        (("context", "list"), 0),
        (("completion", "bash"), 0),
        ((), 2),
        (("gitrepo",), 2),
        (("nonsense",), 2),
        (("--nonsense",), 2),
        (("status", "--nonsense"), 2),
        (("bundle", "list", "-o", "xml"), 2),
        (("gitrepo", "add", "only-a-name"), 2),
        (("wait", "--timeout"), 2),
        (("get", "pod"), 2),
        (("apply",), 2),
        (("context", "use", "nowhere"), 1),
        (("status",), 4),
        (("gitrepo", "list", "--context", "nowhere"), 1),
    ],
)
def test_exit_statuses_without_a_manager(tmp_path: Path, words: tuple[str, ...], status: int):
    """Answers on stdout, errors on stderr as at most three lines, never a trace."""
    done = Person(tmp_path).run(*words)
    assert done.status == status, done
    assert bool(done.out) == (status == 0) or words == ("context", "list")
    if status and words not in ((), ("gitrepo",)):
        assert done.err.startswith("error: ")
        assert len(done.err.splitlines()) <= 3


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("stauts",), "status"),
        (("gitrepo", "lst"), "list"),
        (("status", "--watsh"), "--watch"),
        (("bundle", "list", "-o", "jsn"), "json"),
        (("get", "clusterz"), "cluster"),
    ],
)
def test_mistakes_name_the_nearest(tmp_path: Path, words: tuple[str, ...], near: str):
    """Commands, options, their values and kinds."""
    assert f"Did you mean {near}?" in Person(tmp_path).run(*words).err


def test_options_before_the_command_are_understood(tmp_path: Path):
    """kubectl's users write -n first."""
    assert Person(tmp_path).run("-n", "team-a", "--context=nowhere", "status").status == 1


def test_exit_statuses_are_documented():
    """Every error of the tree stands in the row of its status."""
    rows = {
        line.split("|")[1].strip(): line
        for line in (DOCS / "exit-codes.md").read_text().splitlines()
        if line.startswith("| ")
    }
    for kind in every_error():
        assert f"`{kind.__name__}`" in rows[str(kind.exit_status)], kind
    assert {"0", "70", "130"} <= set(rows)


def test_every_command_is_documented():
    """docs/cli.md has a line for each, and names none that is not there."""
    text = (DOCS / "cli.md").read_text()
    leaves = [words for name, *_ in COMMANDS for words, _ in _leaves(name, command(name))]
    for words in leaves:
        assert f"`fleetctl {words}" in text, words
    known = (
        set(leaves)
        | {name for name, *_ in COMMANDS}
        | {"COMMAND", "--help", "--version", "__complete"}
    )
    for found in re.findall(r"`fleetctl ([^`]*)`", text):
        one, two = [*found.split(" "), ""][:2]
        assert f"{one} {two}" in known or one in known, found


if __name__ == "__main__":
    FROZEN.write_text("".join(f"{line}\n" for line in _surface()))
