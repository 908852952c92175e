"""The columns of a deployment that a statement sets when it tells the cluster something new.

Rule: the same statement also stores what the cluster had before, in SQL and in the same row, so
that a hand-out to a million clusters stays one UPDATE. `manager/revisions/delivery_log.py` reads
the lines.
"""

from __future__ import annotations

import sqlalchemy as sa

from fleetctl.core.model.plan import Want

from ..schema import deployments

# Characters of one delivery log; a line that is cut at the end is ignored.
LOG_CHARACTERS = 1200
_MESSAGE_CHARACTERS = 100
Columns = dict[str, object]


def want_columns(want: Want) -> Columns:
    """The columns that hold what the cluster is told."""
    return {
        "archive": want.archive,
        "size": want.size,
        "options_digest": want.options_digest,
        "options_key": want.options_key,
        "target": want.target,
        "customization": want.customization,
        "commit": want.commit,
        "bundle_facts": want.bundle_facts.encode(),
        "keep_resources": want.keep_resources,
        "decision": want.decision,
    }


def delivery_columns(now: int) -> Columns:
    """The columns that an UPDATE sets together with a new generation; `now` in Unix seconds."""
    return {
        "delivery_log": _log_with_present(),
        "sent_at": now,
        "state_since": now,
        "first_ready_at": 0,
    }


def _log_with_present() -> sa.ColumnElement[str]:
    """The delivery log with the present state as its first line. A cluster that was told nothing
    has an empty log.
    """
    d = deployments.c
    message = sa.case(
        ((d.message == "") | (d.reported_generation < d.generation), ""),
        else_=sa.func.substr(sa.func.replace(d.message, "\n", " "), 1, _MESSAGE_CHARACTERS),
    )
    columns = (d.decision, d.generation, d.sent_at, d.state, d.state_since, d.first_ready_at)
    line = sa.func.printf("%d|%d|%d|%s|%d|%d|%s\n", *columns, message)
    log = sa.func.substr(line.concat(d.delivery_log), 1, LOG_CHARACTERS)
    return sa.case((d.sent_at > 0, log), else_=d.delivery_log)
