"""Windows in any zone, against a scan of every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.core.rollout.cron import parse
from fleetctl.core.rollout.schedule import (
    ScheduleVerdict,
    Window,
    is_open,
    next_change,
    next_start,
    verdict,
)
from tests.support.depth import depth

# Each with a change of its clock within two days after: whole and half hours, at midnight, in both
# directions, and a day left out.
PLACES = [
    ("Europe/Berlin", "2026-03-28"),
    ("Europe/Berlin", "2026-10-24"),
    ("America/New_York", "2026-11-01"),
    ("America/St_Johns", "2010-11-06"),
    ("Australia/Lord_Howe", "2026-10-03"),
    ("Australia/Lord_Howe", "2026-04-04"),
    ("America/Santiago", "2026-09-05"),
    ("Africa/Cairo", "2026-04-23"),
    ("Pacific/Apia", "2011-12-29"),
    ("Asia/Kathmandu", "2026-12-31"),
    ("UTC", "2028-02-28"),
]
DAYS = 3


class Plan(NamedTuple):
    """An expression in its parts; None is `*`."""

    minutes: tuple[int, ...] | None
    hours: tuple[int, ...] | None
    days: tuple[int, ...] | None
    weekdays: tuple[int, ...] | None

    @property
    def text(self) -> str:
        month = "*"
        return (
            " ".join(self._part(values) for values in (self.minutes, self.hours, self.days))
            + f" {month} {self._part(self.weekdays)}"
        )

    def _part(self, values: tuple[int, ...] | None) -> str:
        return "*" if values is None else ",".join(map(str, values))

    def names(self, local: datetime) -> bool:
        """Whether the clock's face matches, by crontab's own words."""
        day = self.days is None or local.day in self.days
        week = self.weekdays is None or local.isoweekday() % 7 in self.weekdays
        either = self.days is not None and self.weekdays is not None
        if not (day or week if either else day and week):
            return False
        return (self.hours is None or local.hour in self.hours) and (
            self.minutes is None or local.minute in self.minutes
        )


def some(low: int, high: int) -> st.SearchStrategy[tuple[int, ...] | None]:
    return st.none() | st.lists(st.integers(low, high), min_size=1, max_size=3, unique=True).map(
        lambda found: tuple(sorted(found))
    )


plans = st.builds(Plan, some(0, 59), some(0, 23), st.none() | some(1, 31), st.none() | some(0, 6))
places = st.sampled_from(PLACES)
lengths = st.sampled_from([1, 7, 30, 60, 61, 180, 1440, 1500])


def scan(plan: Plan, zone: tzinfo, first: int, last: int) -> list[int]:
    """Every start from `first` to `last`, minute by minute."""
    found = []
    before = datetime.fromtimestamp(first - 60, zone)
    for at in range(first, last + 60, 60):
        local = datetime.fromtimestamp(at, zone)
        jumped = local.replace(tzinfo=None) - before.replace(tzinfo=None) - timedelta(minutes=1)
        missing = [
            before.replace(tzinfo=None) + timedelta(minutes=n + 1)
            for n in range(int(jumped.total_seconds() // 60))
        ]
        named = plan.hours is not None
        if (plan.names(local) and not (named and local.fold)) or (
            named and any(map(plan.names, missing))
        ):
            found.append(at)
        before = local
    return found


def window(
    plan: Plan, minutes: int, zone: tzinfo, *, name: str = "w", deny: bool = False
) -> Window:
    return Window(name, parse(plan.text), minutes * 60, zone, str(zone), deny)


def zone_and_start(place: tuple[str, str]) -> tuple[tzinfo, int]:
    zone = ZoneInfo(place[0])
    return zone, int(datetime.fromisoformat(place[1]).replace(tzinfo=UTC).timestamp())


@settings(max_examples=depth(40, 200), deadline=None)
@given(plans, places, lengths)
def test_it_is_open_when_a_scan_of_every_minute_says_so(
    plan: Plan, place: tuple[str, str], minutes: int
) -> None:
    """Starts, and with them every minute of three days around a change of the clock."""
    zone, begin = zone_and_start(place)
    end = begin + DAYS * 86400
    starts = scan(plan, zone, begin - minutes * 60, end)
    found = window(plan, minutes, zone)
    at, mine = begin - minutes * 60 - 1, []
    while (following := next_start(found, at)) is not None and following <= end:
        assert following > at
        mine.append(following)
        at = following
    assert mine == starts
    edges = [
        start + shift for start in starts[:200] for shift in (-1, 0, minutes * 60 - 1, minutes * 60)
    ]
    for moment in (*range(begin, end, 660), *(moment for moment in edges if begin <= moment < end)):
        assert is_open(found, moment) == any(
            moment - minutes * 60 < start <= moment for start in starts
        )


@settings(max_examples=depth(60, 300), deadline=None)
@given(
    some(0, 59),
    some(0, 23),
    places,
    st.integers(1, 3000),
    st.integers(0, DAYS * 86400),
    st.sampled_from(["0", "*", "7,30", "*/20"]),
)
def test_a_window_closes_where_its_starts_leave_a_gap(
    minutes: tuple[int, ...] | None,
    hours: tuple[int, ...] | None,
    place: tuple[str, str],
    length: int,
    offset: int,
    seconds: str,
) -> None:
    """Start by start, however many they are: the close is the first end that no other start comes
    before, or at.
    """
    zone, begin = zone_and_start(place)
    plan = Plan(minutes, hours, None, None)
    found = Window(
        "w", parse(f"{seconds} {plan.text.rsplit(' ', 1)[0]} ?"), length, zone, str(zone)
    )
    now = begin + offset
    if not is_open(found, now):
        return
    close, start = next_change(found, now), next_start(found, now - length)
    for _ in range(3000):
        assert start is not None
        following = next_start(found, start)
        if following is None or following > start + length:
            assert close == start + length
            return
        start = following
    assert close is None or close > start


@settings(max_examples=depth(40, 200), deadline=None)
@given(plans, places, lengths, st.integers(0, DAYS * 86400), st.data())
def test_between_two_changes_nothing_changes(
    plan: Plan, place: tuple[str, str], minutes: int, offset: int, data: st.DataObject
) -> None:
    """The next change lies in the future, it is one, and until then it is as it was."""
    zone, begin = zone_and_start(place)
    now, found = begin + offset, window(plan, minutes, zone)
    change = next_change(found, now)
    open_now = is_open(found, now)
    last = change - 1 if change is not None else now + 30 * 86400
    assert last >= now
    assert is_open(found, last) == open_now
    assert is_open(found, data.draw(st.integers(now, last))) == open_now
    assert change is None or is_open(found, change) != open_now


@settings(max_examples=depth(40, 200), deadline=None)
@given(
    st.lists(st.tuples(plans, lengths, st.booleans()), max_size=4),
    places,
    st.integers(0, DAYS * 86400),
    st.data(),
)
def test_deny_wins_and_the_verdict_lasts_until_it_says(
    made: list[tuple[Plan, int, bool]], place: tuple[str, str], offset: int, data: st.DataObject
) -> None:
    """May change: nothing that forbids is open, and one that allows is, if there is any. Held until
    T, and not any more at T.
    """
    zone, begin = zone_and_start(place)
    windows = [
        window(plan, minutes, zone, name=f"w{i}", deny=deny)
        for i, (plan, minutes, deny) in enumerate(made)
    ]
    now = begin + offset

    def may(at: int) -> bool:
        allowing = [w for w in windows if not w.deny]
        return not any(is_open(w, at) for w in windows if w.deny) and (
            not allowing or any(is_open(w, at) for w in allowing)
        )

    found: ScheduleVerdict = verdict(windows, now)
    assert found.open == may(now)
    if found.until is not None:
        assert found.until > now
        assert may(data.draw(st.integers(now, found.until - 1))) == found.open
        assert found.open or may(found.until)
    assert found.open == (not found.why)
