"""Writes the pins of bundles and of single clusters."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ..bulk import in_parts
from ..connection import Writer
from ..keys import BundleKey
from ..schema import bundles, pins


def pin_bundle(writer: Writer, bundle: BundleKey, number: int, reason: str) -> None:
    """Pin the bundle to revision `number`, 0 releases it. The bundle gets a new generation."""
    b = bundles.c
    writer.execute(
        sa.update(bundles)
        .where(b.workspace == bundle[0], b.name == bundle[1])
        .values(pinned_revision=number, pin_reason=reason, generation=b.generation + 1)
    )


def pin_clusters(
    writer: Writer, bundle: BundleKey, clusters: Iterable[ClusterId], number: int, decision: int
) -> None:
    """Pin the clusters to revision `number`, 0 releases them."""
    head = {"workspace": bundle[0], "bundle": bundle[1], "number": number, "decision": decision}
    rows = [head | {"cluster_id": cluster} for cluster in clusters]
    if rows:
        writer.execute(sa.insert(pins).prefix_with("OR REPLACE"), rows)


def delete_released_pins(writer: Writer, workspace: Workspace, names: Iterable[str]) -> None:
    """Delete the rows of clusters that were released from their pins."""
    p = pins.c
    for part in in_parts(sorted(names)):
        writer.execute(
            sa.delete(pins).where(p.workspace == workspace, p.bundle.in_(part), p.number == 0)
        )


def delete_pins_of_bundles(
    writer: Writer, workspace: Workspace, names: Iterable[BundleName]
) -> None:
    p = pins.c
    for part in in_parts(sorted(names)):
        writer.execute(sa.delete(pins).where(p.workspace == workspace, p.bundle.in_(part)))


def delete_pins_of_cluster(writer: Writer, cluster: ClusterId) -> None:
    writer.execute(sa.delete(pins).where(pins.c.cluster_id == cluster))
