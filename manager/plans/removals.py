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

from ..ingest.apply_scan import CompletedScan, ScanComparison, find_empty_clusters, removal_to_hold
from ..ingest.moves import NOT_THERE
from ..store import Reader
from ..store.queries.deployments import (
    count_deployments_by_cluster,
    count_deployments_of_repo,
)
from ..views.removals import held as held_removals
from .snapshot import PlanSnapshot

_MOST_EMPTIED = 100


def plan_removals(
    reader: Reader,
    repo: RepoSpec,
    scan: CompletedScan,
    comparison: ScanComparison,
    fresh: Sequence[BundleSpec],
    world: PlanSnapshot,
    impacts: Sequence[Impact],
) -> Removals:
    amount = sum(impact.count(What.REMOVED) for impact in impacts)
    if not amount and not comparison.removals:
        return Removals(of_bundles=len(comparison.bundles))
    of = count_deployments_of_repo(reader, repo.workspace, repo.name)
    empty_clusters = _find_empty_names(reader, world)
    hold = "; ".join(filter(None, (world.hold_reason, _describe_held_losses(impacts))))
    return Removals(
        deployments=amount,
        of_deployments=of,
        bundles=comparison.removals,
        of_bundles=len(comparison.bundles),
        emptied=empty_clusters[:_MOST_EMPTIED],
        emptied_count=len(empty_clusters),
        moves=[
            core.PlannedMove(old=m.old, new=m.new, why=f"{m.places} have {m.why}")
            for m in comparison.moves.open
            if m.why != NOT_THERE
        ],
        held=hold,
        refused=hold or _refusal(amount, of, len(empty_clusters)),
    )


def hold_reason(
    reader: Reader, repo: RepoSpec, scan: CompletedScan, comparison: ScanComparison
) -> str:
    """Why the manager would hold the removal of bundles for a person, or ""."""
    empty_clusters = find_empty_clusters(reader, repo, comparison)
    hold = removal_to_hold(comparison, scan.commit, empty_clusters)
    if not hold:
        return ""
    if hold["moves"]:
        return held_removals.describe_moves(hold["moves"])
    if too_many(hold["removals"], hold["of"]):
        return f"{hold['removals']} of {hold['of']} bundles would be removed"
    return f"{len(hold['clusters'])} clusters would lose their last bundle"


def _describe_held_losses(impacts: Sequence[Impact]) -> str:
    amounts = {
        i.bundle: sum(g.clusters for g in i.groups if g.held not in {"", core.BUNDLES})
        for i in impacts
    }
    parts = [
        f"{name} would be removed from {amount} of {i.had} clusters"
        for i in impacts
        if (amount := amounts[name := i.bundle])
    ]
    return "; ".join(parts)


def _refusal(amount: int, of: int, empty_clusters: int) -> str:
    if too_many(amount, of):
        return f"{amount} of {of} deployments would be removed"
    return f"{empty_clusters} clusters would lose their last bundle" if empty_clusters else ""


def _find_empty_names(reader: Reader, world: PlanSnapshot) -> list[str]:
    """Names of the clusters that have no bundle of anybody afterwards."""
    losing = sorted(
        cluster for cluster, count in world.losses.items() if count and cluster in world.standing
    )
    counts = count_deployments_by_cluster(reader, losing)
    return sorted(
        world.standing[c].name
        for c in losing
        if counts.get(c, 0) - world.losses[c] + world.gains[c] <= 0
    )
