"""Removals that wait for a person, counted when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.text.listing import list_names

from ..store import Reader, counts
from ..store.queries.deployments import repo_of_deployments
from ..store.queries.rollout.removals import (
    HeldBundleRow,
    count_held_clusters,
    held_bundles,
    held_cluster_ids,
    held_cluster_names,
)

_MAX_NAMES = 5
_CHANGES = {
    "labels": "labels of clusters changed",
    "targets": "its targets changed",
    "groups": "a cluster group changed",
}


@dataclass(frozen=True)
class RemovalHold:
    """Held removals of one bundle: from `count` of the `of` clusters that have it. `what` changed;
    `clusters`: the first names; `digest`: as `digest_of` returns it, or "".
    """

    workspace: str
    bundle: str
    repo: str
    cause: str
    what: str
    since: str
    count: int
    of: int
    clusters: tuple[str, ...]
    digest: str

    @property
    def words(self) -> str:
        """The hold in one line for people."""
        names = list_names(self.clusters, count=self.count)
        last = ", and no bundle would stay on them" if self.cause == "last" else ""
        return (
            f"would be removed from {self.count} of {self.of} clusters ({names}):"
            f" {_CHANGES[self.what]}{last}"
        )


def list_holds(
    reader: Reader, workspace: str | None = None, *, digests: bool = False
) -> list[RemovalHold]:
    """Return the holds of a workspace or (None) of all, by workspace and bundle. `digests`: fill in
    `Hold.digest`, which reads the id of every cluster concerned.
    """
    holds = [_hold(reader, row, digests=digests) for row in held_bundles(reader, workspace)]
    return [hold for hold in holds if hold is not None]


def _hold(reader: Reader, row: HeldBundleRow, *, digests: bool) -> RemovalHold | None:
    """Return the hold, or None when its clusters were deleted meanwhile."""
    place = (row.workspace, row.bundle)
    count = count_held_clusters(reader, *place)
    if not count:
        return None
    return RemovalHold(
        workspace=row.workspace,
        bundle=row.bundle,
        repo=repo_of_deployments(reader, *place),
        cause=row.cause,
        what=row.change,
        since=row.held_since,
        count=count,
        of=count_clusters_with(reader, *place),
        clusters=tuple(held_cluster_names(reader, *place, _MAX_NAMES)),
        digest=digest_of(held_cluster_ids(reader, *place)) if digests else "",
    )


def count_clusters_with(reader: Reader, workspace: Workspace, bundle: BundleName) -> int:
    """Return how many clusters have the bundle. Reads the stored counts, because a change of one
    label must not cost a scan of a million rows.
    """
    return sum(
        n
        for count_key, n in counts.count_deployments(reader, workspace, bundle).items()
        if count_key.is_sent
    )


def digest_of(clusters: Iterable[ClusterId]) -> str:
    """Return a digest that distinguishes sets of clusters of the same size."""
    return hashlib.sha256("\n".join(clusters).encode()).hexdigest()[:12]
