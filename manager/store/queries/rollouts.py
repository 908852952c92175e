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


def find_rollout(reader: Reader, bundle: BundleKey) -> RolloutRow | None:
    r = rollouts.c
    query = sa.select(*_COLUMNS).where(r.workspace == bundle[0], r.bundle == bundle[1])
    row = reader.execute(query).one_or_none()
    return None if row is None else RolloutRow(*row)
