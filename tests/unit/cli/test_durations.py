"""Durations and labels of the command line."""

from __future__ import annotations

import pytest

from fleetctl.cli.options import labels_of, seconds
from fleetctl.core.model.errors import UsageError


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90", 90),
        ("0", 0),
        ("15s", 15),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("30d", 2592000),
        ("1.5m", 90),
    ],
)
def test_durations(text: str, length: float):
    """Go's, days, and plain seconds."""
    assert seconds(text, option="--ttl") == length


@pytest.mark.parametrize("text", ["", "x", "5 m", "-5s", "5x", "m", "1h30", "٣"])
def test_what_is_no_duration(text: str):
    """Names the option."""
    with pytest.raises(UsageError) as wrong:
        seconds(text, option="--ttl")
    assert wrong.value.subject == "--ttl"


def test_labels():
    """Several in one word, values with =, and removal only where it is meant."""
    assert labels_of(["a=1,b=2", "c=x=y", "d="]) == {"a": "1", "b": "2", "c": "x=y", "d": ""}
    assert labels_of(["a-", "b=1-"], removing=True) == {"a": None, "b": "1-"}
    for wrong in (["a"], ["=x"], ["a-"]):
        with pytest.raises(UsageError):
            labels_of(wrong)
