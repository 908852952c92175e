"""Lists of names in a sentence."""

from __future__ import annotations

from fleetctl.core.text.listing import count_hidden, count_others, list_names


def test_names_beyond_the_limit_are_counted() -> None:
    """Also those that the caller does not have."""
    assert list_names(["a", "b", "c"], 2) == "a, b and 1 more"
    assert list_names(["a", "b"], 2) == "a, b"
    assert list_names(["a", "b"], count=5) == "a, b and 3 more"
    assert list_names([], 2) == ""
    assert list_names(["a"], count=1235) == "a and 1,234 more"


def test_the_others_of_a_first_item_are_counted():
    assert [count_others(0), count_others(1), count_others(1234)] == [
        "",
        " (and 1 more)",
        " (and 1,234 more)",
    ]
    assert count_others(1, "object") == " (and 1 more object)"
    assert count_others(2, "object") == " (and 2 more objects)"
    assert count_hidden(95) == "… and 95 more"
