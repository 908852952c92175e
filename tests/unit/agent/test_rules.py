"""What must not count as drift or as not ready."""

from __future__ import annotations

from typing import Any

import pytest

from agent.rules import Rules, owned_by_controllers, rules_of, without
from fleetctl.core.options import ComparePatch, DiffOptions, IgnoreOptions, Operation, Options

LIVE: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web-1", "namespace": "shop"}}


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({"kind": "Deployment"}, True),
        ({"kind": "Deployment", "api_version": "apps/v1beta1"}, True),
        ({"kind": "Deployment", "api_version": "extensions/v1beta1"}, False),
        ({"kind": "Service"}, False),
        ({"kind": "Deployment", "namespace": "shop", "name": "web-1"}, True),
        ({"kind": "Deployment", "namespace": "other"}, False),
        ({"kind": "Deployment", "name": "^web-[0-9]+$"}, True),
        ({"kind": "Deployment", "name": "^db"}, False),
        ({"kind": "Deployment", "name": "we("}, False),
    ],
)
def test_which_objects_a_rule_is_for(rule: dict[str, str], matches: bool) -> None:
    """Kind and group, then namespace and name; a name may be a regular expression."""
    assert Rules([ComparePatch(**rule, json_pointers=["/spec/replicas"])]).pointers(LIVE) == (["/spec/replicas"] if matches else [])


def test_operations() -> None:
    """remove takes a field out, ignore the whole object."""
    rules = Rules([ComparePatch(kind="Deployment", operations=[Operation(op="remove", path="/a"), Operation(op="ignore")])])
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
    options = Options(ignore=IgnoreOptions(conditions=[{"type": "Active", "status": "False"}]), diff=DiffOptions())
    live = {**LIVE, "status": {"conditions": [{"type": "Active", "status": "False"}, {"type": "Active", "status": "True"}]}}
    assert rules_of(options).healthy_view(live)["status"]["conditions"] == [{"type": "Active", "status": "True"}]


def test_fields_that_a_controller_owns() -> None:
    """The autoscaler's replicas are not drift, a person's are."""
    field = {"f:spec": {"f:replicas": {}}}
    for manager, owned in (("kube-controller-manager", {"/spec/replicas"}), ("kubectl-edit", set())):
        live = {**LIVE, "metadata": {"managedFields": [{"manager": manager, "fieldsV1": field}]}}
        assert owned_by_controllers(live, ["/spec/replicas", "/spec/paused"]) == owned
