"""What a plan would delete, and what of it the manager would hold for a person or a plan wants to
hear the number of. Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.core.documents.gitrepo import RepoSpec
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.plan import too_many
from fleetctl.core.rollout import impact as core
from fleetctl.core.rollout.impact import Impact, Removals, What

from ..ingest.apply_scan import CompletedScan, ScanComparison, emptied_clusters, removal_to_hold
from ..ingest.moves import NOT_THERE
from ..store import Reader
from ..store.queries.deployments import (
    count_deployments_by_cluster,
    count_deployments_of_repo,
)
from ..views import held_removals
from .snapshot import World

_MOST_EMPTIED = 100


def removals(
    reader: Reader,
    repo: RepoSpec,
    scan: CompletedScan,
    comparison: ScanComparison,
    fresh: Sequence[BundleSpec],
    world: World,
    found: Sequence[Impact],
) -> Removals:
    amount = sum(impact.count(What.REMOVED) for impact in found)
    if not amount and not comparison.removed:
        return Removals(of_bundles=len(comparison.stored))
    of = count_deployments_of_repo(reader, repo.workspace, repo.name)
    emptied = _emptied(reader, world)
    held = "; ".join(filter(None, (world.held, _held_losses(found))))
    return Removals(
        deployments=amount,
        of_deployments=of,
        bundles=comparison.removed,
        of_bundles=len(comparison.stored),
        emptied=emptied[:_MOST_EMPTIED],
        emptied_count=len(emptied),
        moves=[
            core.Move(old=m.old, new=m.new, why=f"{m.places} have {m.why}")
            for m in comparison.moves.open
            if m.why != NOT_THERE
        ],
        held=held,
        refused=held or _refused(amount, of, len(emptied)),
    )


def held_bundles(
    reader: Reader, repo: RepoSpec, scan: CompletedScan, comparison: ScanComparison
) -> str:
    """Why the manager would hold the removal of bundles for a person, or ""."""
    emptied = emptied_clusters(reader, repo, comparison)
    held = removal_to_hold(comparison, scan.commit, emptied)
    if not held:
        return ""
    if held["moves"]:
        return held_removals.describe_moves(held["moves"])
    if too_many(held["removals"], held["of"]):
        return f"{held['removals']} of {held['of']} bundles would be removed"
    return f"{len(held['clusters'])} clusters would lose their last bundle"


def _held_losses(found: Sequence[Impact]) -> str:
    amounts = {
        i.bundle: sum(g.clusters for g in i.groups if g.held not in {"", core.BUNDLES})
        for i in found
    }
    parts = [
        f"{name} would be removed from {amount} of {i.had} clusters"
        for i in found
        if (amount := amounts[name := i.bundle])
    ]
    return "; ".join(parts)


def _refused(amount: int, of: int, emptied: int) -> str:
    if too_many(amount, of):
        return f"{amount} of {of} deployments would be removed"
    return f"{emptied} clusters would lose their last bundle" if emptied else ""


def _emptied(reader: Reader, world: World) -> list[str]:
    """Names of the clusters that have no bundle of anybody afterwards."""
    losing = sorted(
        cluster for cluster, count in world.lost.items() if count and cluster in world.standing
    )
    counts = count_deployments_by_cluster(reader, losing)
    return sorted(
        world.standing[c].name
        for c in losing
        if counts.get(c, 0) - world.lost[c] + world.gained[c] <= 0
    )
