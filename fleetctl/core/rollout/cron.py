"""Cron expressions as sets of local times. Pure: nothing here knows a time zone.

Two forms, told apart by their number of fields. Five are crontab's: minute, hour, day of the month,
month, day of the week (0-7, 0 and 7 are Sunday); when both days are stated either will do. Six or
seven are Fleet's own (github.com/reugn/go-quartz): second, minute, hour, day of the month, month,
day of the week (1-7, 1 is SUNDAY), year; only one of the two days may be stated. Names (MON, JAN),
lists, ranges, steps, `?`, `L`, `LW`, `6L` and `6#3` in both; @yearly, @annually, @monthly, @weekly,
@daily, @midnight, @hourly.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from fleetctl.core.model.errors import UsageError

DAY = 86400
# what does not come within this never comes: the rarest, a 29 February on one weekday over 2100,
# takes 40
_YEARS = 50
_LAST_YEAR = 9990
_STEP = re.compile(r"[0-9]{1,9}")  # int() raises for 4,301 digits
_EPOCH = date(1970, 1, 1).toordinal()
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SHORTCUTS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(NamedTuple):
    """`first`: what the first of `names` counts as."""

    word: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first: int = 0


_SECOND, _MINUTE, _HOUR = _Field("second", 0, 59), _Field("minute", 0, 59), _Field("hour", 0, 23)
_DAY, _MONTH = _Field("day of the month", 1, 31), _Field("month", 1, 12, _MONTHS, 1)
_WEEKDAY, _QUARTZ_WEEKDAY = (
    _Field("day of the week", 0, 7, _DAYS, 0),
    _Field("day of the week", 1, 7, _DAYS, 1),
)
_YEAR = _Field("year", 1970, 3940)


@dataclass(frozen=True, slots=True)
class Cron:
    """`weekdays` 0 is Sunday; `nth` are (weekday, n), n 0 the last one of the month. `either`: one
    of the two days will do. `hourly`: the hours are not named, so that it goes by real time where
    the clock is put back.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    last: bool
    last_workday: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    nth: frozenset[tuple[int, int]]
    either: bool
    years: frozenset[int] | None
    hourly: bool


def parse(text: str) -> Cron:
    """Raises UsageError, which names the field."""
    fields_text = text.strip()
    fields = (_SHORTCUTS.get(fields_text.lower()) or fields_text).upper().split()
    if fields_text.startswith("@") and fields_text.lower() not in _SHORTCUTS:
        raise _wrong(f"{fields_text[:40]!r} is none of {', '.join(sorted(_SHORTCUTS))}")
    if not 5 <= len(fields) <= 7:
        raise _wrong(
            f"{text[:80]!r} has {len(fields)} fields, not 5 (minute first) or 6 to 7 (second first)"
        )
    quartz = len(fields) > 5
    second = fields.pop(0) if quartz else "0"
    minute, hour, day, month, weekday, *year = fields
    if quartz and day not in {"*", "?"} and weekday not in {"*", "?"}:
        raise _wrong(
            "day of the month and day of the week are both stated; with seconds one of them must"
            " be ?"
        )
    days, last, last_workday = _days(day)
    weekdays, nth = _weekdays(weekday, quartz=quartz)
    return Cron(
        seconds=tuple(sorted(_values(second, _SECOND))),
        minutes=tuple(sorted(_values(minute, _MINUTE))),
        hours=tuple(sorted(_values(hour, _HOUR))),
        days=days,
        last=last,
        last_workday=last_workday,
        months=frozenset(_values(month, _MONTH)),
        weekdays=weekdays,
        nth=nth,
        either=day[0] not in "*?" and weekday[0] not in "*?",
        years=None if not year or year[0] in {"*", "?"} else frozenset(_values(year[0], _YEAR)),
        hourly=hour.startswith("*"),
    )


def _days(text: str) -> tuple[frozenset[int], bool, bool]:
    parts = text.split(",")
    plain = [part for part in parts if part not in {"L", "LW", "WL"}]
    days = frozenset(value for part in plain for value in _values(part, _DAY))
    return days, "L" in parts, "LW" in parts or "WL" in parts


def _weekdays(text: str, *, quartz: bool) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    """As numbers from 0, Sunday, in both forms."""
    field, shift = (_QUARTZ_WEEKDAY, 1) if quartz else (_WEEKDAY, 0)
    plain: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for part in text.split(","):
        if "#" in part:
            name, _, number = part.partition("#")
            if number not in {"1", "2", "3", "4", "5"}:
                raise _bad(field, part)
            nth.add(((_value(name, field, part) - shift) % 7, int(number)))
        elif len(part) > 1 and part.endswith("L"):
            nth.add(((_value(part[:-1], field, part) - shift) % 7, 0))
        else:
            plain |= {(value - shift) % 7 for value in _values(part, field)}
    return frozenset(plain), frozenset(nth)


def _values(text: str, field: _Field) -> set[int]:
    return {value for part in text.split(",") for value in _part(part, field)}


def _part(text: str, field: _Field) -> Sequence[int]:
    """One entry of a list: `*`, `5` or `1-5`, each with an optional `/n`; `5/n` continues to the
    end.
    """
    body, slash, step = text.partition("/")
    if slash and not (_STEP.fullmatch(step) and 0 < int(step) <= field.high):
        raise _bad(field, text)
    if body in {"*", "?"}:
        low, high = field.low, field.high - (field is _WEEKDAY)
    elif "-" in body[1:]:
        first, _, second = body.partition("-")
        low, high = _value(first, field, text), _value(second, field, text)
        if field.first == 0 and field.names and second in field.names and high == 0:
            high = 7  # FRI-SUN
    else:
        low = _value(body, field, text)
        high = field.high if slash else low
    if low > high and not field.names:
        raise _wrong(f"{field.word}: {text[:40]!r} runs backwards")
    values = (
        range(low, high + 1)
        if low <= high
        else [*range(low, field.high + 1 - (field is _WEEKDAY)), *range(field.low, high + 1)]
    )
    return list(values)[:: int(step) if slash else 1]


