"""Which local times an expression names, in both forms, and what is said of a wrong one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout.cron import next_match, parse, widest_gap

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


def following(text: str, start: str, count: int = 1) -> list[str]:
    cron, at, found = parse(text), int((datetime.fromisoformat(start) - EPOCH).total_seconds()), []
    for _ in range(count):
        match = next_match(cron, at + 1)
        if match is None:
            return [*found, "never"]
        at = match
        found.append((EPOCH + timedelta(seconds=at)).isoformat(" "))
    return found


@pytest.mark.parametrize(
    ("text", "start", "wanted"),
    [
        ("0 2 * * *", "2026-11-25 02:00", ["2026-11-26 02:00:00"]),
        (
            "*/20 8-9 * * *",
            "2026-11-25 08:10",
            ["2026-11-25 08:20:00", "2026-11-25 08:40:00", "2026-11-25 09:00:00"],
        ),
        (
            "5/25 0 * * *",
            "2026-11-25 00:00",
            ["2026-11-25 00:05:00", "2026-11-25 00:30:00", "2026-11-25 00:55:00"],
        ),
        ("0 22 * * FRI", "2026-11-25", ["2026-11-27 22:00:00", "2026-12-04 22:00:00"]),
        (
            "0 0 * * sat,SUN",
            "2026-11-25",
            ["2026-11-28 00:00:00", "2026-11-29 00:00:00", "2026-12-05 00:00:00"],
        ),
        (
            "0 0 * * 5-7",
            "2026-11-25",
            ["2026-11-27 00:00:00", "2026-11-28 00:00:00", "2026-11-29 00:00:00"],
        ),
        (
            "0 0 * * FRI-MON",
            "2026-11-26",
            [
                "2026-11-27 00:00:00",
                "2026-11-28 00:00:00",
                "2026-11-29 00:00:00",
                "2026-11-30 00:00:00",
            ],
        ),
        (
            "0 0 1 NOV-FEB *",
            "2026-11-25",
            [
                "2026-12-01 00:00:00",
                "2027-01-01 00:00:00",
                "2027-02-01 00:00:00",
                "2027-11-01 00:00:00",
            ],
        ),
        # either day will do, as in crontab
        ("0 0 13 * 5", "2026-11-01", ["2026-11-06 00:00:00", "2026-11-13 00:00:00"]),
        # a step over all days is no stated day
        ("0 0 */2 * 1", "2026-11-01", ["2026-11-09 00:00:00"]),
        ("0 0 29 2 *", "2026-11-25", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("0 0 29 2 *", "2096-02-29", ["2104-02-29 00:00:00"]),  # 2100 is no leap year
        ("0 0 30 2 *", "2026-11-25", ["never"]),
        ("0 0 L * *", "2026-02-01", ["2026-02-28 00:00:00", "2026-03-31 00:00:00"]),
        (
            "0 0 LW * *",
            "2026-02-01",
            [
                "2026-02-27 00:00:00",
                "2026-03-31 00:00:00",
                "2026-04-30 00:00:00",
                "2026-05-29 00:00:00",
            ],
        ),
        ("0 0 * * TUE#2", "2026-11-25", ["2026-12-08 00:00:00", "2027-01-12 00:00:00"]),
        ("0 0 * * FRIL", "2026-11-01", ["2026-11-27 00:00:00", "2026-12-25 00:00:00"]),
        ("@weekly", "2026-11-25", ["2026-11-29 00:00:00"]),
        ("@yearly", "2026-11-25", ["2027-01-01 00:00:00"]),
        ("@hourly", "2026-12-31 23:00", ["2027-01-01 00:00:00"]),
        # Fleet's form: seconds first, and 1 is Sunday
        ("0 0 8 * * MON-FRI", "2026-11-27 08:00", ["2026-11-30 08:00:00"]),
        ("0 0 8 ? * 1", "2026-11-25", ["2026-11-29 08:00:00"]),
        ("0 0 8 ? * 7", "2026-11-25", ["2026-11-28 08:00:00"]),
        ("30 15 10 15 * ?", "2026-11-25", ["2026-12-15 10:15:30"]),
        ("0 0 0 24 DEC ? 2027", "2026-11-25", ["2027-12-24 00:00:00", "never"]),
        ("0 0 0 ? * 6L 2026,2027", "2026-12-01", ["2026-12-25 00:00:00", "2027-01-29 00:00:00"]),
        (
            "10/20 59 23 31 12 ?",
            "2026-12-31 23:59:11",
            ["2026-12-31 23:59:30", "2026-12-31 23:59:50", "2027-12-31 23:59:10"],
        ),
    ],
)
def test_what_comes_next(text: str, start: str, wanted: list[str]) -> None:
    """Each expression's next matches, over the ends of months and years."""
    assert following(text, start, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 * * * *", "minute: '60' is not within 0-59"),
        ("* 24 * * *", "hour: '24' is not within 0-23"),
        ("* * 0 * *", "day of the month: '0' is not within 1-31"),
        ("* * * FOO *", "month: 'FOO' is not within 1-12 or JAN-DEC"),
        ("* * * * 8", "day of the week: '8' is not within 0-7 or SUN-SAT"),
        ("0 0 0 ? * 0", "day of the week: '0' is not within 1-7 or SUN-SAT"),
        ("* * * * MON#6", "day of the week: 'MON#6'"),
        ("*/0 * * * *", "minute: '*/0'"),
        ("1,,2 * * * *", "minute: ''"),
        ("0 22-6 * * *", "hour: '22-6' runs backwards"),
        ("0 0 2 1 * MON", "one of them must be ?"),
        ("0 2 * *", "has 4 fields"),
        ("", "has 0 fields"),
        ("@fortnightly", "is none of @annually"),
        ("0 0 0 1 1 ? 99", "year: '99'"),
        ("٣ * * * *", "minute: "),
        ("-5 * * * *", "minute: '-5'"),
        ("*/" + "9" * 5000 + " * * * *", "minute: "),
        ("0 0 0 ? * 1#" + "9" * 5000, "day of the week: "),
        ("0 0 0 ? * 1#²", "day of the week: "),
    ],
)
def test_a_wrong_one_names_its_field(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"^schedule: ") as caught:
        parse(text)
    assert said in caught.value.summary


def test_the_widest_gap_of_a_day() -> None:
    """From the last match of one hour to the first of the next that has any."""
    assert [
        widest_gap(parse(text))
        for text in ("* * * * *", "* 8,20 * * *", "0 2 * * *", "*/40 * * * *", "* * * * * ?")
    ] == [
        *(60, 11 * 3600 + 60, 0, 2400, 1),
    ]
