"""Fields that a controller has set as its duty."""

from __future__ import annotations

from typing import Any

import pytest

from agent.drift.diff import MISSING, FieldChange
from agent.drift.field_owners import controller_pointers


def live(
    manager: str, fields: dict[str, Any], subresource: str = "", **more: Any
) -> dict[str, Any]:
    entry = {"manager": manager, "operation": "Update", "fieldsV1": fields} | (
        {"subresource": subresource} if subresource else {}
    )
    return {
        "metadata": {
            "managedFields": [{"manager": "helm", "fieldsV1": {}, "operation": "Apply"}, entry]
        },
        **more,
    }


REPLICAS = {"f:spec": {"f:replicas": {}}}


@pytest.mark.parametrize(
    ("manager", "subresource", "owned"),
    [
        ("kube-controller-manager", "scale", True),
        ("kube-controller-manager", "", True),
        ("my-autoscaler", "scale", True),
        ("keda-operator", "", True),
        ("kubectl", "scale", False),
        ("kubectl-scale", "scale", False),
        ("k9s", "scale", False),
        ("kubectl-edit", "", False),
        ("my-autoscaler", "", False),
    ],
)
def test_replicas(manager: str, subresource: str, owned: bool) -> None:
    """An autoscaler's are its own; a person's are drift, by whatever tool."""
    found = controller_pointers(
        live(manager, REPLICAS, subresource),
        [FieldChange("/spec/replicas", 2, 5), FieldChange("/spec/paused", False, True)],
    )
    assert found == ({"/spec/replicas"} if owned else set())


HOOKS = {"f:webhooks": {'k:{"name":"a.b"}': {".": {}, "f:clientConfig": {"f:caBundle": {}}}}}
WEBHOOKS = [{"name": "x"}, {"name": "a.b", "clientConfig": {"caBundle": "live"}}]


@pytest.mark.parametrize(
    ("pointer", "owned"),
    [
        ("/webhooks/1/clientConfig/caBundle", True),
        ("/webhooks/0/clientConfig/caBundle", False),
        ("/webhooks/1/clientConfig", False),
        ("/webhooks/1/rules", False),
        ("/webhooks/9/clientConfig/caBundle", False),
        ("/webhooks", False),
    ],
)
def test_inside_a_list(pointer: str, owned: bool) -> None:
    """An item of a list is found by its keys; who owns something below a field does not own the
    field.
    """
    item = live("cert-manager-cainjector", HOOKS, webhooks=WEBHOOKS)
    assert controller_pointers(item, [FieldChange(pointer, "stated", "live")]) == (
        {pointer} if owned else set()
    )


@pytest.mark.parametrize(("stated", "owned"), [("", True), ("Cg==", True), ("bXkgb3du", False)])
def test_a_bundle_that_is_to_be_filled_in(stated: str, owned: bool) -> None:
    """Nothing, or one newline, is a placeholder whoever fills it; a stated bundle is meant."""
    change = FieldChange("/webhooks/0/clientConfig/caBundle", stated, "live")
    assert controller_pointers(live("my-operator", {}, webhooks=WEBHOOKS), [change]) == (
        {change.pointer} if owned else set()
    )


def test_sets_and_whole_values() -> None:
    """A value of a set by itself; what is owned as one value is owned in its parts."""
    item = live("keda", {"f:a": {'v:"x"': {}, "v:odd": {}}, "f:b": {}}, a=["x", "y"], b={"c": 1})
    assert controller_pointers(
        item,
        [FieldChange("/a/0", "q", "x"), FieldChange("/a/1", "q", "y"), FieldChange("/b/c", 2, 1)],
    ) == {"/a/0", "/b/c"}


@pytest.mark.parametrize(
    ("bundle", "placeholder"),
    [
        ("", True),
        ("Cg==", True),
        ("ICA=", True),
        (None, True),
        (MISSING, True),
        ("LS0t", False),
        ("x", False),
    ],
)
def test_what_stands_for_a_ca_bundle_that_is_filled_in(bundle: object, placeholder: bool) -> None:
    """In every kind that has one, whoever fills it in."""
    for pointer in (
        "/webhooks/0/clientConfig/caBundle",
        "/spec/caBundle",
        "/spec/conversion/webhook/clientConfig/caBundle",
    ):
        assert (
            controller_pointers({}, [FieldChange(pointer, bundle, "abc")]) == {pointer}
        ) is placeholder
