"""What a cluster was told before, kept beside what it is told now.

Rule: the statement that tells a cluster something new also writes down what it had, in SQL and in
the same row, so that a hand-out to a million clusters stays one UPDATE. A line says which decision
it was (manager/revisions/audit_log.py), its generation, when it was told, in which state it was
when something else came and since when, when it had been Ready first, and what was wrong. The
newest line comes first; what is longer than `MOST` characters is cut, and a line that was cut is
none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.status import State

from ..store.schema import deployments

KEPT, MOST = 10, 1200
_MESSAGE = 100
# A removal is no decision about a revision.
REMOVAL = -1


class Line(NamedTuple):
    """One thing that a cluster was told. Times in Unix seconds, 0 never; `state` when it was
    replaced, by its agent's last word.
    """

    decision: int
    generation: int
    told: int
    state: str
    since: int
    well: int
    message: str


def handed(now: int) -> dict[str, Any]:
    """The columns that an UPDATE sets together with a new generation; `now` in Unix seconds."""
    return {"past": remembered(), "told": now, "since": now, "well": 0}


def turned(row: Any, state: str, now: int) -> dict[str, int]:
    """The columns that a report sets with the state: since when it is so, and when it was Ready
    first. `row`: state and well as stored.
    """
    news = {"since": now} if row.state != state else {}
    return news | ({"well": now} if state == State.READY.value and not row.well else {})


def remembered() -> Any:
    """The past with the present before it, as SQL. Who was never told anything has none."""
    d = deployments.c
    said = sa.case(
        ((d.message == "") | (d.reported < d.generation), ""),
        else_=sa.func.substr(sa.func.replace(d.message, "\n", " "), 1, _MESSAGE),
    )
    columns = (d.decision, d.generation, d.told, d.state, d.since, d.well)
    line = sa.func.printf("%d|%d|%d|%s|%d|%d|%s\n", *columns, said)
    return sa.case((d.told > 0, sa.func.substr(line.concat(d.past), 1, MOST)), else_=d.past)


def lines(past: str) -> list[Line]:
    """Newest first, ten at most."""
    whole = past.split("\n")[:-1][:KEPT]
    return [_line(text) for text in whole]


def _line(text: str) -> Line:
    decision, generation, told, state, since, well, message = text.split("|", 6)
    return Line(int(decision), int(generation), int(told), state, int(since), int(well), message)
