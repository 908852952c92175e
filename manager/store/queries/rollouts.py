"""Reads the rollouts of bundles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Reader
from ..keys import BundleKey
from ..schema import rollouts
from .targeting import in_parts


class RolloutPhase(NamedTuple):
    """How far a rollout is. `silent`: the number of clusters that have not received the version."""

    bundle: BundleName
    phase: str
    reason: str
    commit: str
    silent: int


def rollout_phases(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> list[RolloutPhase]:
    """Return the phases of those of the bundles that have a rollout."""
    r = rollouts.c
    query = sa.select(r.bundle, r.phase, r.reason, r.commit, r.silent).where(
        r.workspace == workspace
    )
    return [
        RolloutPhase(*row)
        for part in in_parts(sorted(names))
        for row in reader.execute(query.where(r.bundle.in_(part)))
    ]


class RolloutRow(msgspec.Struct, frozen=True):
    """The rollout of one bundle, in the order of the columns. `shape`, `steps` and `counts` are
    JSON.
    """

    workspace: Workspace
    bundle: BundleName
    version: int
    commit: str
    begun: str
    phase: str
    reason: str
    waiting: str
    ignoring: str
    shape: bytes
    steps: bytes
    counts: bytes
    wake: float
    dirty: int
    silent: int
    good: int


_COLUMNS = tuple(rollouts.c[name] for name in RolloutRow.__struct_fields__)


def list_rollouts(
    reader: Reader, workspace: str | None = None, bundle: str = ""
) -> list[RolloutRow]:
    """Sorted by workspace and bundle. An empty filter selects all."""
    r = rollouts.c
    query = sa.select(*_COLUMNS).order_by(r.workspace, r.bundle)
    if workspace:
        query = query.where(r.workspace == workspace)
    if bundle:
        query = query.where(r.bundle == bundle)
    return [RolloutRow(*row) for row in reader.execute(query)]


def find_rollout(reader: Reader, bundle: BundleKey) -> RolloutRow | None:
    r = rollouts.c
    query = sa.select(*_COLUMNS).where(r.workspace == bundle[0], r.bundle == bundle[1])
    row = reader.execute(query).one_or_none()
    return None if row is None else RolloutRow(*row)


def partition_reasons(reader: Reader, workspace: str | None) -> dict[tuple[str, str, int], str]:
    """What the rollouts wait for, by workspace, bundle and number of the partition."""
    r = rollouts.c
    query = sa.select(r.workspace, r.bundle, r.counts)
    if workspace:
        query = query.where(r.workspace == workspace)
    return {
        (row.workspace, row.bundle, number): count["why"]
        for row in reader.execute(query)
        for number, count in enumerate(msgspec.json.decode(row.counts))
    }


def bundles_in_phase(reader: Reader, workspace: str | None, phase: str) -> set[tuple[str, str]]:
    """Workspace and name of the bundles whose rollouts are in this phase."""
    r = rollouts.c
    query = sa.select(r.workspace, r.bundle).where(r.phase == phase)
    if workspace:
        query = query.where(r.workspace == workspace)
    return {(row.workspace, row.bundle) for row in reader.execute(query)}
