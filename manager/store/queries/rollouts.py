"""Queries about rollouts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Reader
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
