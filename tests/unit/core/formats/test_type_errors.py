"""Sentences of msgspec, as its present version writes them, in plain words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fleetctl.core.formats.type_errors import describe_type_error, describe_with_path


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    values: dict[str, Any] | None = None
    count: int = 0
    names: list[str] = []
    on: bool = False


class Outer(msgspec.Struct):
    name: str
    helm: Inner = msgspec.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"name": "a", "helm": {"values": 3}}, "helm.values: expected a map, got a whole number"),
        ({"name": "a", "helm": {"count": "x"}}, "helm.count: expected a whole number, got text"),
        ({"name": "a", "helm": {"names": {}}}, "helm.names: expected a list, got a map"),
        ({"name": "a", "helm": {"names": [None]}}, "helm.names[0]: expected text, got empty"),
        ({"name": "a", "helm": {"on": 1.5}}, "helm.on: expected true or false, got a number"),
        ({"name": "a", "helm": {"nam": 1}}, "helm: the key `nam` is unknown"),
        ({}, "the key `name` is missing"),
        ([], "expected a map, got a list"),
    ],
)
def test_a_wrong_type_is_described_in_plain_words(value: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer)
    assert describe_with_path(str(caught.value)) == text


def test_other_sentences_stay() -> None:
    assert describe_type_error("Something else") == "something else"
