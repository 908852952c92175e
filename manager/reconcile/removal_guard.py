"""Holds removals for a person: every removal of a reconcile passes here before it is stored.

Rule: a held removal freezes its deployment. The row stays, the cluster receives exactly what it
received before, its agent goes on reporting, and no newer version reaches it. When a target selects
the cluster again, the hold ends and nothing has happened. The decision is the core's
(fleetctl/core/rollout/removal_guard.py); this module counts, and stores the counts in the same
transaction, so that neither a restart nor many small changes lose any of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fleetctl.core.model.errors import Conflict
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change, Have, Key
from fleetctl.core.rollout.removal_guard import (
    DAY_SECONDS,
    Past,
    RemovalLimits,
    RemovalVerdict,
    judge,
)

from ..clock import unix
from ..store import Reader, Writer
from ..store.commands.rollout import removals as commands
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.keys import KEPT, UNPLACED, Dirty
from ..store.queries import Scope
from ..store.queries.rollout.removals import (
    clusters_with_other_bundles,
    count_held_clusters,
    count_losses,
    held_keys,
    removal_limits,
)
from .held_removals import count_clusters_with

_LOSS_DAYS = 1  # how long losses are stored


@dataclass(frozen=True)
class RemovalConsent:
    """What a person allows before the change. `number`: exactly this many deployments may be
    removed; `keys`: these deployments may be removed.
    """

    number: int | None = None
    keys: Collection[Key] = ()


NO_CONSENT = RemovalConsent()


@dataclass(frozen=True)
class TargetedKeys:
    """What a reconcile is about: the deployments that targets select, and the bundles and clusters
    that exist.
    """

    keys: Collection[Key]
    bundles: Collection[BundleName]
    clusters: Collection[ClusterId]


@dataclass(frozen=True)
class LossHistory:
    """What the decision about removals needs: the past of each bundle, the clusters that would have
    no bundle any more, and the limits.
    """

    past: Mapping[BundleName, Past]
    empty_clusters: Collection[ClusterId]
    limits: RemovalLimits


@dataclass(frozen=True)
class RemovalFacts:
    """Deployments that are not selected any more (`losses`), deployments whose removal was held
    before (`holds`), and the history of the bundles that lose deployments now.
    """

    losses: set[Key]
    holds: set[Key]
    history: LossHistory | None = None


@dataclass(frozen=True)
class RemovalDecision:
    """`removals`: deployments to remove; `blocked_keys`: deployments whose removal waits for a
    person; `released_keys`: holds that end. `verdict` is about the deployments that are lost for
    the first time; `unconfirmed_keys` of them count as losses. `bundles`: their holds may have
    changed.
    """

    verdict: RemovalVerdict
    removals: frozenset[Key] = frozenset()
    blocked_keys: frozenset[Key] = frozenset()
    released_keys: frozenset[Key] = frozenset()
    unconfirmed_keys: frozenset[Key] = frozenset()
    bundles: frozenset[BundleName] = frozenset()


def find_losses(
    targets: TargetedKeys, deliveries: Mapping[Key, Have], changes: Collection[Change]
) -> set[Key]:
    """Return the deployments that clusters received and that no target selects any more. Bundles
    and clusters that were deleted do not count.
    """
    return {
        change.key
        for change in changes
        if change.want is None
        and change.key[1] in targets.bundles
        and change.key[0] in targets.clusters
        and deliveries[change.key].generation
    }


def gather_removals(
    reader: Reader,
    scope: Scope,
    targets: TargetedKeys,
    losses: set[Key],
    now: str,
    consent: RemovalConsent,
) -> RemovalFacts:
    """Read what the decision about `losses` needs. A stated number needs no history."""
    holds = held_keys(reader, scope)
    new = losses - holds - set(consent.keys)
    if not new or consent.number is not None:
        return RemovalFacts(losses, holds)
    return RemovalFacts(losses, holds, gather_history(reader, scope, targets, new, now))


def decide_removals(
    facts: RemovalFacts, targets: TargetedKeys, consent: RemovalConsent, workspace: Workspace
) -> RemovalDecision:
    """Decide which removals happen and which wait. Raises Conflict when a person stated another
    number.
    """
    losses, holds, confirmed_keys = facts.losses, facts.holds, set(consent.keys)
    if not holds and not losses:
        return RemovalDecision(RemovalVerdict(set(), {}))
    new = losses - holds - confirmed_keys
    if consent.number is not None and consent.number != len(new):
        raise Conflict(
            f"{len(new)} deployments would be removed, not {consent.number}",
            subject=f"workspace {workspace}",
            next_step="Run it again with --dry-run, and use the number that it prints.",
        )
    verdict = RemovalVerdict(new, {}) if facts.history is None else judge_losses(new, facts.history)
    blocked_keys = ((holds & losses) - confirmed_keys) | verdict.held.keys()
    returned_keys = {key for key in holds if key in targets.keys or key not in losses}
    return RemovalDecision(
        removals=frozenset(losses - blocked_keys),
        blocked_keys=frozenset(blocked_keys),
        released_keys=frozenset(returned_keys | (confirmed_keys & holds)),
        verdict=verdict,
        unconfirmed_keys=frozenset(verdict.go if consent.number is None else ()),
        bundles=frozenset(bundle for _, bundle in holds | verdict.held.keys()),
    )


def commit_removals(writer: Writer, scope: Scope, decision: RemovalDecision, now: str) -> None:
    """Store the losses and the holds of a decision. The caller stores the removals themselves."""
    if decision.unconfirmed_keys:
        amounts = Counter(bundle for _, bundle in decision.unconfirmed_keys)
        commands.add_losses(writer, scope.workspace, amounts, int(unix(now)) // 60, _LOSS_DAYS)
    if new_holds := decision.verdict.held.keys():
        commands.hold_deployments(writer, new_holds, KEPT)
        _remake_partitions(writer, scope.workspace, new_holds)
    if decision.released_keys:
        commands.release_deployments(writer, decision.released_keys, UNPLACED)
        _remake_partitions(writer, scope.workspace, decision.released_keys)
    commands.record_holds(
        writer, scope.workspace, decision.verdict.causes, _describe_change(scope), now
    )
    commands.delete_finished_holds(writer, scope.workspace, decision.bundles)


def _remake_partitions(writer: Writer, workspace: Workspace, keys: Collection[Key]) -> None:
    """A held deployment takes no part in a rollout, so the partitions change."""
    mark_rollouts(writer, workspace, {bundle for _, bundle in keys}, Dirty.PARTITIONS)


def _describe_change(scope: Scope) -> str:
    """Return what changed in a scope: labels of clusters, targets of bundles, or groups."""
    if scope.clusters is not None:
        return "labels"
    return "groups" if scope.bundles is None else "targets"


def preview_removals(
    reader: Reader, scope: Scope, targets: TargetedKeys, losses: Collection[Key], now: str
) -> tuple[RemovalVerdict, set[Key]]:
    """Return the verdict about `losses`, and which of them are held already. Reads only: a plan
    calls this.
    """
    holds = held_keys(reader, scope) & set(losses)
    new = set(losses) - holds
    return judge_losses(new, gather_history(reader, scope, targets, new, now)), holds


def gather_history(
    reader: Reader, scope: Scope, targets: TargetedKeys, new: Collection[Key], now: str
) -> LossHistory:
    """Read what the decision about `new` losses needs; no statement without losses."""
    if not new:
        return LossHistory({}, set(), RemovalLimits())
    limits = removal_limits(reader)
    past = {
        bundle: _past(reader, scope.workspace, bundle, limits, now)
        for bundle in sorted({bundle for _, bundle in new})
    }
    losing = {cluster for cluster, _ in new}
    return LossHistory(past, _find_empty_clusters(reader, scope, targets, losing), limits)


def judge_losses(new: Collection[Key], history: LossHistory) -> RemovalVerdict:
    """Decide which of the `new` losses are held."""
    losses: dict[BundleName, list[ClusterId]] = {}
    for cluster, bundle in sorted(new):
        losses.setdefault(bundle, []).append(cluster)
    return judge(losses, history.past, history.empty_clusters, history.limits)


def _past(
    reader: Reader, workspace: Workspace, bundle: BundleName, limits: RemovalLimits, now: str
) -> Past:
    seconds = int(unix(now))
    window, day = (
        count_losses(reader, workspace, bundle, after_minute=(seconds - length) // 60 - 1)
        for length in (limits.window, DAY_SECONDS)
    )
    return Past(
        of=count_clusters_with(reader, workspace, bundle),
        held=count_held_clusters(reader, workspace, bundle),
        window=window,
        day=day,
    )


def _find_empty_clusters(
    reader: Reader, scope: Scope, targets: TargetedKeys, losing: set[ClusterId]
) -> set[ClusterId]:
    """Return those of the clusters that would have no bundle any more: neither a targeted one nor
    one outside the scope.
    """
    empty_clusters = losing - {cluster for cluster, _ in targets.keys}
    if scope.bundles is None or not empty_clusters:
        return empty_clusters
    return empty_clusters - clusters_with_other_bundles(reader, empty_clusters, set(scope.bundles))
