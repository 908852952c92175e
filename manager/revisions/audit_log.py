"""The decisions about a bundle, by whom and why: commits, rollbacks, releases, and the commands of
people to its rollout.

Rule: a bundle has a few rows, however many clusters follow them; the row of each deployment names
the decision by which its cluster was told. The ids come from the counter of generations, so that a
later decision has the higher id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..store import Reader, Writer
from ..store.commands import audit_log as commands
from ..store.keys import BundleKey
from ..store.queries import audit_log as queries
from ..store.queries import revisions
from . import delivery_log

COMMIT, ROLLBACK, RELEASE = "commit", "rollback", "release"
_LIST_SIZE = 30
# This number of decisions stays whether a deployment names them or not; older ones are searched
# when a bundle has the second number.
_ALWAYS_KEPT, _MANY_DECISIONS = 100, 200


def record_command(
    writer: Writer, bundle: BundleKey, verb: str, *, person: str, reason: str, at: str
) -> None:
    """Store a person's command to the rollout of the current revision."""
    number = revisions.current_revision(writer, bundle)
    commands.insert_decision(writer, bundle, verb, number, person=person, reason=reason, at=at)


def list_decisions(reader: Reader, bundle: BundleKey) -> list[dict[str, Any]]:
    """The last decisions, the newest first, as the API shows them."""
    rows = queries.list_decisions(reader, bundle, _LIST_SIZE)
    return [_decision_document(row) for row in rows]


def _decision_document(row: queries.DecisionRow) -> dict[str, Any]:
    return {
        "cause": row.cause,
        "number": row.number,
        "commit": row.commit,
        "author": row.author,
        "subject": row.subject,
        "who": row.person,
        "reason": row.reason,
        "at": row.decided_at,
    }


def find_unnamed_decisions(reader: Reader) -> list[commands.DecisionKey]:
    """Old decisions that no deployment names, of bundles that have many.

    Reads only and may take seconds: run it on a reader, not on the writer. The result stays true,
    because deployments follow only the last decisions.
    """
    bundles = queries.bundles_with_many_decisions(reader, _MANY_DECISIONS)
    staged_ids = queries.decisions_of_staged(reader) if bundles else set()
    return [
        (*bundle, decision)
        for bundle in bundles
        for decision in _find_unnamed(reader, bundle, staged_ids)
    ]


def _find_unnamed(reader: Reader, bundle: BundleKey, staged_ids: set[int]) -> list[int]:
    named_ids = staged_ids | queries.current_decisions(reader, bundle)
    for decision, log in queries.decisions_of_deliveries(reader, bundle):
        named_ids.add(decision)
        named_ids.update(line.decision for line in delivery_log.parse_lines(log))
    old = queries.old_decisions(reader, bundle, _ALWAYS_KEPT)
    return [decision for decision in old if decision not in named_ids]


def delete_decisions(writer: Writer, keys: Sequence[commands.DecisionKey]) -> None:
    """Delete the result of `find_unnamed_decisions`."""
    commands.delete_decisions(writer, keys)
