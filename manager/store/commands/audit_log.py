"""Writes the audit log and makes bundles follow a decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..bulk import in_parts
from ..connection import Writer
from ..keys import BundleKey
from ..queries import next_generation
from ..schema import bundles, decisions, revisions
from .pins import delete_released_pins

DecisionKey = tuple[Workspace, BundleName, int]


class CommitDecision(msgspec.Struct, frozen=True):
    """A commit that made revision `number` of a bundle."""

    bundle: BundleName
    number: int
    commit: str
    author: str
    subject: str


def insert_decision(
    writer: Writer, bundle: BundleKey, cause: str, number: int, *, person: str, reason: str, at: str
) -> int:
    """Store a decision for revision `number` with the commit of that revision. Returns its id."""
    r = revisions.c
    query = sa.select(r.commit, r.author, r.subject).where(
        r.workspace == bundle[0], r.bundle == bundle[1], r.number == number
    )
    revision = writer.execute(query).one_or_none()
    decision = next_generation(writer)
    values = {
        "workspace": bundle[0],
        "bundle": bundle[1],
        "id": decision,
        "cause": cause,
        "number": number,
        "commit": revision.commit if revision else "",
        "author": revision.author if revision else "",
        "subject": revision.subject if revision else "",
        "person": person,
        "reason": reason,
        "decided_at": at,
    }
    writer.execute(sa.insert(decisions), values)
    return decision


def insert_commit_decisions(
    writer: Writer, workspace: Workspace, commits: Sequence[CommitDecision], cause: str, at: str
) -> int:
    """Store one decision for all bundles that new commits changed. Returns its id."""
    decision = next_generation(writer)
    head = {
        "workspace": workspace,
        "id": decision,
        "cause": cause,
        "person": "",
        "reason": "",
        "decided_at": at,
    }
    writer.execute(
        sa.insert(decisions), [head | msgspec.structs.asdict(commit) for commit in commits]
    )
    return decision


def follow_decision(
    writer: Writer, workspace: Workspace, names: Iterable[BundleName], decision: int
) -> None:
    """All clusters of the bundles follow `decision`, except those with a pin."""
    b, names = bundles.c, sorted(names)
    for part in in_parts(names):
        writer.execute(
            sa.update(bundles)
            .where(b.workspace == workspace, b.name.in_(part))
            .values(decision=decision)
        )
    delete_released_pins(writer, workspace, names)


def delete_decisions(writer: Writer, keys: Sequence[DecisionKey]) -> None:
    d = decisions.c
    for part in in_parts(keys):
        writer.execute(sa.delete(decisions).where(sa.tuple_(d.workspace, d.bundle, d.id).in_(part)))


def delete_decisions_of_bundles(
    writer: Writer, workspace: Workspace, names: Iterable[BundleName]
) -> None:
    d = decisions.c
    for part in in_parts(sorted(names)):
        writer.execute(sa.delete(decisions).where(d.workspace == workspace, d.bundle.in_(part)))
