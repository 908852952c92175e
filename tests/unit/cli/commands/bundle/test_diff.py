"""What `fleetctl bundle diff` says of objects, and the rules that it writes."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.cli.commands.bundle.diff import difference_lines, difference_title
from fleetctl.cli.commands.bundle.ignore_rules import ignore_rules

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "web"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"state": "Modified"}, "ConfigMap shop/web is Modified"),
        ({"state": "Missing"}, "ConfigMap shop/web is Missing: Git has it, the cluster has not"),
        (
            {"state": "Orphaned"},
            (
                "ConfigMap shop/web is Orphaned: the cluster has it, marked as this release's, Git"
                " has not"
            ),
        ),
        (
            {"state": "Modified", "owner": "other/db"},
            "ConfigMap shop/web belongs to release other/db now",
        ),
        (
            {"state": "NotReady", "message": "0 of 1"},
            "ConfigMap shop/web is Modified, and NotReady: 0 of 1",
        ),
    ],
)
def test_titles(more: dict[str, Any], said: str) -> None:
    """The object, and in which way it is not as it should be."""
    assert difference_title(CONFIG | more) == said


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ({"wanted": '"1"', "live": '"2"'}, '/data/a: Git says "1", the cluster has "2"'),
        ({"wanted": '"1"'}, '/data/a: Git says "1", the cluster has nothing'),
        ({"live": "null"}, "/data/a: Git says nothing, the cluster has null"),
        (
            {"wanted": "(not shown)", "live": "(not shown)"},
            "/data/a: differs (the values of a Secret are not shown)",
        ),
        (
            {"wanted": "(not shown)"},
            "/data/a: only Git has it (the values of a Secret are not shown)",
        ),
    ],
)
def test_fields(difference: dict[str, str], said: str) -> None:
    """Both values, or who has one."""
    assert difference_lines({"differences": [{"pointer": "/data/a", **difference}]}) == [said]


def deployment(rules: list[dict[str, Any]], *found: dict[str, Any]) -> dict[str, Any]:
    return {
        "spec": {"options": {"diff": {"comparePatches": rules}}},
        "status": {"modifiedStatus": list(found)},
    }


def test_rules_that_exist_are_kept_and_joined() -> None:
    """Those of fleet.yaml first, as they are; a field of an object that has a rule joins it; what
    is missing is left to itself.
    """
    old = {
        **CONFIG,
        "jsonPointers": ["/data/z"],
        "operations": [{"op": "remove", "path": "/data/y"}],
    }
    other = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "^w",
        "jsonPointers": ["/spec/replicas"],
    }
    changed = {
        **CONFIG,
        "state": "Modified",
        "differences": [{"pointer": "/data/a"}, {"pointer": "/data/z"}],
    }
    gone = {
        "apiVersion": "v1",
        "kind": "Secret",
        "namespace": "shop",
        "name": "gone",
        "state": "Missing",
    }
    found = ignore_rules([deployment([other, old], changed), deployment([other], gone, changed)])
    assert found == [
        other,
        {
            **CONFIG,
            "jsonPointers": ["/data/z", "/data/a"],
            "operations": [{"op": "remove", "path": "/data/y"}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": "shop",
            "name": "gone",
            "operations": [{"op": "ignore"}],
        },
    ]
