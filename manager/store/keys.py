"""Values that identify rows, and column values with a meaning, for more than one table."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias

from fleetctl.core.model.ids import BundleName, Workspace

BundleKey: TypeAlias = tuple[Workspace, BundleName]

# Values of `deployments.partition` that are no partition: the cluster has no partition yet, and the
# deployment is kept from a removal.
UNPLACED, KEPT = -1, 1_000_000


class KeyRange(NamedTuple):
    """A part of a sorted list: the first `limit` rows (0: all) with a key above `after`, which is
    empty for the start of the list.
    """

    after: tuple[str, ...] = ()
    limit: int = 0


ALL_KEYS = KeyRange()


class Dirty(IntEnum):
    """Values of `rollouts.dirty`: what the next decision must look at again."""

    NO = 0
    DECISION = 1
    PARTITIONS = 2
