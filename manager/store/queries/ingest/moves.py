"""Queries about bundles that get another name or another GitRepo."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ...connection import Reader
from ...schema import deployments, moves


class MoveRow(NamedTuple):
    """A move that waits for a scan. `old_name` equals `new_name` when the bundle goes to another
    GitRepo. `repo`: the GitRepo that claims the bundle, or "" when a person requested the move.
    """

    old_name: BundleName
    new_name: BundleName
    repo: str


class OptionsKey(NamedTuple):
    """The options of deployments: `key` identifies the JSON, `digest` what redeploys."""

    key: str
    digest: str


def stored_moves(reader: Reader, workspace: Workspace) -> list[MoveRow]:
    """Return the moves of the workspace that wait for a scan."""
    m = moves.c
    rows = reader.execute(sa.select(m.old_name, m.new_name, m.repo).where(m.workspace == workspace))
    return [MoveRow(*row) for row in rows]


def options_of_deployments(
    reader: Reader, workspace: Workspace, bundle: BundleName
) -> list[OptionsKey]:
    """Return the different options of a bundle's deployments, without tombstones."""
    d = deployments.c
    query = sa.select(d.options_key, d.options_digest).where(
        d.workspace == workspace, d.bundle == bundle, ~d.is_removed
    )
    return [OptionsKey(*row) for row in reader.execute(query.distinct()).all()]


def clusters_with_deliveries(
    reader: Reader, workspace: Workspace, bundle: BundleName
) -> set[ClusterId]:
    """Return the clusters that received something of the bundle, tombstones included."""
    d = deployments.c
    query = sa.select(d.cluster_id).where(
        d.workspace == workspace, d.bundle == bundle, d.generation != 0
    )
    return {ClusterId(i) for i in reader.execute(query).scalars()}


def clusters_with_unconfirmed_move(
    reader: Reader, workspace: Workspace, bundle: BundleName
) -> set[ClusterId]:
    """Return the clusters whose agents have not reported since the bundle got its new name. Their
    state is unknown, so nothing else may change there.
    """
    d = deployments.c
    # SQLite uses the partial index `deployments_moved` only for these literal conditions.
    query = sa.select(d.cluster_id).where(
        d.workspace == workspace,
        d.bundle == bundle,
        ~d.is_removed,
        sa.text("moved_generation = generation"),
        sa.text("reported_generation < generation"),
    )
    return {ClusterId(i) for i in reader.execute(query).scalars()}
