"""Places each cluster of a rollout in its partition, stored beside its deployment.

Rule: a row that is new, or whose cluster may belong to another partition now, has no partition
(UNPLACED) until it is placed. Others move only if the strategy or the groups change, and those of
automatic partitions if another version has another number of clusters: within one rollout no
cluster changes its partition. Placing goes through the rows in parts, each in a transaction of its
own, and the shape holds how far it is.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Group
from fleetctl.core.model.errors import FleetError
from fleetctl.core.rollout.strategy import (
    Strategy,
    automatic_step,
    chooser,
    outline_partitions,
    policy_of,
    strategy_of,
)

from ..store import Reader, Writer, counts
from ..store.commands.rollout.placement import place_rows
from ..store.keys import KEPT, UNPLACED, BundleKey
from ..store.queries import groups
from ..store.queries.rollout.placement import (
    PlacedRow,
    is_repo_paused,
    partition_bounds,
    rows_after,
    rows_without_partition,
)
from .admission import MOST_DEPLOYMENTS

_json = msgspec.json.encode


class Shape(msgspec.Struct, frozen=True, rename={"clusters": "counted", "sweep_row": "swept"}):
    """The partitions of a rollout without their members, which `deployments.partition` tells.
    `hold`: why Git says that no cluster may be told anything, or "".

    `basis`: a digest of what the partitions were made from; `version` and `clusters`: for which
    version, and for how many clusters. `bounds`: the last place in each automatic partition but the
    last one. `cursor`: the row up to which all clusters are placed, -1 when all are. `sweep_row`:
    the row up to which all that may go were handed out to, while all may.
    """

    # name, clusters, maxUnavailable, soak, approval
    partitions: list[tuple[str, int, int, float, bool]]
    policy: dict[str, Any]
    hold: str = ""
    basis: str = ""
    version: int = 0
    clusters: int = 0
    bounds: list[tuple[int, str]] = []
    cursor: int = -1
    sweep_row: int = 0


def shape_of(text: bytes) -> Shape:
    """Decodes a stored shape; one without partitions if there is none yet."""
    return msgspec.json.decode(text, type=Shape) if text != b"null" else Shape([], {})


def place_clusters(
    writer: Writer, spec: BundleSpec, previous: Shape, version: int
) -> tuple[Shape, bool]:
    """Place clusters, at most `MOST_DEPLOYMENTS`. Returns the partitions for the clusters of now,
    and whether every cluster has a partition. If not, store the shape and call again.
    """
    bundle, strategy = (spec.workspace, spec.name), safe_strategy(spec)
    known_groups = groups(writer, spec.workspace) if strategy.partitions else []
    shape = _renew_bounds(writer, bundle, strategy, known_groups, previous, version)
    shape = msgspec.structs.replace(shape, version=version, hold=_hold(writer, spec))
    placing = _Placing(writer, bundle, _chooser(strategy, known_groups, shape), MOST_DEPLOYMENTS)
    is_placed = False
    while not is_placed and placing.room > 0:
        shape, is_placed = _place_some(placing, shape)
    sizes = _sizes(writer, bundle)
    return measure_partitions(strategy, shape, sizes), is_placed


def _renew_bounds(
    reader: Reader,
    bundle: BundleKey,
    strategy: Strategy,
    known_groups: Sequence[Group],
    previous: Shape,
    version: int,
) -> Shape:
    """The shape with new bounds and a new cursor, if clusters must be placed again."""
    basis = _basis(strategy, known_groups)
    total = sum(_sizes(reader, bundle).values())
    has_grown = version != previous.version and total != previous.clusters
    if basis == previous.basis and (strategy.partitions or not has_grown):
        return previous
    bounds: list[tuple[int, str]] = []
    if not strategy.partitions:
        step = automatic_step(strategy, total)
        bounds = [*partition_bounds(reader, bundle, step, total)]
    return msgspec.structs.replace(previous, basis=basis, bounds=bounds, clusters=total, cursor=0)


@dataclass
class _Placing:
    """Places rows. `choose`: the partition of a row; `room`: so many more rows may be read."""

    writer: Writer
    bundle: BundleKey
    choose: Callable[[PlacedRow], int]
    room: int

    def place(self, rows: Sequence[PlacedRow]) -> int:
        """Place the rows, which were read with the limit `room`. Returns the last row id, or -1 if
        there are no more rows.
        """
        partitions = {row.row: self.choose(row) for row in rows}
        changes = {
            row.row: partitions[row.row] for row in rows if partitions[row.row] != row.partition
        }
        place_rows(self.writer, changes)
        full = len(rows) == self.room
        self.room -= len(rows)
        return rows[-1].row if full else UNPLACED


def _place_some(placing: _Placing, shape: Shape) -> tuple[Shape, bool]:
    """One step. Returns the shape, and whether every cluster has a partition then."""
    writer, bundle = placing.writer, placing.bundle
    if shape.cursor >= 0:
        rows = rows_after(writer, bundle, shape.cursor, placing.room)
        return msgspec.structs.replace(shape, cursor=placing.place(rows)), False
    new_keys = [
        count_key
        for count_key in counts.count_deployments(writer, *bundle)
        if count_key.partition == UNPLACED
    ]
    if not new_keys:
        return shape, True
    for state in sorted({count_key.state for count_key in new_keys if count_key.is_staged}):
        if placing.room > 0:
            placing.place(rows_without_partition(writer, bundle, state, placing.room))
    if not any(count_key.is_staged for count_key in new_keys):
        # Rows without a staged version are found only by going through all rows.
        shape = msgspec.structs.replace(shape, cursor=0)
    return shape, False


def _chooser(
    strategy: Strategy, known_groups: Sequence[Group], shape: Shape
) -> Callable[[PlacedRow], int]:
    if not strategy.partitions:
        return lambda row: bisect_left(shape.bounds, (row.position, row.cluster.id))
    choose = chooser(strategy, known_groups)
    return lambda row: choose(row.cluster)


def _basis(strategy: Strategy, known_groups: Sequence[Group]) -> str:
    """Equal as long as the same cluster belongs to the same partition."""
    criteria: list[Any] = [strategy.auto_partition_size, strategy.auto_partition_threshold]
    if strategy.partitions:
        criteria = [
            [
                partition.cluster_name,
                partition.cluster_selector,
                partition.cluster_group,
                partition.cluster_group_selector,
            ]
            for partition in strategy.partitions
        ]
    text = _json([criteria, known_groups if strategy.partitions else []])
    return hashlib.sha256(text).hexdigest()[:32]


def _hold(reader: Reader, spec: BundleSpec) -> str:
    """The reason of a pause that Git states; a person's own one is a phase of the rollout."""
    if not spec.paused:
        return ""
    if is_repo_paused(reader, spec.workspace, spec.repo):
        return f"GitRepo {spec.repo} is paused"
    return "its fleet.yaml has paused: true"


