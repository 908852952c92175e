"""Metadata of a wrong type, which helm cannot decode: object, field and value are named."""

from __future__ import annotations

import pytest

from agent.deploy.decode_errors import find_mistakes

HEAD = "apiVersion: v1\nkind: ConfigMap\n"


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ("{name: a, labels: {x: yes}}", "metadata.labels.x is true and must be a string"),
        (
            "{name: a, annotations: {port: 80}}",
            "metadata.annotations.port is 80 and must be a string",
        ),
        ("{name: a, labels: [x]}", "metadata.labels is ['x'] and must be a map"),
        ("{name: 5}", "metadata.name is 5 and must be a string"),
    ],
)
def test_the_object_and_the_field(metadata: str, field: str) -> None:
    """In a stream and in a List."""
    stream = (
        f"{HEAD}metadata: {{name: fine, labels: {{a: 'yes', b: null}}}}\n---\n{HEAD}metadata:"
        f" {metadata}\n"
    )
    assert [found for _, found in find_mistakes(stream.encode())] == [field]
    inside = (
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata:"
        f" {metadata}}}\n"
    )
    assert [found for _, found in find_mistakes(inside.encode())] == [field]


def test_what_is_as_it_should_be_is_not_blamed() -> None:
    """Nothing to name, so that helm's own message stands."""
    assert (
        find_mistakes(f"{HEAD}metadata: {{name: a, generateName: b-}}\n---\n{HEAD}".encode()) == []
    )
