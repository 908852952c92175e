"""Lists of names in a sentence."""

from __future__ import annotations

from fleetctl.core.text.listing import list_names


def test_names_beyond_the_limit_are_counted() -> None:
    """Also those that the caller does not have."""
    assert list_names(["a", "b", "c"], 2) == "a, b and 1 more"
    assert list_names(["a", "b"], 2) == "a, b"
    assert list_names(["a", "b"], count=5) == "a, b and 3 more"
    assert list_names([], 2) == ""
