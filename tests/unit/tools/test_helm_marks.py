"""helm's marks, and its two ways of reading the resource policy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fleetctl.tools import helm_marks
from fleetctl.tools.helm_marks import (
    KEEP,
    MANAGED_LABEL,
    RELEASE_NAME,
    RELEASE_NAMESPACE,
    RESOURCE_POLICY,
    add_marks,
    kept_by_uninstall,
    kept_by_upgrade,
    owner_of,
    owner_text,
    without_marks,
)

ROOT = Path(helm_marks.__file__).parents[2]


@pytest.mark.parametrize(
    ("policy", "is_kept"),
    [("keep", True), (" Keep\n", True), ("KEEP", True), ("delete", False), ("", False)],
)
def test_an_uninstall_trims_the_policy_and_ignores_its_case(policy: str, is_kept: bool) -> None:
    assert kept_by_uninstall({RESOURCE_POLICY: policy}) is is_kept


@pytest.mark.parametrize(
    ("policy", "is_kept"),
    [("keep", True), (" Keep\n", False), ("KEEP", False), ("delete", False), ("", False)],
)
def test_an_upgrade_compares_the_policy_exactly(policy: str, is_kept: bool) -> None:
    assert kept_by_upgrade({RESOURCE_POLICY: policy}) is is_kept


@pytest.mark.parametrize("annotations", [None, {}, [], {"other": "x"}, {RELEASE_NAME: ""}])
def test_an_object_without_marks_has_no_owner_and_no_policy(annotations: object) -> None:
    assert owner_of(annotations) is None
    assert owner_text(annotations) == ""
    assert not kept_by_uninstall(annotations)
    assert not kept_by_upgrade(annotations)


def test_marks_name_the_release_and_can_be_removed() -> None:
    """What the object states itself stays."""
    meta = {"name": "a", "labels": {"x": "1"}, "annotations": {"y": "2"}}
    marked = dict(meta)
    add_marks(marked, "web", "shop")
    assert owner_of(marked["annotations"]) == ("web", "shop")
    assert owner_text(marked["annotations"]) == "shop/web"
    assert marked["labels"] == {"x": "1", MANAGED_LABEL: "Helm"}
    assert without_marks(marked) == meta
    assert without_marks({"name": "a", "annotations": {RELEASE_NAMESPACE: "shop"}}) == {"name": "a"}


def test_no_other_module_spells_the_marks() -> None:
    """One place in the three programs; prose in docstrings and messages may quote a mark."""
    marks = {MANAGED_LABEL, RELEASE_NAME, RELEASE_NAMESPACE, RESOURCE_POLICY}
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("fleetctl", "agent", "manager")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and node.value in marks
    ]
    assert set(found) == {"fleetctl/tools/helm_marks.py"}
    assert KEEP == "keep"
