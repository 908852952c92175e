"""Laws of JSON pointers."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.text.json_pointer import pointer_below, pointer_steps

steps = st.lists(st.text("~01/aé", max_size=4), max_size=5)


@given(steps)
def test_a_pointer_made_of_steps_gives_the_steps(parts: list[str]) -> None:
    assert pointer_steps(reduce(pointer_below, parts, "")) == parts