def safe_strategy(spec: BundleSpec) -> Strategy:
    """The strategy of the bundle. If it cannot be read, one cluster changes at a time: the scan
    refuses such a strategy, but an older manager did not.
    """
    try:
        return strategy_of(spec.rollout_strategy)
    except FleetError:
        return Strategy(max_unavailable=1)


def measure_partitions(strategy: Strategy, shape: Shape, sizes: dict[int, int]) -> Shape:
    """The shape with its partitions and policy for these numbers of clusters by partition."""
    number = (len(strategy.partitions) if strategy.partitions else len(shape.bounds)) + 1
    outline = outline_partitions(strategy, [sizes.get(partition, 0) for partition in range(number)])
    partitions = [
        (part.name, len(part.members), part.max_unavailable, part.soak, part.approval)
        for part in outline
    ]
    policy = asdict(policy_of(strategy, len(outline), sum(sizes.values())))
    return msgspec.structs.replace(shape, partitions=partitions, policy=policy)


def _sizes(reader: Reader, bundle: BundleKey) -> dict[int, int]:
    """Clusters by partition, without those that are kept from a removal."""
    sizes = counts.sum_counts(
        counts.count_deployments(reader, *bundle), lambda count_key: count_key.partition
    )
    return {partition: number for partition, number in sizes.items() if partition != KEPT}
