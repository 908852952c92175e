"""Durations in Go's syntax."""

from __future__ import annotations

import pytest

from fleetctl.core.text.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5h", 1800),
        ("5.s", 5),
        ("1500ms", 1.5),
        ("3us2ns", 3.002e-6),
        ("1m1m", 120),
        ("2562047h47m16.854775807s", 9223372036.854775807),
    ],
)
def test_durations_of_go(text: str, seconds: float) -> None:
    """Examples of time.ParseDuration."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "00", "x", "5x", "m", ".s", "1h30", "5 m", "-5s", "+5s", "1e3s", "٣h", "2d"]
)
def test_other_texts_are_refused(text: str) -> None:
    """A sign too: no key of ours takes a negative duration."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["2562048h", "999999999999h", "9" * 99 + "h"])
def test_a_duration_beyond_64_bits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than 292 years"):
        parse_duration(text)


def test_a_very_long_text_is_not_read() -> None:
    with pytest.raises(ValueError, match=r"'9{40}' is not a duration"):
        parse_duration("9" * 10**6 + "h")


def test_days_are_read_where_they_are_allowed() -> None:
    assert parse_duration("1d12h", days=True) == 129600


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "0.5s"), (90, "1m30s"), (5400, "1h30m"), (360000, "100h")],
)
def test_a_duration_is_printed_in_whole_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
