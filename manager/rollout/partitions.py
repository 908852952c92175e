"""Which partition each cluster of a rollout is in, written beside its deployment.

Rule: a row that is new, or whose cluster may belong elsewhere now, has partition -1 until it is
placed. Others move only when the strategy or the groups change, and those of automatic partitions
when another version finds another number of clusters: within one rollout nobody changes sides.
Placing goes through the rows in parts, each in a transaction of its own, and how far it is stands
in the shape.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Group
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import Workspace
from fleetctl.core.rollout.strategy import (
    Strategy,
    automatic_step,
    chooser,
    outlined,
    policy_of,
    strategy_of,
)

from ..store import counts
from ..store.bulk import many
from ..store.keys import BundleKey as Place
from ..store.queries import cluster_of, groups
from ..store.schema import deployments, objects
from .admission import MOST
from .staging import KEPT, NOWHERE

_json = msgspec.json.encode


class Shape(msgspec.Struct, frozen=True):
    """The partitions as they stand, without their members, which are told by
    `deployments.partition`. `hold`: why Git says that nobody may be told anything, or "".

    `basis`: what the partitions were made from; `version` and `counted`: for which version, and for
    how many clusters. `bounds`: the last place in each automatic partition but the last one.
    `cursor`: the row up to which everybody is placed, -1 when all are. `swept`: the row up to which
    all who may go were handed out to, while all may.
    """

    # name, clusters, maxUnavailable, soak, approval
    partitions: list[tuple[str, int, int, float, bool]]
    policy: dict[str, Any]
    hold: str = ""
    basis: str = ""
    version: int = 0
    counted: int = 0
    bounds: list[tuple[int, str]] = []
    cursor: int = -1
    swept: int = 0


def shape_of(text: bytes) -> Shape:
    """A shape as it is stored; one without partitions where there is none yet."""
    return msgspec.json.decode(text, type=Shape) if text != b"null" else Shape([], {})


def reshaped(
    connection: Connection, spec: BundleSpec, old: Shape, version: int
) -> tuple[Shape, bool]:
    """The partitions for the clusters of now; and whether everybody has a place. If not, store the
    shape and call again.
    """
    place, strategy = (spec.workspace, spec.name), safe_strategy(spec)
    known = groups(connection, spec.workspace) if strategy.partitions else []
    basis, total = _basis(strategy, known), sum(_sizes(connection, place).values())
    moved = not strategy.partitions and version != old.version and total != old.counted
    if basis != old.basis or moved:
        bounds = (
            []
            if strategy.partitions
            else _bounds(connection, place, automatic_step(strategy, total), total)
        )
        old = msgspec.structs.replace(old, basis=basis, bounds=bounds, counted=total, cursor=0)
    shape = msgspec.structs.replace(old, version=version, hold=_hold(connection, spec))
    work = _Placing(connection, place, _chooser(strategy, known, shape, spec.workspace), MOST)
    done = False
    while not done and work.left > 0:
        shape, done = _on(work, shape)
    return _measured(connection, place, strategy, shape), done


@dataclass
class _Placing:
    """`choose`: the partition of a row. `left`: so many more rows may be looked at now."""

    connection: Connection
    place: Place
    choose: Callable[[Any], int]
    left: int

    def put(self, query: sa.TextClause, **values: Any) -> int:
        """Place the rows of a query; the last of them, or -1 when there are no more."""
        where = {"workspace": self.place[0], "bundle": self.place[1], "most": self.left, **values}
        rows = self.connection.execute(query, where).all()
        many(
            self.connection,
            _MOVED,
            [{"r": row.row, "p": at} for row in rows if (at := self.choose(row)) != row.partition],
        )
        whole, self.left = len(rows) == self.left, self.left - len(rows)
        return int(rows[-1].row) if whole else NOWHERE


def _on(work: _Placing, shape: Shape) -> tuple[Shape, bool]:
    """One step, and whether everybody has a place then."""
    if shape.cursor >= 0:
        shape = msgspec.structs.replace(shape, cursor=work.put(_ROWS, after=shape.cursor))
        return shape, False
    new = [sort for sort in counts.every(work.connection, *work.place) if sort.partition == NOWHERE]
    if not new:
        return shape, True
    for state in sorted({sort.state for sort in new if sort.held}):
        if work.left > 0:
            work.put(_NEW, state=state)
    if not any(sort.held for sort in new):
        # what is not held is found only by going through all
        shape = msgspec.structs.replace(shape, cursor=0)
    return shape, False


_MOVED = (
    sa.update(deployments)
    .where(sa.literal_column("rowid") == sa.bindparam("r"))
    .values(partition=sa.bindparam("p"))
)
_ROWS = sa.text("""
SELECT d.rowid AS row, d.cluster_id, d.position, d.partition, c.id, c.name, c.labels,
    c.annotations, c.spec
