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
class _Repetition:
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
    count: int = 0
    names: list[str] = field(default_factory=list)


class Repeats:
    def __init__(self) -> None:
        self._repetitions: dict[str, dict[str, _Repetition]] = {}
        self._crowds: dict[str, _Crowd] = {}

    def admit(self, subject: str, text: str, now: float, level: str = "warning") -> str | None:
        """What to add to the line ("" for nothing), or None when there is nothing new to say."""
        key = " ".join(sorted(_FIGURES.sub("#", text).split()))
        texts = self._repetitions.setdefault(subject, {})
        repetition = texts.get(key)
        if repetition is None or now - repetition.last > _FORGET_SECONDS:
            self._forget()
            repetition = texts[key] = _Repetition(now, now + FIRST_SECONDS, now)
        else:
            repetition.count, repetition.last = repetition.count + 1, now
            if now < repetition.next:
                return None
            repetition.wait = min(MOST_SECONDS, 2 * repetition.wait)
            repetition.next = now + repetition.wait
        if not self._has_room(key, subject, (level, text), now):
            return None
        repetition.was_said = True
        return (
            f" ({repetition.count} times in {span(now - repetition.since)})"
            if repetition.count > 1
            else ""
        )

    def over(self, subject: str, now: float) -> str | None:
        """The subject is in order: how often it was not, or None when nobody was told of any
        trouble.
        """
        texts = self._repetitions.pop(subject, {})
        repetitions = [repetition for repetition in texts.values() if repetition.was_said]
        if not repetitions:
            return None
        count, since = (
            sum(repetition.count for repetition in texts.values()),
            min(repetition.since for repetition in texts.values()),
        )
        return f"after {count} {'failure' if count == 1 else 'failures'} in {span(now - since)}"

    def gather(self, now: float) -> list[tuple[str, str, str]]:
        """(level, subjects, text) of the crowds whose rest was not said yet; call it every few
        seconds.
        """
        lines = []
        for key, crowd in list(self._crowds.items()):
            if crowd.names and now - crowd.since >= GATHER_SECONDS:
                lines.append((crowd.level, _describe(crowd.names), crowd.text))
                crowd.names = []
            if now - crowd.since >= CROWD_SECONDS:
                del self._crowds[key]
        return lines

    def _has_room(self, key: str, subject: str, words: tuple[str, str], now: float) -> bool:
        crowd = self._crowds.get(key)
        if crowd is None or now - crowd.since >= CROWD_SECONDS:
            subjects = crowd.names if crowd else []
            crowd = self._crowds[key] = _Crowd(now, *words, names=subjects)
        if crowd.count >= CROWD:
            crowd.names.append(subject)
            return False
        crowd.count += 1
        return True

    def _forget(self) -> None:
        if len(self._repetitions) > _MOST_KEPT:
            del self._repetitions[next(iter(self._repetitions))]


def span(seconds: float) -> str:
    """`42 s`, `14 min`, `3 h`, `2 d`: whole, rounded down."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(0.0, seconds))} s"


def _describe(subjects: list[str]) -> str:
    names = list(dict.fromkeys(subjects))
    text = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return f"{len(names)} more ({text})"
