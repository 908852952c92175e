"""Writes ignore rules into a fleet.yaml, or prints the change."""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from fleetctl.cli.commands.bundle.ignore_rules import Rule
from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count
from fleetctl.core.model.errors import UsageError


def write_rules(path: Path, rules: Sequence[Rule], *, dry_run: bool) -> None:
    """Add `rules` to the file. With `dry_run`, print a unified diff instead.

    Raises UsageError, and InvalidFile for a file that cannot be edited safely.
    """
    # ruamel.yaml costs 40 ms, and only this option needs it
    from fleetctl.cli.commands.bundle.fleet_yaml_edit import add_rules

    data = _read(path)
    edit = add_rules(data, rules, file=str(path))
    if not rules:
        out.say(f"Nothing differs; {path} does not change.")
    elif not edit.added_rules and not edit.extended_rules:
        out.say(f"{path} has these rules already.")
    elif dry_run:
        _print_change(path, data.decode(), edit.text)
    else:
        _replace(path, edit.text)
        amounts = [f"{format_count(edit.added_rules, 'rule')} added"] if edit.added_rules else []
        amounts += (
            [f"{format_count(edit.extended_rules, 'rule')} extended"] if edit.extended_rules else []
        )
        out.line(f"{path}: {', '.join(amounts)}")
        out.say("Commit and push the file: the fields then no longer count as differences.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        step = "Correct the path, or create an empty fleet.yaml."
        raise UsageError(f"{path} does not exist", subject="--write", next_step=step) from error
    except IsADirectoryError as error:
        step = f"Write --write {path / 'fleet.yaml'}."
        raise UsageError(f"{path} is a folder", subject="--write", next_step=step) from error
    except OSError as error:
        summary = f"{path} cannot be read: {error.strerror}"
        raise UsageError(summary, subject="--write", next_step="Correct the path.") from error


def _print_change(path: Path, old: str, new: str) -> None:
    names = f"{path} (before)", f"{path} (after)"
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
    out.diff("\n".join(lines))


def _replace(path: Path, text: str) -> None:
    """The whole file at once, with the mode that it has; a symbolic link stays a link."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        mode = target.stat().st_mode & 0o777
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        summary = f"{path} cannot be written: {error.strerror}"
        raise UsageError(summary, subject="--write", next_step="Correct the path.") from error
