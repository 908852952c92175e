"""Which complaints are worth a line: each once, then at growing intervals with a count. Pure: the
time is an argument, in seconds.

Rule: the same trouble of the same subject is said at once, then after a minute, two, four … at most
an hour, each time with how often it came; figures that differ, and words in another order, make no
other trouble. When many subjects have one trouble at one time, three are said and the rest are
counted. What is kept is bounded: the oldest are forgotten, and what did not come for half an hour
is news again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FIRST_SECONDS, MOST_SECONDS = 60.0, 3600.0
CROWD, CROWD_SECONDS, GATHER_SECONDS = 3, 60.0, 5.0
_MOST_KEPT = 600
_FORGET_SECONDS = 1800.0
_MOST_NAMED = 10
_FIGURES = re.compile(r"\d+")


@dataclass(slots=True)
class _Held:
    """One text of one subject: since when, how often, when last, and when it may be said again."""

    since: float
    next: float
    last: float
    wait: float = FIRST_SECONDS
    count: int = 1
    was_said: bool = False


@dataclass(slots=True)
class _Crowd:
    """Subjects with one text at one time: how many were said, and the names of the others."""

    since: float
    level: str
    text: str
    said: int = 0
    more: list[str] = field(default_factory=list)


class Repeats:
    def __init__(self) -> None:
        self._held: dict[str, dict[str, _Held]] = {}
        self._crowds: dict[str, _Crowd] = {}

    def admit(self, subject: str, text: str, now: float, level: str = "warning") -> str | None:
        """What to add to the line ("" for nothing), or None when there is nothing new to say."""
        key = " ".join(sorted(_FIGURES.sub("#", text).split()))
        texts = self._held.setdefault(subject, {})
        held = texts.get(key)
        if held is None or now - held.last > _FORGET_SECONDS:
            self._forget()
            held = texts[key] = _Held(now, now + FIRST_SECONDS, now)
        else:
            held.count, held.last = held.count + 1, now
            if now < held.next:
                return None
            held.wait = min(MOST_SECONDS, 2 * held.wait)
            held.next = now + held.wait
        if not self._has_room(key, subject, (level, text), now):
            return None
        held.was_said = True
        return f" ({held.count} times in {span(now - held.since)})" if held.count > 1 else ""

    def over(self, subject: str, now: float) -> str | None:
        """The subject is in order: how often it was not, or None when nobody was told of any
        trouble.
        """
        texts = self._held.pop(subject, {})
        told = [held for held in texts.values() if held.was_said]
        if not told:
            return None
        count, since = (
            sum(held.count for held in texts.values()),
            min(held.since for held in texts.values()),
        )
        return f"after {count} {'failure' if count == 1 else 'failures'} in {span(now - since)}"

    def gathered(self, now: float) -> list[tuple[str, str, str]]:
        """(level, subjects, text) of the crowds whose rest was not said yet; call it every few
        seconds.
        """
        lines = []
        for key, crowd in list(self._crowds.items()):
            if crowd.more and now - crowd.since >= GATHER_SECONDS:
                lines.append((crowd.level, _named(crowd.more), crowd.text))
                crowd.more = []
            if now - crowd.since >= CROWD_SECONDS:
                del self._crowds[key]
        return lines

    def _has_room(self, key: str, subject: str, said: tuple[str, str], now: float) -> bool:
        crowd = self._crowds.get(key)
        if crowd is None or now - crowd.since >= CROWD_SECONDS:
            more = crowd.more if crowd else []
            crowd = self._crowds[key] = _Crowd(now, *said, more=more)
        if crowd.said >= CROWD:
            crowd.more.append(subject)
            return False
        crowd.said += 1
        return True

    def _forget(self) -> None:
        if len(self._held) > _MOST_KEPT:
            del self._held[next(iter(self._held))]


def span(seconds: float) -> str:
    """`42 s`, `14 min`, `3 h`, `2 d`: whole, rounded down."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(0.0, seconds))} s"


def _named(subjects: list[str]) -> str:
    names = list(dict.fromkeys(subjects))
    shown = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return f"{len(names)} more ({shown})"
