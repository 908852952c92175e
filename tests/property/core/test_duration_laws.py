"""Laws of durations: every text gives seconds or a ValueError, and what is printed reads back."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.cli.options import seconds as option_seconds
from fleetctl.core.documents.object_check import duration as object_seconds
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout.schedule import seconds_of as schedule_seconds
from fleetctl.core.rollout.strategy import seconds as strategy_seconds
from fleetctl.core.text.duration import format_duration, parse_duration

UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
LONGEST = Fraction(2**63 - 1, 10**9)
pairs = st.tuples(
    st.integers(0, 10**6), st.none() | st.text("0123456789", max_size=6), st.sampled_from([*UNITS])
)


def written(whole: int, fraction: str | None, unit: str) -> str:
    return f"{whole}{unit}" if fraction is None else f"{whole}.{fraction}{unit}"


@given(st.lists(pairs, min_size=1, max_size=5))
def test_pairs_of_number_and_unit_add_up(parts: list[tuple[int, str | None, str]]) -> None:
    """Exactly, but for the digits below a nanosecond of each pair."""
    text = "".join(written(*part) for part in parts)
    total = sum(
        Fraction(f"{whole}.{fraction or 0}") * UNITS[unit] for whole, fraction, unit in parts
    )
    if total > LONGEST:
        with pytest.raises(ValueError, match="longer than 292 years"):
            parse_duration(text)
    else:
        assert parse_duration(text) == pytest.approx(float(total), rel=1e-12, abs=5e-9)


@given(st.text("0123456789.+-nuµmshd e٣", max_size=12) | st.text(max_size=12))
def test_a_text_is_a_duration_everywhere_or_nowhere(text: str) -> None:
    """The strategy, the schedule, objects and options accept the same texts, but for the limits of
    a schedule, the days and plain seconds of options, and the empty text.
    """
    try:
        length = parse_duration(text)
    except ValueError:
        length = None
    if text:
        assert_reads(lambda: strategy_seconds(text), length)
    assert_reads(lambda: object_seconds(text, "subject"), length)
    if length is None or 1 <= length <= 10**8:
        assert_reads(lambda: schedule_seconds(text), length and int(length))
    if not text.isdigit() and "d" not in text:
        assert_reads(lambda: option_seconds(text, option="--ttl"), length)


def assert_reads(read, length: float | None) -> None:
    if length is None:
        with pytest.raises(UsageError):
            read()
    else:
        assert read() == length


@given(st.integers(0, 10**9))
def test_a_printed_duration_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
