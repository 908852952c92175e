"""Reads decisions: why clusters were sent something, and by whom."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace
from fleetctl.core.model.plan import Want

from ..bulk import in_parts
from ..connection import Reader
from ..keys import BundleKey
from ..rows import columns_of, fetch_all, fetch_first
from ..schema import bundles, decisions, deployments, pins, staged_targets


class BundleDecision(msgspec.Struct, frozen=True):
    """A decision about a bundle. `number`: the revision that it is about; `author` and `subject`
    are of the revision's commit, `person` and `reason` of the person who decided.
    """

    bundle: str
    id: int
    cause: str
    number: int
    commit: str
    author: str
    subject: str
    person: str
    reason: str
    decided_at: str


_QUERY = sa.select(*columns_of(BundleDecision, decisions))


def decisions_with_ids(
    reader: Reader, workspace: str, ids: Collection[int]
) -> list[BundleDecision]:
    """One id may stand for decisions about several bundles."""
    d = decisions.c
    query = _QUERY.where(d.workspace == workspace)
    return [
        row
        for part in in_parts(sorted(ids))
        for row in fetch_all(reader, query.where(d.id.in_(part)), BundleDecision)
    ]


def find_decision(
    reader: Reader, workspace: str, bundle: str, decision: int
) -> BundleDecision | None:
    d = decisions.c
    conditions = (d.workspace == workspace) & (d.bundle == bundle) & (d.id == decision)
    return fetch_first(reader, _QUERY.where(conditions), BundleDecision)


def last_decision(reader: Reader, workspace: str, bundle: str, cause: str) -> BundleDecision | None:
    """The newest decision about the bundle for this cause."""
    d = decisions.c
    conditions = (d.workspace == workspace) & (d.bundle == bundle) & (d.cause == cause)
    query = _QUERY.where(conditions).order_by(d.id.desc()).limit(1)
    return fetch_first(reader, query, BundleDecision)


class DecisionRow(msgspec.Struct, frozen=True):
    """One decision. `cause`: commit, rollback, release, or the verb of a rollout command."""

    cause: str
    number: int
    commit: str
    author: str
    subject: str
    person: str
    reason: str
    decided_at: str


def list_decisions(reader: Reader, bundle: BundleKey, limit: int) -> list[DecisionRow]:
    """The last `limit` decisions, the newest first."""
    d = decisions.c
    query = (
        sa.select(
            d.cause, d.number, d.commit, d.author, d.subject, d.person, d.reason, d.decided_at
        )
        .where(d.workspace == bundle[0], d.bundle == bundle[1])
        .order_by(d.id.desc())
        .limit(limit)
    )
    return [DecisionRow(*row) for row in reader.execute(query)]


def decision_numbers(reader: Reader, bundle: BundleKey) -> dict[int, int]:
    """The revision of each decision, by the id of the decision."""
    d = decisions.c
    query = sa.select(d.id, d.number).where(d.workspace == bundle[0], d.bundle == bundle[1])
    return {row.id: row.number for row in reader.execute(query)}


def newest_decision(reader: Reader, bundle: BundleKey, number: int) -> int:
    """The id of the last decision for revision `number`, 0 for none."""
    d = decisions.c
    query = sa.select(sa.func.max(d.id)).where(
        d.workspace == bundle[0], d.bundle == bundle[1], d.number == number
    )
    return reader.execute(query).scalar() or 0


def bundles_with_many_decisions(reader: Reader, least: int) -> list[BundleKey]:
    d = decisions.c
    query = (
        sa.select(d.workspace, d.bundle)
        .group_by(d.workspace, d.bundle)
        .having(sa.func.count() >= least)
    )
    return [(Workspace(row[0]), BundleName(row[1])) for row in reader.execute(query)]


def old_decisions(reader: Reader, bundle: BundleKey, newest: int) -> list[int]:
    """The ids of all decisions but the `newest` last ones."""
    d = decisions.c
    query = (
        sa.select(d.id)
        .where(d.workspace == bundle[0], d.bundle == bundle[1])
        .order_by(d.id.desc())
        .offset(newest)
    )
    return list(reader.execute(query).scalars())


def current_decisions(reader: Reader, bundle: BundleKey) -> set[int]:
    """The ids of the decisions that the bundle and its pins follow."""
    b, p = bundles.c, pins.c
    decisions_of_pins = sa.select(p.decision).where(p.workspace == bundle[0], p.bundle == bundle[1])
    decision_of_bundle = sa.select(b.decision).where(b.workspace == bundle[0], b.name == bundle[1])
    return {
        *reader.execute(decisions_of_pins).scalars(),
        *reader.execute(decision_of_bundle).scalars(),
    }


def decisions_of_staged(reader: Reader) -> set[int]:
    """The ids of the decisions that staged versions follow."""
    return {
        msgspec.json.decode(text, type=Want).decision
        for text in reader.execute(sa.select(staged_targets.c.json)).scalars()
    }


def decisions_of_deliveries(reader: Reader, bundle: BundleKey) -> Iterator[tuple[int, str]]:
    """For each deployment the id of the decision that it follows, and its delivery log."""
    d = deployments.c
    query = sa.select(d.decision, d.delivery_log).where(
        d.workspace == bundle[0], d.bundle == bundle[1]
    )
    for row in reader.execute(query):
        yield row.decision, row.delivery_log
