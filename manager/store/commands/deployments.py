"""Writes deployments: one row for each cluster and bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from fleetctl.core.model.ids import BundleName, ClusterId, Generation, Workspace
from fleetctl.core.model.plan import Key, Want
from fleetctl.core.model.status import State

from ..bulk import run_many
from ..connection import Writer
from ..keys import UNPLACED
from ..schema import deployments, options
from .delivery import Columns, delivery_columns, want_columns
from .rollout.staged import columns_without_partition

_SAME = (deployments.c.cluster_id == sa.bindparam("c")) & (
    deployments.c.bundle == sa.bindparam("b")
)


def delete_deployments_of_cluster(writer: Writer, cluster: ClusterId) -> list[BundleName]:
    """Returns the bundles of the deleted deployments, tombstones included."""
    d = deployments.c
    delete = sa.delete(deployments).where(d.cluster_id == cluster)
    return list(writer.execute(delete.returning(d.bundle)).scalars())


class SentDeployment(msgspec.Struct, frozen=True):
    """What a cluster receives of a bundle."""

    cluster: ClusterId
    bundle: BundleName
    repo: str
    want: Want


def send_deployments(
    writer: Writer,
    workspace: Workspace,
    rows: Sequence[SentDeployment],
    generation: Generation,
    now: int,
) -> None:
    """Send deployments as a new generation; `now` in Unix seconds. What the cluster last applied
    stays stored. A deployment that was being removed gets a new place in its rollout.
    """
    if not rows:
        return
    delivery = delivery_columns(now)
    columns = [_sent_columns(workspace, row, generation) for row in rows]
    adding, d = insert(deployments), deployments.c
    changes: Columns = {
        name: adding.excluded[name] for name in columns[0] if name not in {"cluster_id", "bundle"}
    }
    changes |= delivery
    changes["partition"] = sa.case((d.is_removed, UNPLACED), else_=d.partition)
    new: Columns = {
        "applied_generation": 0,
        "reported_generation": 0,
        "reported_at": "",
        "message": "",
        "report": b"",
        **delivery,
        "delivery_log": "",
    }
    upsert = adding.on_conflict_do_update(index_elements=["cluster_id", "bundle"], set_=changes)
    run_many(
        writer,
        upsert,
        [
            values | new | columns_without_partition((row.cluster, row.bundle))
            for values, row in zip(columns, rows, strict=True)
        ],
    )


def _sent_columns(workspace: Workspace, row: SentDeployment, generation: Generation) -> Columns:
    return {
        "cluster_id": row.cluster,
        "bundle": row.bundle,
        "workspace": workspace,
        "repo": row.repo,
        "generation": generation,
        **want_columns(row.want),
        "is_removed": False,
        "state": State.WAIT_APPLIED.value,
        "staged_key": "",
    }


def update_bundle_facts(writer: Writer, rows: Sequence[SentDeployment]) -> None:
    """Store what changes without a redeployment; the generations stay. Nothing is staged any
    more.
    """
    names = ("options_key", "target", "customization", "bundle_facts", "keep_resources")
    update = (
        sa.update(deployments)
        .where(_SAME)
        .values({name: sa.bindparam(f"v_{name}") for name in names} | {"staged_key": ""})
    )
    columns = [(row, want_columns(row.want)) for row in rows]
    run_many(
        writer,
        update,
        [
            {"c": row.cluster, "b": row.bundle, **{f"v_{name}": values[name] for name in names}}
            for row, values in columns
        ],
    )


def bury_deployments(
    writer: Writer, keys: Sequence[Key], generation: Generation, decision: int, now: int
) -> None:
    """Turn deployments into tombstones; `now` in Unix seconds."""
    tombstone: Columns = {
        "is_removed": True,
        "generation": generation,
        "state": State.WAIT_APPLIED.value,
        "reported_generation": 0,
        "staged_key": "",
        **delivery_columns(now),
        "decision": decision,
    }
    run_many(writer, sa.update(deployments).where(_SAME).values(**tombstone), _key_rows(keys))


def delete_deployments(writer: Writer, keys: Sequence[Key]) -> None:
    """Delete deployments that no cluster received."""
    run_many(writer, sa.delete(deployments).where(_SAME), _key_rows(keys))


def _key_rows(keys: Sequence[Key]) -> list[Columns]:
    return [{"c": cluster, "b": bundle} for cluster, bundle in keys]


def insert_options(writer: Writer, texts: Mapping[str, bytes]) -> None:
    """Store the JSON of options by key, unless it is stored already."""
    rows = [{"key": key, "json": text} for key, text in texts.items()]
    if rows:
        writer.execute(sa.insert(options).prefix_with("OR IGNORE"), rows)
