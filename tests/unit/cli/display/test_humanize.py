"""Ages and durations are written as kubectl writes them."""

from __future__ import annotations

import pytest

from fleetctl.cli.display.humanize import format_age, format_count, format_duration, format_times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (3 * 3600 + 1800, "3h30m"),
        (8 * 3600 + 1800, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (3000 * 86400, "8y"),
    ],
)
def test_ages_are_kubectls(seconds: int, text: str):
    """The table of apimachinery's HumanDuration."""
    assert format_duration(seconds) == text


def test_age_of_a_time():
    """Never is a dash, and what is no time does not stop a table."""
    assert format_age("2026-01-01T00:00:00Z", now=1767225600 + 300) == "5m"
    assert format_age("") == "-"
    assert format_age("soon") == "?"


def test_times_in_a_sentence() -> None:
    now = 1767225600.0
    assert format_times("silent since 2025-12-31T23:00:00Z", now) == "silent for 60m"
    assert format_times("seen 2025-12-31T23:59:00Z", now) == "seen 60s ago"
    assert format_times("opens at 2026-01-01T01:00:00Z", now) == "opens at 01:00 UTC (in 60m)"
    expected = "opens at 2026-01-03 00:00 UTC (in 2d)"
    assert format_times("opens at 2026-01-03T00:00:00Z", now) == expected


def test_counts() -> None:
    assert [format_count(n, "cluster") for n in (0, 1, 2)] == [
        "0 clusters",
        "1 cluster",
        "2 clusters",
    ]
