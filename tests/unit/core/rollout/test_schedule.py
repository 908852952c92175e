"""When a window is open, also where the clock is changed, and what several windows say together."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout.schedule import (
    ScheduleVerdict,
    Window,
    is_open,
    next_change,
    next_start,
    seconds_of,
    verdict,
    window_of,
)

BERLIN, LORD_HOWE, APIA = (
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("Australia/Lord_Howe"),
    ZoneInfo("Pacific/Apia"),
)


def at(text: str, zone: tzinfo = UTC) -> int:
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo else found.replace(tzinfo=zone)).timestamp())


def window(
    schedule: str,
    duration: str = "1h",
    location: str = "",
    *,
    name: str = "nightly",
    deny: bool = False,
) -> Window:
    spec = spec_of(
        {
            "schedule": schedule,
            "duration": duration,
            "location": location,
            "deny": deny,
            "targets": TARGETS,
        }
    )
    return window_of(name, spec, ZoneInfo(location) if location else UTC)


TARGETS: dict[str, Any] = {"clusters": [{"clusterSelector": {}}]}


def changes(found: Window, start: str, count: int, zone: tzinfo = UTC) -> list[str]:
    now, said = at(start, zone), []
    for _ in range(count):
        following = next_change(found, now)
        if following is None:
            return [*said, "never"]
        now = following
        said.append(
            ("open " if is_open(found, now) else "shut ")
            + datetime.fromtimestamp(now, found.zone).isoformat()
        )
    return said


class TestOneWindow:
    def test_begins_and_ends(self) -> None:
        """The first second belongs to it, the last one not."""
        found = window("0 2 * * *", "90m")
        assert [
            is_open(found, at(f"2026-11-25T{time}"))
            for time in ("01:59:59", "02:00", "03:29:59", "03:30")
        ] == [
            *(False, True, True, False),
        ]
        assert changes(found, "2026-11-25", 3) == [
            *(
                "open 2026-11-25T02:00:00+00:00",
                "shut 2026-11-25T03:30:00+00:00",
                "open 2026-11-26T02:00:00+00:00",
            ),
        ]

    def test_over_the_end_of_the_year(self) -> None:
        assert changes(window("0 22 31 12 *", "4h"), "2026-12-31T23:00", 2) == [
            *("shut 2027-01-01T02:00:00+00:00", "open 2027-12-31T22:00:00+00:00"),
        ]

    def test_windows_that_touch_are_one(self) -> None:
        """Monday to Friday, a day each: open from Monday to Saturday."""
        assert changes(window("0 8 * * MON-FRI", "24h"), "2026-11-25", 2) == [
            *("shut 2026-11-28T08:00:00+00:00", "open 2026-11-30T08:00:00+00:00"),
        ]
        assert changes(window("* * * 12 *", "1m"), "2026-11-25", 2) == [
            "open 2026-12-01T00:00:00+00:00",
            "shut 2027-01-01T00:00:00+00:00",
        ]

    def test_what_never_closes_says_so(self) -> None:
        """And is answered in time, whatever the seconds."""
        for text, duration in (("* * * * *", "1m"), ("* * * * * ?", "2s"), ("0 0 * * *", "48h")):
            found = window(text, duration)
            assert is_open(found, at("2026-11-25T12:00"))
            assert changes(found, "2026-11-25T12:00", 1) == ["never"]

    def test_a_day_that_does_not_exist(self) -> None:
        """30 February: never open, and nobody waits for the answer."""
        assert changes(window("0 0 30 2 *"), "2026-11-25", 1) == ["never"]
        assert not is_open(window("0 0 30 2 *"), at("2026-02-28"))


class TestTheClockIsChanged:
    def test_put_forward_over_a_start(self) -> None:
        """Berlin has no 02:30 on 29 March 2026: the window begins when the clock shows 03:00, and
        lasts an hour of real time.
        """
        assert changes(
            window("30 2 * * *", "1h", "Europe/Berlin"), "2026-03-28T12:00", 4, BERLIN
        ) == [
            *("open 2026-03-29T03:00:00+02:00", "shut 2026-03-29T04:00:00+02:00"),
            *("open 2026-03-30T02:30:00+02:00", "shut 2026-03-30T03:30:00+02:00"),
        ]

    def test_in_the_second_before_the_clock_is_put_forward(self) -> None:
        """The start at the end of the missing time is seen from there too, and for as long as it is
        open.
        """
        found = window("30 2 * * *", "1h", "Europe/Berlin")
        assert next_start(found, at("2026-03-29T01:59:59+01:00")) == at("2026-03-29T03:00:00+02:00")
        assert is_open(found, at("2026-03-29T03:59:59+02:00"))

    def test_put_forward_within_a_window(self) -> None:
        """Three hours are three hours: the clock shows 05:00."""
        assert changes(
            window("0 1 * * *", "3h", "Europe/Berlin"), "2026-03-28T12:00", 2, BERLIN
        ) == [
            *("open 2026-03-29T01:00:00+01:00", "shut 2026-03-29T05:00:00+02:00"),
        ]

    def test_put_back_over_a_start(self) -> None:
        """02:30 comes twice on 25 October 2026: the window begins at the first one only."""
        found = window("30 2 * * *", "30m", "Europe/Berlin")
        assert changes(found, "2026-10-24T12:00", 3, BERLIN) == [
            *(
                "open 2026-10-25T02:30:00+02:00",
                "shut 2026-10-25T02:00:00+01:00",
                "open 2026-10-26T02:30:00+01:00",
            ),
        ]
        assert next_start(found, at("2026-10-25T02:10+01:00")) == at("2026-10-26T02:30+01:00")

    def test_put_back_within_a_window(self) -> None:
        assert changes(
            window("0 1 * * *", "3h", "Europe/Berlin"), "2026-10-24T12:00", 2, BERLIN
        ) == [
            *("open 2026-10-25T01:00:00+02:00", "shut 2026-10-25T03:00:00+01:00"),
        ]

    def test_hours_that_are_not_named_go_by_real_time(self) -> None:
        """Every hour: none is left out, none is shorter, and the repeated one has its own."""
        found = window("30 * * * *", "10m", "Europe/Berlin")
        assert changes(found, "2026-10-25T01:35+02:00", 5)[1::2] == [
            "open 2026-10-25T02:30:00+02:00",
            "open 2026-10-25T02:30:00+01:00",
        ]
        assert changes(found, "2026-03-29T01:35+01:00", 3)[1:2] == [
            "open 2026-03-29T03:30:00+02:00"
        ]

    def test_by_half_an_hour(self) -> None:
        """Lord Howe goes from 02:00 to 02:30 in October, and from 02:00 back to 01:30 in April."""
        assert changes(
            window("15 2 * * *", "30m", "Australia/Lord_Howe"), "2026-10-03T12:00", 2, LORD_HOWE
        ) == [
            *("open 2026-10-04T02:30:00+11:00", "shut 2026-10-04T03:00:00+11:00"),
        ]
        assert changes(
            window("45 1 * * *", "30m", "Australia/Lord_Howe"), "2026-04-04T12:00", 3, LORD_HOWE
        ) == [
            *(
                "open 2026-04-05T01:45:00+11:00",
                "shut 2026-04-05T01:45:00+10:30",
                "open 2026-04-06T01:45:00+10:30",
            ),
        ]

    def test_a_whole_day_that_was_left_out(self) -> None:
        """Samoa had no 30 December 2011: its window begins as the 31st does."""
        assert changes(window("0 12 30 12 *", "1h", "Pacific/Apia"), "2011-12-29", 1, APIA) == [
            "open 2011-12-31T00:00:00+14:00"
        ]

    def test_a_day_of_25_hours_has_a_window_of_24(self) -> None:
        """A window of a day each day leaves the repeated hour shut: the duration is real time."""
        assert changes(
            window("0 0 * * *", "24h", "Europe/Berlin"), "2026-10-24T12:00", 2, BERLIN
        ) == [
            *("shut 2026-10-25T23:00:00+01:00", "open 2026-10-26T00:00:00+01:00"),
        ]


class TestTogether:
    def test_one_that_is_open_will_do(self) -> None:
        """Two that allow: their union."""
        both = [window("0 2 * * *", name="early"), window("0 4 * * *", name="late")]
        assert verdict(both, at("2026-11-25T02:30")) == ScheduleVerdict(
            open=True, until=at("2026-11-25T03:00")
        )
        assert verdict(both, at("2026-11-25T03:30")) == ScheduleVerdict(
            open=False,
            until=at("2026-11-25T04:00"),
            why="window late opens at 2026-11-25T04:00:00+00:00 (UTC)",
        )

    def test_deny_wins(self) -> None:
        """A freeze over Christmas: the nightly window after it is the next one."""
        freeze = window("0 0 20 12 *", "336h", "Europe/Berlin", name="freeze", deny=True)
        nightly = window("0 2 * * *", "2h", "Europe/Berlin")
        found = verdict([freeze, nightly], at("2026-12-24T02:30", BERLIN))
        assert found == ScheduleVerdict(
            open=False,
            until=at("2027-01-03T02:00", BERLIN),
            why="window nightly opens at 2027-01-03T02:00:00+01:00 (Europe/Berlin)",
        )
        assert verdict([freeze], at("2026-12-24", BERLIN)).why == (
            "window freeze forbids changes until 2027-01-03T00:00:00+01:00 (Europe/Berlin)"
        )
        assert verdict([freeze], at("2026-12-19", BERLIN)) == ScheduleVerdict(
            open=True, until=at("2026-12-20", BERLIN)
        )

    def test_what_never_ends_is_said(self) -> None:
        assert verdict(
            [window("0 0 0 1 1 ? 2020", name="once")], at("2026-11-25")
        ) == ScheduleVerdict(open=False, until=None, why="window once never opens again")
        assert verdict(
            [window("* * * * *", "1m", name="off", deny=True)], at("2026-11-25")
        ) == ScheduleVerdict(
            open=False, until=None, why="window off forbids changes and never closes"
        )
        shadow = [window("0 1 * * *", "3h", name="never", deny=True), window("0 2 * * *")]
        assert verdict(shadow, at("2026-11-25T02:30")) == ScheduleVerdict(
            open=False,
            until=None,
            why="windows that allow changes open only while others forbid them",
        )

    def test_nothing_holds_who_is_under_none(self) -> None:
        assert verdict([], at("2026-11-25")) == ScheduleVerdict(open=True, until=None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"duration": "2d"}, "duration: '2d' is not a duration"),
        ({"duration": "0s"}, "not between 1s and 10 years"),
        ({"duration": "9" * 400 + "h"}, "is not a duration"),
        ({"duration": "999999999999h"}, "not between 1s and 10 years"),
        ({"duration": "٣h"}, "is not a duration"),
        ({"schedule": "61 * * * *"}, "minute: '61'"),
        ({"targets": {"clusters": []}}, "targets.clusters is empty"),
        ({"targets": {"clusters": [{"name": "all"}]}}, "target all states no criterion"),
        (
            {
                "targets": {
                    "clusters": [
                        {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}
                    ]
                }
            },
            "operator 'Is'",
        ),
        ({"targets": {"groups": []}}, "targets.clusters is empty"),
        ({"deny": "yes"}, "spec.deny: expected true or false, got text"),
        ({"locaton": "UTC"}, "unknown key `spec.locaton`"),
    ],
)
def test_a_wrong_spec_is_refused(changed: dict[str, Any], said: str) -> None:
    """With what is wrong in it."""
    with pytest.raises(UsageError) as caught:
        spec_of({"schedule": "0 2 * * *", "duration": "1h", "targets": TARGETS} | changed)
    assert said in caught.value.summary


def test_durations_are_gos() -> None:
    assert [seconds_of(text) for text in ("1h30m", "90s", "1.5h", "1500ms", ".5h")] == [
        5400,
        90,
        5400,
        1,
        1800,
    ]
