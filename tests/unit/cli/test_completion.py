"""What a shell is offered at Tab, without a manager."""

from __future__ import annotations

import pytest

from fleetctl.cli.command_table import COMMANDS
from fleetctl.cli.completion import SCRIPTS, candidates_for


def _words(*words: str) -> list[str]:
    return [answer[0] for answer in candidates_for(list(words))]


def test_commands_and_their_own():
    """The first word is a command, the second one of the group's."""
    assert _words("") == [name for name, *_ in COMMANDS]
    assert _words("cluster") == ["cluster", "clustergroup"]
    assert _words("gitrepo", "s") == ["sync"]
    assert candidates_for(["gitrepo", "sy"])[0][1].startswith("Poll the")


def test_options_and_their_values():
    """Long and short; a flag takes no value."""
    assert "--workspace" in _words("gitrepo", "list", "--w")
    assert "--write" in _words("bundle", "diff", "web", "--w")
    assert _words("gitrepo", "list", "-o", "") == ["table", "wide", "json", "yaml", "name"]
    assert _words("validate", "-o", "s") == ["sarif"]
    assert _words("token", "create", "--role", "") == ["admin", "read"]
    assert _words("get", "-A", "clusterg") == ["clustergroup"]


def test_one_word_with_an_equals_sign():
    """As zsh and fish hand it over whole, and bash in three words."""
    assert _words("gitrepo", "list", "--output=j") == ["--output=json"]
    assert _words("gitrepo", "list", "--output", "=", "j") == ["json"]
    assert "table" in _words("gitrepo", "list", "--output", "=")


def test_kinds():
    """`get`, `delete` and `wait` take a kind first."""
    assert _words("get", "bu") == ["bundle", "bundledeployment"]
    assert _words("wait", "ro") == ["rollout"]
    assert _words("get", "ro") == []
    assert _words("wait", "bundle", "web", "--for", "s") == ["synced", "state="]
    assert _words("completion", "") == list(SCRIPTS)


@pytest.mark.parametrize(
    "words",
    [
        ("gitrepo", "add", ""),
        ("apply", "-f", ""),
        ("cluster", "register", ""),
        ("bundle", "diff", "web", "--ignore-rule", "--write", ""),
    ],
)
def test_new_names_and_files_are_left_to_the_shell(words: tuple[str, ...]):
    """Nothing is offered, and the shell falls back to files."""
    assert _words(*words) == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_ask_the_program(shell: str):
    """Each calls the same hidden command."""
    assert "fleetctl __complete" in SCRIPTS[shell]
