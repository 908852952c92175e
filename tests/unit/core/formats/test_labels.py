"""Label and annotation syntax: what Kubernetes accepts, and the rule in the error."""

from __future__ import annotations

import pytest

from fleetctl.core.formats.labels import check_annotation_keys, check_labels, is_key, is_label_value
from fleetctl.core.model.errors import UsageError


@pytest.mark.parametrize(
    "key", ["a", "A_b.c-9", "example.com/tier", "a" * 63, f"{'a.' * 126}a/x", "fleet.cattle.io/a"]
)
def test_keys_that_kubernetes_accepts(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-a",
        "a-",
        "a b",
        "a\n",
        "a" * 64,
        "/a",
        "a/",
        "a/b/c",
        "UPPER.com/a",
        f"{'a' * 254}/x",
        "é",
        "${x}",
    ],
)
def test_keys_that_kubernetes_refuses(key: str) -> None:
    assert not is_key(key)
    with pytest.raises(UsageError) as refused:
        check_labels({key: "x"}, "Cluster a/b")
    assert "63 letters" in refused.value.next_step
    with pytest.raises(UsageError):
        check_annotation_keys({key: "x"}, "Cluster a/b")


@pytest.mark.parametrize("value", ["", "a", "1", "a_B.c-9", "x" * 63])
def test_values_that_kubernetes_accepts(value: str) -> None:
    assert is_label_value(value)


@pytest.mark.parametrize("value", [" ", "a b", "a\n", "x" * 64, "-a", "a:b", "é", "${ x }", "a/b"])
def test_values_that_kubernetes_refuses(value: str) -> None:
    with pytest.raises(UsageError, match="label a: value"):
        check_labels({"a": value}, "Cluster a/b")


def test_a_wrong_label_can_be_removed() -> None:
    """It may be there from an older version."""
    check_labels({"a b": None}, "Cluster a/b")