FROM deployments d INDEXED BY deployments_bundle JOIN clusters c ON c.id = d.cluster_id
WHERE d.workspace = :workspace AND d.bundle = :bundle AND d.rowid > :after AND NOT d.removed
    AND NOT d.kept ORDER BY d.rowid LIMIT :most
""")
_NEW = sa.text("""
SELECT d.rowid AS row, d.cluster_id, d.position, d.partition, c.id, c.name, c.labels,
    c.annotations, c.spec
FROM deployments d INDEXED BY deployments_held JOIN clusters c ON c.id = d.cluster_id
WHERE d.workspace = :workspace AND d.bundle = :bundle AND d.partition = -1 AND d.state = :state
    AND d.staged <> ''
    AND NOT d.removed AND NOT d.kept
LIMIT :most
""")
_BOUNDS = sa.text("""
SELECT position, cluster_id FROM (
    SELECT position, cluster_id, row_number() OVER (ORDER BY position, cluster_id) AS rank
    FROM deployments INDEXED BY deployments_bundle WHERE workspace = :workspace
        AND bundle = :bundle AND NOT removed AND NOT kept
) WHERE rank % :step = 0 AND rank < :total ORDER BY rank
""")


def _bounds(connection: Connection, place: Place, step: int, total: int) -> list[tuple[int, str]]:
    if step >= total:
        return []
    rows = connection.execute(
        _BOUNDS, {"workspace": place[0], "bundle": place[1], "step": step, "total": total}
    )
    return [(row.position, row.cluster_id) for row in rows]


def _chooser(
    strategy: Strategy, known: Sequence[Group], shape: Shape, workspace: Workspace
) -> Callable[[Any], int]:
    if not strategy.partitions:
        return lambda row: bisect_left(shape.bounds, (row.position, row.cluster_id))
    choose = chooser(strategy, known)
    return lambda row: choose(cluster_of(row, workspace))


def _basis(strategy: Strategy, known: Sequence[Group]) -> str:
    """Equal as long as the same cluster belongs to the same partition."""
    if strategy.partitions:
        said: Any = [
            [p.cluster_name, p.cluster_selector, p.cluster_group, p.cluster_group_selector]
            for p in strategy.partitions
        ]
    else:
        said = [strategy.auto_partition_size, strategy.auto_partition_threshold]
    return hashlib.sha256(_json([said, known if strategy.partitions else []])).hexdigest()[:32]


def _hold(connection: Connection, spec: BundleSpec) -> str:
    """A pause that Git states; a person's own one is a phase of the rollout."""
    if not spec.paused:
        return ""
    o = objects.c
    query = sa.select(o.spec).where(
        o.kind == "GitRepo", o.workspace == spec.workspace, o.name == spec.repo
    )
    text = connection.execute(query).scalar()
    if text is not None and msgspec.json.decode(text).get("paused"):
        return f"GitRepo {spec.repo} is paused"
    return "its fleet.yaml says paused: true"


def safe_strategy(spec: BundleSpec) -> Strategy:
    """What the bundle states; what cannot be read lets one cluster go at a time. (The scan refuses
    it; an older manager did not.)
    """
    try:
        return strategy_of(spec.rollout_strategy)
    except FleetError:
        return Strategy(max_unavailable=1)


def _measured(connection: Connection, place: Place, strategy: Strategy, shape: Shape) -> Shape:
    sizes = _sizes(connection, place)
    parts = len(strategy.partitions) + 1 if strategy.partitions else len(shape.bounds) + 1
    made = outlined(strategy, [sizes.get(at, 0) for at in range(parts)])
    shown = [(p.name, len(p.members), p.max_unavailable, p.soak, p.approval) for p in made]
    return msgspec.structs.replace(
        shape, partitions=shown, policy=asdict(policy_of(strategy, len(made), sum(sizes.values())))
    )


def _sizes(connection: Connection, place: Place) -> dict[int, int]:
    """By partition, without those that are kept from a removal."""
    found = counts.summed(counts.every(connection, *place), lambda sort: sort.partition)
    return {at: n for at, n in found.items() if at != KEPT}