def _value(text: str, field: _Field, whole: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    if not (
        text.isdecimal()
        and text.isascii()
        and len(text) < 5
        and field.low <= int(text) <= field.high
    ):
        raise _bad(field, whole)
    return int(text)


def _bad(field: _Field, text: str) -> UsageError:
    names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
    return _wrong(f"{field.word}: {text[:40]!r} is not within {field.low}-{field.high}{names}")


def _wrong(problem: str) -> UsageError:
    return UsageError(
        f"schedule: {problem}",
        subject="spec.schedule",
        next_step="Write for example `0 2 * * MON-FRI`, at two on every working day.",
    )


def next_match(cron: Cron, local: int) -> int | None:
    """The first match at or after `local`, both in seconds of a clock without a zone since 1970;
    None: never within 50 years.
    """
    day, second = divmod(local, DAY)
    today = date.fromordinal(day + _EPOCH)
    if today.day in _matching(cron, today.year, today.month):
        match = _within(cron, second)
        if match is not None:
            return day * DAY + match
    following = _next_day(cron, day + 1)
    return None if following is None else following * DAY + first_second(cron)


def _next_day(cron: Cron, day: int) -> int | None:
    start = date.fromordinal(day + _EPOCH)
    year, month, least = start.year, start.month, start.day
    until = min(year + _YEARS, _LAST_YEAR)
    while year <= until:
        for match in _matching(cron, year, month):
            if match >= least:
                return date(year, month, match).toordinal() - _EPOCH
        year, month, least = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
    return None


@lru_cache(maxsize=4096)
def _matching(cron: Cron, year: int, month: int) -> tuple[int, ...]:
    """The days of the month that match."""
    if month not in cron.months or (cron.years is not None and year not in cron.years):
        return ()
    first, length = calendar.monthrange(year, month)
    return tuple(
        day for day in range(1, length + 1) if _is_day(cron, day, (first + day) % 7, length)
    )


def _is_day(cron: Cron, day: int, weekday: int, length: int) -> bool:
    """`weekday` 0 is Sunday."""
    by_day = day in cron.days or (cron.last and day == length)
    if cron.last_workday and not by_day:
        last = (weekday + length - day) % 7
        by_day = day == length - {0: 2, 6: 1}.get(last, 0)
    by_week = (
        weekday in cron.weekdays
        or (weekday, (day + 6) // 7) in cron.nth
        or ((weekday, 0) in cron.nth and day + 7 > length)
    )
    return by_day or by_week if cron.either else by_day and by_week


def _within(cron: Cron, second: int) -> int | None:
    """The first match of a day at or after its `second`."""
    hour, rest = divmod(second, 3600)
    minute, least = divmod(rest, 60)
    for h in cron.hours[bisect_left(cron.hours, hour) :]:
        if h > hour:
            return h * 3600 + cron.minutes[0] * 60 + cron.seconds[0]
        for m in cron.minutes[bisect_left(cron.minutes, minute) :]:
            if m > minute:
                return h * 3600 + m * 60 + cron.seconds[0]
            at = bisect_left(cron.seconds, least)
            if at < len(cron.seconds):
                return h * 3600 + m * 60 + cron.seconds[at]
    return None


def first_second(cron: Cron) -> int:
    """Of a day that matches, in seconds."""
    return cron.hours[0] * 3600 + cron.minutes[0] * 60 + cron.seconds[0]


def last_second(cron: Cron) -> int:
    return cron.hours[-1] * 3600 + cron.minutes[-1] * 60 + cron.seconds[-1]


def widest_gap(cron: Cron) -> int:
    """The longest time between two matches of one day, in seconds; 0 when there is one only."""
    minute = max(_steps(cron.seconds), default=0)
    between = cron.seconds[0] - cron.seconds[-1]
    hour = max((step * 60 + between for step in _steps(cron.minutes)), default=0)
    over = (cron.minutes[0] - cron.minutes[-1]) * 60 + between
    return max(minute, hour, *(step * 3600 + over for step in _steps(cron.hours)), 0)


def is_gapless(cron: Cron, seconds: int) -> bool:
    """Whether it matches every day, and never are two matches further apart than `seconds`."""
    every_day = (
        len(cron.days) == 31
        and len(cron.weekdays) == 7
        and len(cron.months) == 12
        and cron.years is None
    )
    return (
        every_day
        and widest_gap(cron) <= seconds
        and first_second(cron) + DAY - last_second(cron) <= seconds
    )


def last_within(cron: Cron, second: int) -> int | None:
    """The last match of a day at or before its `second`."""
    hour, rest = divmod(second, 3600)
    minute, hour_rest = divmod(rest, 60)
    for h in reversed(cron.hours[: bisect_right(cron.hours, hour)]):
        if h < hour:
            return h * 3600 + cron.minutes[-1] * 60 + cron.seconds[-1]
        for m in reversed(cron.minutes[: bisect_right(cron.minutes, minute)]):
            if m < minute:
                return h * 3600 + m * 60 + cron.seconds[-1]
            at = bisect_right(cron.seconds, hour_rest)
            if at:
                return h * 3600 + m * 60 + cron.seconds[at - 1]
    return None


def _steps(values: Sequence[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(values)]
