"""What differs between two objects, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from agent.drift.diff import (
    MISSING,
    FieldChange,
    changes,
    differences,
    patch,
    sentence,
    to_changes,
    to_differences,
)


class TestDifferences:
    def test_only_stated_fields_count(self) -> None:
        """Defaults and what others add are no drift; another value of a stated field is."""
        live = {"data": {"a": "2", "b": "added"}, "status": {"x": 1}}
        assert differences({"data": {"a": "1"}, "status": {"x": 2}}, live) == {"/data/a": "2"}

    def test_the_same_amount_written_otherwise_is_no_drift(self) -> None:
        """Quantities are compared as numbers, and empty maps are nothing."""
        wanted = {"cpu": "1000m", "memory": "0.5Gi", "labels": {}, "none": None, "on": True}
        assert differences(wanted, {"cpu": 1, "memory": "512Mi", "on": True}) == {}
        assert differences({"on": True}, {"on": "true"}) == {"/on": "true"}

    def test_a_secret_is_compared_as_it_is_kept(self) -> None:
        """What is stated as text lies in data, encoded."""
        wanted = {"kind": "Secret", "stringData": {"a": "x", "b": "y"}, "data": {"c": "eg=="}}
        assert differences(wanted, {"data": {"a": "eA==", "b": "eg==", "c": "eg=="}}) == {
            "/data/b": "eg=="
        }

    def test_with_what_is_wanted_there(self) -> None:
        """Both values of each field, for where no dry run is to be had."""
        wanted = {"data": {"a": "1"}, "list": [1, 2]}
        assert to_changes(wanted, differences(wanted, {"list": [1]})) == [
            FieldChange("/data", {"a": "1"}, MISSING),
            FieldChange("/list", [1, 2], [1]),
        ]


def containers(*found: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(found)}}


@pytest.mark.parametrize(
    ("would_be", "live", "found"),
    [
        ({"data": {"a": "1"}}, {"data": {"a": "1"}}, []),
        ({"data": {"a": "1"}}, {"data": {"a": "2"}}, [("/data/a", "1", "2")]),
        ({"data": {"a/b": "1"}}, {"data": {}}, [("/data/a~1b", "1", MISSING)]),
        ({"data": {}}, {"data": {"a": None}}, [("/data/a", MISSING, None)]),
        ({"on": 1}, {"on": True}, [("/on", 1, True)]),
        (
            {"metadata": {"generation": 2, "managedFields": [1]}},
            {"metadata": {"generation": 3, "resourceVersion": "7"}},
            [],
        ),
        ({"status": {"a": 1}, "kind": "A"}, {"status": {"a": 2}, "kind": "B"}, []),
        (
            containers({"name": "a", "image": "x:1"}, {"name": "b"}),
            containers({"name": "a", "image": "x:2"}, {"name": "b"}),
            [("/spec/containers/0/image", "x:1", "x:2")],
        ),
        (
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "b"}),
            [("/spec/containers/0", {"name": "a"}, MISSING)],
        ),
        (
            containers({"name": "a"}),
            containers({"name": "a"}, {"name": "b"}),
            [("/spec/containers/1", MISSING, {"name": "b"})],
        ),
        (
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "b"}, {"name": "a"}),
            [("/spec/containers", [{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}])],
        ),
        ({"args": ["a", "b"]}, {"args": ["a", "c"]}, [("/args", ["a", "b"], ["a", "c"])]),
        (
            {"rules": [{"verbs": ["get"]}]},
            {"rules": [{"verbs": ["get", "list"]}]},
            [("/rules/0/verbs", ["get"], ["get", "list"])],
        ),
    ],
)
def test_what_applying_again_would_change(
    would_be: dict[str, Any], live: dict[str, Any], found: list[tuple[str, Any, Any]]
) -> None:
    """Field by field, items of lists by their keys; the API server's own bookkeeping is none."""
    assert changes(would_be, live) == [FieldChange(*one) for one in found]


class TestShown:
    def test_both_values_as_json(self) -> None:
        """Nothing is an empty text, so that it is not taken for null."""
        found = to_differences(
            "ConfigMap",
            [
                FieldChange("/data/a", "1", "2"),
                FieldChange("/data/b", "1", MISSING),
                FieldChange("/x", MISSING, None),
            ],
        )
        assert [(d.pointer, d.wanted, d.live) for d in found] == [
            ("/data/a", '"1"', '"2"'),
            ("/data/b", '"1"', ""),
            ("/x", "", "null"),
        ]

    def test_a_secret_is_not(self) -> None:
        """That it differs is told, and not how; nor what kubectl wrote down of it. Its labels are
        no secret.
        """
        found = [
            FieldChange("/data/a", "bW9vbg==", "c3Vu"),
            FieldChange("/metadata/labels/x", "1", "2"),
        ]
        assert [(d.wanted, d.live) for d in to_differences("Secret", found)] == [
            ("(not shown)", "(not shown)"),
            ('"1"', '"2"'),
        ]
        assert (
            patch("Secret", found) == '{"data":{"a":"(not shown)"},"metadata":{"labels":{"x":"1"}}}'
        )
        whole = FieldChange("/data", {"a": "bW9vbg=="}, MISSING)
        assert "bW9vbg" not in patch("Secret", [whole]) + repr(to_differences("Secret", [whole]))
        last = FieldChange(
            "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", "moon", "sun"
        )
        assert to_differences("ConfigMap", [last])[0].live == "(not shown)"

    def test_is_bounded(self) -> None:
        """At most 20 fields, values of 240 characters, a patch of 2 KiB."""
        found = [FieldChange(f"/data/{n}", "x" * 9000, "y") for n in range(100)]
        assert len(to_differences("ConfigMap", found)) == 20
        assert len(to_differences("ConfigMap", found)[0].wanted) == 240
        assert len(patch("ConfigMap", found)) == 2048

    def test_the_patch_puts_it_right(self) -> None:
        """Fleet's form: from what is live to what is wanted, null for what must go."""
        found = [
            FieldChange("/spec/replicas", 2, 5),
            FieldChange("/spec/x", MISSING, 1),
            FieldChange("/spec/list/0/image", "a", "b"),
        ]
        assert (
            patch("Deployment", found)
            == '{"spec":{"replicas":2,"x":null,"list":{"0":{"image":"a"}}}}'
        )


def test_a_sentence_has_both_values() -> None:
    """Fields as people write them, the first two of them; no value of a Secret."""
    found = [
        FieldChange("/data/greeting", "good evening", "hello"),
        FieldChange("/metadata/labels/a.b~1c", "x", MISSING),
        FieldChange("/spec/a/0/p", 1, 2),
    ]
    assert (
        sentence("ConfigMap", found)
        == 'data.greeting is "hello", Git has "good evening"; metadata.labels["a.b/c"] is missing,'
        ' Git has "x"; and 1 more'
    )
    assert (
        sentence("Secret", [FieldChange("/data/p", "a", "b"), FieldChange("/data/q", "a", MISSING)])
        == "data.p differs from Git (values of a Secret are not shown); data.q is missing"
    )
