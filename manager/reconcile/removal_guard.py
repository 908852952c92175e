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
from fleetctl.core.rollout.removal_guard import DAY_SECONDS, Limits, Past, Verdict, judge

from ..clock import unix
from ..store import Reader, Writer
from ..store.commands import removals as commands
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.keys import KEPT, UNPLACED, Dirty
from ..store.queries import Scope
from ..store.queries.removals import (
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
    emptied: Collection[ClusterId]
    limits: Limits


@dataclass(frozen=True)
class RemovalFacts:
    """Deployments that are not selected any more (`lost`), deployments whose removal was held
    before (`held`), and the history of the bundles that lose deployments now.
    """

    lost: set[Key]
    held: set[Key]
    history: LossHistory | None = None


@dataclass(frozen=True)
class RemovalDecision:
    """`removed`: deployments to remove; `blocked`: deployments whose removal waits for a person;
    `released`: holds that end. `verdict` is about the deployments that are lost for the first time;
    `unconfirmed` of them count as losses. `bundles`: their holds may have changed.
    """

    verdict: Verdict
    removed: frozenset[Key] = frozenset()
    blocked: frozenset[Key] = frozenset()
    released: frozenset[Key] = frozenset()
    unconfirmed: frozenset[Key] = frozenset()
    bundles: frozenset[BundleName] = frozenset()


def lost_keys(
    targeted: TargetedKeys, sent: Mapping[Key, Have], changes: Collection[Change]
) -> set[Key]:
    """Return the deployments that clusters received and that no target selects any more. Bundles
    and clusters that were deleted do not count.
    """
    return {
        change.key
        for change in changes
        if change.want is None
        and change.key[1] in targeted.bundles
        and change.key[0] in targeted.clusters
        and sent[change.key].generation
    }


def gather_removals(
    reader: Reader,
    scope: Scope,
    targeted: TargetedKeys,
    lost: set[Key],
    now: str,
    consent: RemovalConsent,
) -> RemovalFacts:
    """Read what the decision about `lost` needs. A number that a person stated needs no history."""
    held = held_keys(reader, scope)
    new = lost - held - set(consent.keys)
    if not new or consent.number is not None:
        return RemovalFacts(lost, held)
    return RemovalFacts(lost, held, gather_history(reader, scope, targeted, new, now))


def decide_removals(
    facts: RemovalFacts, targeted: TargetedKeys, consent: RemovalConsent, workspace: Workspace
) -> RemovalDecision:
    """Decide which removals happen and which wait. Raises Conflict when a person stated another
    number.
    """
    lost, held, confirmed = facts.lost, facts.held, set(consent.keys)
    if not held and not lost:
        return RemovalDecision(Verdict(set(), {}))
    new = lost - held - confirmed
    if consent.number is not None and consent.number != len(new):
        raise Conflict(
            f"{len(new)} deployments would be removed, not {consent.number}",
            subject=f"workspace {workspace}",
            next_step="Look again with --dry-run, and name the number that it says.",
        )
    verdict = Verdict(new, {}) if facts.history is None else judge_losses(new, facts.history)
    blocked = ((held & lost) - confirmed) | verdict.held.keys()
    back = {key for key in held if key in targeted.keys or key not in lost}
    return RemovalDecision(
        removed=frozenset(lost - blocked),
        blocked=frozenset(blocked),
        released=frozenset(back | (confirmed & held)),
        verdict=verdict,
        unconfirmed=frozenset(verdict.go if consent.number is None else ()),
        bundles=frozenset(bundle for _, bundle in held | verdict.held.keys()),
    )


def commit_removals(writer: Writer, scope: Scope, decision: RemovalDecision, now: str) -> None:
    """Store the losses and the holds of a decision. The caller stores the removals themselves."""
    if decision.unconfirmed:
        amounts = Counter(bundle for _, bundle in decision.unconfirmed)
        commands.add_losses(writer, scope.workspace, amounts, int(unix(now)) // 60, _LOSS_DAYS)
    if held := decision.verdict.held.keys():
        commands.hold_deployments(writer, held, KEPT)
        _remake_partitions(writer, scope.workspace, held)
    if decision.released:
        commands.release_deployments(writer, decision.released, UNPLACED)
        _remake_partitions(writer, scope.workspace, decision.released)
    commands.record_holds(
        writer, scope.workspace, decision.verdict.causes, _changed_part(scope), now
    )
    commands.delete_finished_holds(writer, scope.workspace, decision.bundles)


def _remake_partitions(writer: Writer, workspace: Workspace, keys: Collection[Key]) -> None:
    """A held deployment takes no part in a rollout, so the partitions change."""
    mark_rollouts(writer, workspace, {bundle for _, bundle in keys}, Dirty.PARTITIONS)


def _changed_part(scope: Scope) -> str:
    """Return what changed in a scope: labels of clusters, targets of bundles, or groups."""
    if scope.clusters is not None:
        return "labels"
    return "groups" if scope.bundles is None else "targets"


def preview_removals(
    reader: Reader, scope: Scope, targeted: TargetedKeys, lost: Collection[Key], now: str
) -> tuple[Verdict, set[Key]]:
    """Return the verdict about `lost`, and which of them are held already. Reads only: a plan calls
    this.
    """
    held = held_keys(reader, scope) & set(lost)
    new = set(lost) - held
    return judge_losses(new, gather_history(reader, scope, targeted, new, now)), held


def gather_history(
    reader: Reader, scope: Scope, targeted: TargetedKeys, new: Collection[Key], now: str
) -> LossHistory:
    """Read what the decision about `new` losses needs; no statement without losses."""
    if not new:
        return LossHistory({}, set(), Limits())
    limits = removal_limits(reader)
    past = {
        bundle: _past(reader, scope.workspace, bundle, limits, now)
        for bundle in sorted({bundle for _, bundle in new})
    }
    losing = {cluster for cluster, _ in new}
    return LossHistory(past, _emptied_clusters(reader, scope, targeted, losing), limits)


def judge_losses(new: Collection[Key], history: LossHistory) -> Verdict:
    """Decide which of the `new` losses are held."""
    losses: dict[BundleName, list[ClusterId]] = {}
    for cluster, bundle in sorted(new):
        losses.setdefault(bundle, []).append(cluster)
    return judge(losses, history.past, history.emptied, history.limits)


def _past(
    reader: Reader, workspace: Workspace, bundle: BundleName, limits: Limits, now: str
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


def _emptied_clusters(
    reader: Reader, scope: Scope, targeted: TargetedKeys, losing: set[ClusterId]
) -> set[ClusterId]:
    """Return those of the clusters that would have no bundle any more: neither a targeted one nor
    one outside the scope.
    """
    emptied = losing - {cluster for cluster, _ in targeted.keys}
    if scope.bundles is None or not emptied:
        return emptied
    return emptied - clusters_with_other_bundles(reader, emptied, set(scope.bundles))
