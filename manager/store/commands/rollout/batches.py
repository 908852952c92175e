"""Writes batches: bundles whose change is stored in several transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Want, key_of

from ...bulk import in_parts
from ...connection import Writer
from ...keys import BundleKey
from ...queries.rollout.batches import DeploymentKind, RowRange, of_kind, other_version
from ...schema import batch_jobs, bundles, deployments, options
from ..delivery import want_columns


def insert_batches(writer: Writer, workspace: Workspace, methods: Mapping[BundleName, str]) -> None:
    rows = [
        {"workspace": workspace, "bundle": name, "method": method, "cursor": ""}
        for name, method in methods.items()
    ]
    if rows:
        writer.execute(sa.insert(batch_jobs), rows)


def delete_batches(writer: Writer, workspace: Workspace, names: Iterable[BundleName]) -> None:
    p = batch_jobs.c
    for part in in_parts(sorted(names)):
        writer.execute(sa.delete(batch_jobs).where(p.workspace == workspace, p.bundle.in_(part)))


def set_cursor(writer: Writer, bundle: BundleKey, cursor: str) -> None:
    p = batch_jobs.c
    condition = (p.workspace == bundle[0]) & (p.bundle == bundle[1])
    writer.execute(sa.update(batch_jobs).where(condition).values(cursor=cursor))


def set_matched_targetings(
    writer: Writer, workspace: Workspace, targetings: Mapping[BundleName, str]
) -> None:
    """All deployments of these bundles were matched by these targetings (digests)."""
    b = bundles.c
    update = (
        sa.update(bundles)
        .where(
            b.workspace == workspace,
            b.name == sa.bindparam("named"),
            b.matched_targeting != sa.bindparam("digest"),
        )
        .values(matched_targeting=sa.bindparam("digest"))
    )
    rows = [{"named": name, "digest": digest} for name, digest in targetings.items()]
    if rows:
        writer.execute(update, rows)


def insert_options(writer: Writer, texts: Mapping[str, bytes]) -> None:
    """Store options, JSON by key."""
    rows = [{"key": key, "json": text} for key, text in texts.items()]
    if rows:
        writer.execute(sa.insert(options).prefix_with("OR IGNORE"), rows)


def stage_kind(writer: Writer, rows: RowRange, kind: DeploymentKind, want: Want) -> int:
    """Stage `want` for the deployments of a kind that were told another version. Returns how many
    changed.
    """
    key = key_of(want)
    update = (
        sa.update(deployments)
        .where(of_kind(rows, kind), other_version(want), deployments.c.staged_key != key)
        .values(staged_key=key)
    )
    return writer.execute(update).rowcount


def show_kind(writer: Writer, rows: RowRange, kind: DeploymentKind, want: Want) -> set[ClusterId]:
    """Store the names and options of `want` for the deployments of a kind that were told the same
    version. Returns the clusters whose document changes.
    """
    d, columns = deployments.c, want_columns(want)
    names = ("options_key", "target", "customization", "bundle_facts", "keep_resources")
    values = {name: columns[name] for name in names}
    same_version = sa.and_(of_kind(rows, kind), ~other_version(want))
    other_document = sa.or_(
        d.options_key != want.options_key, d.bundle_facts != columns["bundle_facts"]
    )
    clusters = (
        writer.execute(sa.select(d.cluster_id).where(same_version, other_document)).scalars().all()
    )
    different = sa.or_(d.staged_key != "", *(d[name] != value for name, value in values.items()))
    writer.execute(
        sa.update(deployments).where(same_version, different).values(**values, staged_key="")
    )
    return {ClusterId(cluster) for cluster in clusters}
