"""A reader finds the code of a command by its name, and no folder of the CLI is too full to look
through.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fleetctl.cli.commands
from fleetctl.cli.command_table import SECTIONS
from fleetctl.cli.loader import command

COMMANDS_FOLDER = Path(fleetctl.cli.commands.__file__).parent
MOST_MODULES = 15
# Sections of the help that are folders below commands/.
FOLDERS = {"Work on a repository without a manager": "local", "Access and settings": "settings"}
# Makes the commands that several kinds have in common: list, get, pause, resume.
FACTORY = "fleetctl.cli.objects.kind_commands"


def file_name(word: str) -> str:
    return word.replace("-", "_")


def leaves() -> Iterator[tuple[str, str, Any]]:
    """(words as typed, the module where a reader looks, the command)."""
    for title, entries in SECTIONS:
        folder = f"{FOLDERS[title]}." if title in FOLDERS else ""
        for name, _, _ in entries:
            command_or_group = command(name)
            module = f"{folder}{file_name(name)}"
            for sub, leaf in getattr(command_or_group, "commands", {}).items():
                yield f"{name} {sub}", f"{module}.{file_name(sub)}", leaf
            if not hasattr(command_or_group, "commands"):
                yield name, module, command_or_group


@pytest.mark.parametrize(("words", "module", "leaf"), list(leaves()), ids=str)
def test_a_command_is_in_the_module_of_its_name(words: str, module: str, leaf: Any) -> None:
    """A small group of commands is one module."""
    found = leaf.callback.__module__
    if found == FACTORY:
        return
    name = found.removeprefix("fleetctl.cli.commands.")
    group = module.rpartition(".")[0]
    assert name in {module, group} - {"", *FOLDERS.values()}, f"fleetctl {words} is in {name}"


@pytest.mark.parametrize(
    "folder",
    [COMMANDS_FOLDER.parent, *(p.parent for p in COMMANDS_FOLDER.parent.glob("*/**/__init__.py"))],
    ids=lambda path: path.name,
)
def test_no_folder_has_more_than_15_modules(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST_MODULES
