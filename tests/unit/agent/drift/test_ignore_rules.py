"""What must not count as drift or as not ready."""

from __future__ import annotations

from typing import Any

import pytest

from agent.drift.diff import MISSING, FieldChange
from agent.drift.ignore_rules import Rules, outside_pointers, rules_of, without
from fleetctl.core.model.options import ComparePatch, DiffOptions, IgnoreOptions, Operation, Options

LIVE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web-1", "namespace": "shop"},
}


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({"kind": "Deployment", "api_version": "apps/v1"}, True),
        ({"kind": "Deploy*", "api_version": "*/v1"}, True),
        ({"kind": "Deployment"}, False),
        ({"api_version": "apps/v1"}, False),
        ({"kind": "Deployment", "api_version": "apps/v1beta1"}, True),
        ({"kind": "Deployment", "api_version": "extensions/v1beta1"}, False),
        ({"kind": "Service"}, False),
        (
            {"kind": "Deployment", "api_version": "apps/v1", "namespace": "shop", "name": "web-1"},
            True,
        ),
        ({"kind": "Deployment", "api_version": "apps/v1", "namespace": "other"}, False),
        ({"kind": "Deployment", "api_version": "apps/v1", "name": "^web-[0-9]+$"}, True),
        ({"kind": "Deployment", "api_version": "apps/v1", "name": "^db"}, False),
        ({"kind": "Deployment", "api_version": "apps/v1", "name": "we("}, False),
    ],
)
def test_which_objects_a_rule_is_for(rule: dict[str, str], matches: bool) -> None:
    """Kind and group as globs, both of them, then namespace and name; a name may be a regular
    expression.
    """
    assert Rules([ComparePatch(**rule, json_pointers=["/spec/replicas"])]).pointers(LIVE) == (
        ["/spec/replicas"] if matches else []
    )


def test_operations() -> None:
    """remove takes a field out, ignore the whole object."""
    rules = Rules(
        [
            ComparePatch(
                api_version="apps/v1",
                kind="Deployment",
                operations=[Operation(op="remove", path="/a"), Operation(op="ignore")],
            )
        ]
    )
    assert rules.pointers(LIVE) == ["/a"]
    assert rules.passes_over(LIVE)
    assert not Rules().passes_over(LIVE)


@pytest.mark.parametrize(
    ("pointer", "left"),
    [
        ("/a/b", {"a": {"c/d": 2}, "l": [{"x": 1}, 2]}),
        ("/a/c~1d", {"a": {"b": 1}, "l": [{"x": 1}, 2]}),
        ("/l/0/x", {"a": {"b": 1, "c/d": 2}, "l": [{}, 2]}),
        ("/l/1", {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}]}),
        ("/gone/x", {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}),
        ("/l/²/x", {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}),
        ("/l/²", {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}),
        (f"/l/{'9' * 5000}/x", {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}),
        ("/l/9/x", {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}),
    ],
)
def test_fields_are_taken_out(pointer: str, left: dict[str, Any]) -> None:
    """By JSON pointer; the object itself stays as it was."""
    item = {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}
    assert without(item, [pointer]) == left
    assert item == {"a": {"b": 1, "c/d": 2}, "l": [{"x": 1}, 2]}


def test_conditions_that_do_not_count() -> None:
    """All keys of an entry must hold."""
    options = Options(
        ignore=IgnoreOptions(conditions=[{"type": "Active", "status": "False"}]), diff=DiffOptions()
    )
    live = {
        **LIVE,
        "status": {
            "conditions": [
                {"type": "Active", "status": "False"},
                {"type": "Active", "status": "True"},
            ]
        },
    }
    assert rules_of(options).healthy_view(live)["status"]["conditions"] == [
        {"type": "Active", "status": "True"}
    ]


@pytest.mark.parametrize(
    ("change", "pointers", "left"),
    [
        (FieldChange("/spec/replicas", 2, 5), ["/spec/replicas"], None),
        (FieldChange("/spec/replicas", 2, 5), ["/spec"], None),
        (FieldChange("/spec/replicas", 2, 5), ["/spec/rep"], FieldChange("/spec/replicas", 2, 5)),
        (
            FieldChange("/metadata/annotations", {"a": "1"}, MISSING),
            ["/metadata/annotations/a"],
            None,
        ),
        (
            FieldChange("/data", {"a": "1", "b": "2"}, MISSING),
            ["/data/a"],
            FieldChange("/data", {"b": "2"}, MISSING),
        ),
        (FieldChange("/x", [1, 2], [1, 3]), ["/x/1"], None),
    ],
)
def test_what_is_left_of_a_change(
    change: FieldChange, pointers: list[str], left: FieldChange | None
) -> None:
    """A rule takes a change whole, or the part of it that it names."""
    assert outside_pointers([change], pointers) == ([left] if left else [])


@pytest.mark.parametrize(
    ("operations", "pointers"),
    [
        ([Operation(op="replace", path="/spec/replicas", value="1")], ["/spec/replicas"]),
        ([Operation(op="add", path="/spec/replicas", value="1")], ["/spec/replicas"]),
        ([Operation(op="add", path="/spec/list/0/x", value="{}")], ["/spec/list/0/x"]),
        (
            [
                Operation(op="add", path="/spec/list/0", value="{}"),
                Operation(op="add", path="/spec/list/-", value="1"),
            ],
            [],
        ),
        ([Operation(op="replace", path="/spec/list/-1/x", value="1")], ["/spec/list/1/x"]),
        ([Operation(op="remove", path="/spec/list/-3/x")], ["/spec/list/-3/x"]),
        (
            [
                Operation(op="test", path="/spec/replicas", value="7"),
                Operation(op="remove", path="/a~1b/c~0d"),
            ],
            ["/a~1b/c~0d"],
        ),
        (
            [
                Operation(op="move", path="/a"),
                Operation(op="copy", path="/b"),
                Operation(op="nonsense", path="/c"),
            ],
            [],
        ),
        (
            [
                Operation(op="remove", path="/gone/x"),
                Operation(op="remove", path="no"),
                Operation(op="replace", path="/b"),
            ],
            ["/gone/x", "/b"],
        ),
    ],
)
def test_what_operations_leave_out(operations: list[Operation], pointers: list[str]) -> None:
    """Fields that an operation makes equal on both sides; one that does not fit voids no other."""
    live = {**LIVE, "spec": {"replicas": 3, "list": [{"x": 1}, {"x": 2}]}}
    assert (
        Rules(
            [ComparePatch(api_version="apps/v1", kind="Deployment", operations=operations)]
        ).pointers(live)
        == pointers
    )
