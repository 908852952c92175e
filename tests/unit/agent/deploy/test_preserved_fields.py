"""Live values take the place of stated ones exactly where a field is somebody else's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.drift.ignore_rules import NONE, Rules
from agent.release.preserved_fields import may_concern, substitute_for
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.options import ComparePatch, Operation
from fleetctl.tools.field_substitution import Substitute, projected, substitute, substituted

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


def deployment(replicas: int | None, image: str = "web:1", **labels: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}
    meta: dict[str, Any] = {"name": "web", "namespace": "shop"} | (
        {"labels": labels} if labels else {}
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": ({"replicas": replicas} if replicas else {}) | spec,
    }


def scaled(item: dict[str, Any], manager: str) -> dict[str, Any]:
    owner = {"manager": manager, "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return {**item, "metadata": {**item["metadata"], "managedFields": [owner]}}


def rules(*pointers: str, op: str = "") -> Rules:
    operations = [Operation(op=op)] if op else None
    return Rules(
        [
            ComparePatch(
                api_version="apps/v1",
                kind="Deployment",
                json_pointers=list(pointers) or None,
                operations=operations,
            )
        ]
    )


class TestSubstituteFor:
    def test_what_an_autoscaler_set_stays(self) -> None:
        """Stated or not; what a person set does not."""
        live = scaled(deployment(5), "kube-controller-manager")
        for stated in (1, None):
            found = substitute_for(deployment(stated), live, NONE, "shop")
            assert found is not None
            assert found.live == {"/spec/replicas": 5}
        assert substitute_for(deployment(1), scaled(deployment(5), "kubectl"), NONE, "shop") is None

    def test_a_rule_counts_for_what_differs(self) -> None:
        """Also for a field that is stated and gone, or that only a later manifest may state."""
        wanted, live = deployment(1, tier="a"), deployment(1, "hand")
        image = "/spec/template/spec/containers/0/image"
        found = substitute_for(
            wanted, live, rules("/metadata/labels/tier", image, "/spec/replicas"), "shop"
        )
        assert found == Substitute(
            group="apps",
            kind="Deployment",
            namespace="shop",
            name="web",
            live={image: "hand"},
            gone=["/metadata/labels/tier"],
        )
        assert (
            substitute_for(deployment(None), deployment(3), rules("/spec/replicas"), "shop")
            is not None
        )

    def test_nothing_for_an_object_that_is_as_it_should_be(self) -> None:
        """Under rules, too."""
        assert (
            substitute_for(
                deployment(1), deployment(1), rules("/spec/replicas", op="ignore"), "shop"
            )
            is None
        )

    def test_plain_kinds_are_looked_at_only_for_a_rule(self) -> None:
        """A ConfigMap has no controller."""
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}
        rule = Rules([ComparePatch(kind="ConfigMap", namespace="shop", json_pointers=["/data/a"])])
        assert [may_concern(item, r, "shop") for r in (NONE, rule)] == [False, True]
        assert not may_concern(item, rule, "elsewhere")


class TestSubstitute:
    @given(VALUES, VALUES)
    def test_only_what_is_stated_is_taken_over(self, wanted: Any, live: Any) -> None:
        """Twice is once, and no key appears that was not there."""
        once = projected(wanted, live)
        assert projected(once, live) == once
        if isinstance(wanted, dict) and isinstance(live, dict):
            assert once.keys() == wanted.keys() & live.keys()

    @given(VALUES)
    def test_a_live_object_that_is_the_same_changes_nothing(self, value: Any) -> None:
        """Whatever it is."""
        document = {"kind": "X", "spec": value}
        one = Substitute(
            kind="X", name="x", live={"/spec": value, "/none/such": 1}, gone=["/other"]
        )
        assert substitute(document, one) == document

    def test_documents_that_are_not_touched_keep_their_bytes(self) -> None:
        """The others are written anew; what Git states is given back."""
        text = b"---\n# kept\napiVersion: v1\nkind: A\nmetadata: {name: a}\nx: '0644'\n"
        text += b"---\napiVersion: v1\nkind: B\nmetadata: {name: b}\nx: 1\n"
        new, before = substituted(
            text, [Substitute(kind="B", namespace="ns", name="b", live={"/x": 2})], "ns"
        )
        assert new.startswith(text[: text.index(b"---\napiVersion")])
        assert load(new.rpartition(b"---\n")[2])["x"] == 2
        assert [item["x"] for item in before] == [1]
        assert substituted(
            text, [Substitute(kind="B", namespace="ns", name="b", live={"/x": 1})], "ns"
        ) == (text, [])

    def test_objects_in_a_list_too(self) -> None:
        """Each by its own name."""
        text = (
            b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: B, metadata: {name: b},"
            b" x: 1}\n"
        )
        new, _ = substituted(
            text,
            [
                Substitute(
                    kind="B",
                    namespace="ns",
                    name="b",
                    live={"": {"apiVersion": "v1", "kind": "B", "x": 2}},
                )
            ],
            "ns",
        )
        assert load(new.removeprefix(b"---\n"))["items"] == [
            {"apiVersion": "v1", "kind": "B", "x": 2}
        ]
