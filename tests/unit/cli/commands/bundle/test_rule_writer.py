"""`bundle diff --ignore-rule --write FILE`: what it prints, and what it does to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetctl.cli.commands.bundle.rule_writer import write_rules
from fleetctl.core.model.errors import UsageError
from tests.support.cli.person import Person

RULE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "name": "web",
    "jsonPointers": ["/data/a"],
}
TEXT = "namespace: shop # ours\n"


def test_the_file_gets_the_rules_and_keeps_its_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A symbolic link stays one; nothing else is left in the folder."""
    file, link = tmp_path / "fleet.yaml", tmp_path / "link.yaml"
    file.write_text(TEXT)
    file.chmod(0o640)
    link.symlink_to(file)
    write_rules(link, [RULE], dry_run=False)
    assert capsys.readouterr().out == f"{link}: 1 rule added\n"
    assert file.read_text().startswith(f"{TEXT}diff:\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"fleet.yaml", "link.yaml"}
    write_rules(link, [RULE], dry_run=False)
    assert "has these rules already" in capsys.readouterr().err
    more = RULE | {"jsonPointers": ["/data/b"]}
    write_rules(link, [more, RULE | {"name": "db"}], dry_run=False)
    assert capsys.readouterr().out == f"{link}: 1 rule added, 1 rule extended\n"


def test_a_dry_run_prints_the_change_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(TEXT)
    write_rules(file, [RULE], dry_run=True)
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == [f"--- {file} (before)", f"+++ {file} (after)"]
    assert "+diff:" in out
    assert file.read_text() == TEXT


def test_without_differences_the_file_does_not_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(TEXT)
    write_rules(file, [], dry_run=False)
    assert capsys.readouterr().err == f"Nothing differs; {file} does not change.\n"
    assert file.read_text() == TEXT


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        write_rules(tmp_path / "none.yaml", [RULE], dry_run=False)
    with pytest.raises(UsageError, match="is a folder") as refusal:
        write_rules(tmp_path, [RULE], dry_run=False)
    assert str(tmp_path / "fleet.yaml") in refusal.value.next_step


@pytest.mark.parametrize(
    ("options", "summary"),
    [
        (("--write", "fleet.yaml"), "--write needs --ignore-rule"),
        (("--ignore-rule", "--dry-run"), "--dry-run needs --write"),
    ],
)
def test_options_that_need_another_one(
    tmp_path: Path, options: tuple[str, ...], summary: str
) -> None:
    result = Person(tmp_path).run("bundle", "diff", "web", *options)
    assert (result.status, result.err.splitlines()[0]) == (2, f"error: {summary}")
