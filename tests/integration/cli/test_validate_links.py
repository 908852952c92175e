"""`validate` and symbolic links: what the scan follows is checked, what it refuses is an error."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.cli.person import Person


def test_a_fleet_yaml_that_is_a_link_is_checked_where_it_stands(
    person: Person, tmp_path: Path
) -> None:
    """Also one that leads nowhere."""
    for folder in ("a", "b", "common"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.yaml").write_text(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n"
        )
    (tmp_path / "common" / "options.yaml").write_text("namespacee: x\n")
    (tmp_path / "a" / "fleet.yaml").symlink_to("../common/options.yaml")
    (tmp_path / "b" / "fleet.yaml").symlink_to("../gone.yaml")
    got = person.run("validate", str(tmp_path))
    assert got.status == 1
    assert "a/fleet.yaml:1:1: error" in got.out
    assert "b/fleet.yaml:1:1: error: the symbolic link to ../gone.yaml leads to no file" in got.out
    shutil.rmtree(tmp_path / "b")
    assert "namespacee" in person.run("validate", str(tmp_path / "a" / "fleet.yaml")).out
