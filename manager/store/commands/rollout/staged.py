"""Writes staged versions: what a rollout holds back from each cluster until it may have it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Key, Want, key_of
from fleetctl.core.model.status import State
from fleetctl.core.rollout.strategy import place

from ...bulk import in_parts, run_many
from ...connection import Writer
from ...keys import UNPLACED
from ...queries import next_generation
from ...queries.rollout.staged import wants_by_key
from ...schema import deployments, staged_targets
from ..delivery import Columns, delivery_columns, want_columns


class StagedDeployment(msgspec.Struct, frozen=True):
    """What a cluster will be told when its rollout lets it."""

    cluster: ClusterId
    bundle: BundleName
    repo: str
    want: Want


def insert_wants(writer: Writer, versions: Iterable[Want]) -> None:
    """Store the versions that rollouts hold back."""
    rows = [{"key": key_of(want), "json": msgspec.json.encode(want)} for want in versions]
    if rows:
        writer.execute(sa.insert(staged_targets).prefix_with("OR IGNORE"), rows)


def stage_deployments(
    writer: Writer, workspace: Workspace, rows: Sequence[StagedDeployment]
) -> None:
    """Store what the clusters wait for. A deployment that exists keeps everything else.

    A deployment that is being removed loses its tombstone, and the agent takes over what runs. Its
    generation becomes negative, so that the cluster gets a tombstone again if no bundle wants the
    deployment after all.
    """
    insert_wants(writer, {key_of(row.want): row.want for row in rows}.values())
    adding = insert(deployments)
    d, is_removed = deployments.c, deployments.c.is_removed
    changes: Columns = {
        name: sa.case((is_removed, adding.excluded[name]), else_=d[name]) for name in _PREVIOUS
    }
    changes |= {
        "generation": sa.case((is_removed, -d.generation), else_=d.generation),
        "partition": sa.case((is_removed, UNPLACED), else_=d.partition),
        "staged_key": adding.excluded.staged_key,
        "is_removed": False,
    }
    upsert = adding.on_conflict_do_update(index_elements=["cluster_id", "bundle"], set_=changes)
    run_many(writer, upsert, [_new_deployment(workspace, row) for row in rows])


# What the removed deployment reported, and its GitRepo.
_PREVIOUS = (
    "repo",
    "state",
    "applied_generation",
    "reported_generation",
    "reported_at",
    "message",
    "report",
    "cause_key",
    "resource_counts",
)


def _new_deployment(workspace: Workspace, row: StagedDeployment) -> Columns:
    """The row of a cluster that was told nothing yet."""
    return {
        "cluster_id": row.cluster,
        "bundle": row.bundle,
        "workspace": workspace,
        "repo": row.repo,
        "generation": 0,
        **want_columns(row.want),
        "is_removed": False,
        "state": State.PENDING.value,
        "applied_generation": 0,
        "reported_generation": 0,
        "reported_at": "",
        "message": "",
        "report": b"",
        "staged_key": key_of(row.want),
        **columns_without_partition((row.cluster, row.bundle)),
    }


def columns_without_partition(key: Key) -> dict[str, int]:
    """The columns of a new deployment: its place in the order never changes, a decision of the
    rollout sets its partition.
    """
    return {"partition": UNPLACED, "position": place(key[1], key[0])}


def tell_deployments(writer: Writer, deliveries: Mapping[Key, Want], now: int) -> None:
    """Tell each cluster its version now, as a new generation; what is staged stays staged. `now` in
    Unix seconds.
    """
    if not deliveries:
        return
    names = list(want_columns(next(iter(deliveries.values()))))
    values: Columns = {name: sa.bindparam(f"v_{name}") for name in names}
    values |= delivery_columns(now)
    values |= {"generation": next_generation(writer), "state": State.WAIT_APPLIED.value}
    d = deployments.c
    update = sa.update(deployments).where(
        d.cluster_id == sa.bindparam("c"), d.bundle == sa.bindparam("b")
    )
    rows = [
        {"c": key[0], "b": key[1]}
        | {f"v_{name}": value for name, value in want_columns(want).items()}
        for key, want in deliveries.items()
    ]
    run_many(writer, update.values(**values), rows)


def hand_out(writer: Writer, rows: Mapping[str, Sequence[int]], now: int) -> None:
    """Tell clusters what is staged for them, as a new generation. `rows`: the row ids of the
    deployments by the key of their staged version. `now` in Unix seconds.
    """
    if not rows:
        return
    versions = wants_by_key(writer, rows)
    values: Columns = delivery_columns(now)
    values |= {
        "generation": next_generation(writer),
        "state": State.WAIT_APPLIED.value,
        "staged_key": "",
    }
    for key, ids in rows.items():
        condition = sa.text("rowid IN (SELECT value FROM json_each(:rows))").bindparams(
            rows=msgspec.json.encode(ids).decode()
        )
        writer.execute(
            sa.update(deployments).where(condition).values(**want_columns(versions[key]), **values)
        )


def unplace_deployments(
    writer: Writer, clusters: Collection[ClusterId], names: Collection[BundleName]
) -> None:
    """These clusters may belong to other partitions of these bundles now."""
    d = deployments.c
    for ids in in_parts(sorted(clusters)):
        for part in in_parts(sorted(names)):
            condition = d.cluster_id.in_(ids) & d.bundle.in_(part) & ~d.is_removed & ~d.removal_held
            writer.execute(sa.update(deployments).where(condition).values(partition=UNPLACED))


def delete_unused_wants(writer: Writer) -> None:
    """Delete the versions that no cluster waits for."""
    keys_in_use = sa.select(deployments.c.staged_key).where(deployments.c.staged_key != "")
    writer.execute(sa.delete(staged_targets).where(staged_targets.c.key.not_in(keys_in_use)))
