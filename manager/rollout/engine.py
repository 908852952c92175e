"""Decides rollouts: what is staged is handed out as `core/rollout/decide.py` says.

Rule: reconciling stages versions and marks the rollout (`dirty`). `advance` gathers what is known
of the rollout, decides (pure), and commits: it hands out in one transaction with the progress that
a restart must find again. A decision reads what was reported and which clusters were heard, and
writes intent only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import msgspec

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.rollout.decide import (
    Decision,
    Moment,
    Phase,
    Progress,
    Tally,
    budgets_left,
    decide,
)
from fleetctl.core.rollout.strategy import Partition, Policy

from ..presence import OFFLINE
from ..store import Reader, Writer
from ..store.commands.rollout.rollouts import (
    RolloutProgress,
    mark_good_revision,
    store_partition_plan,
    store_progress,
)
from ..store.commands.rollout.staged import hand_out
from ..store.keys import BundleKey, Dirty
from ..store.queries import Scope, bundle_specs
from ..store.queries.clusters import ids_without_agent, paused_clusters
from ..store.queries.ingest.moves import clusters_with_unconfirmed_move
from ..store.queries.pins import pin_numbers
from ..store.queries.revisions import revision_of_pin
from ..store.queries.rollout.batches import find_batch
from ..store.queries.rollout.staged import (
    Candidate,
    candidates_of_clusters,
    waiting_clusters,
)
from ..store.queries.rollouts import RolloutRow, due_rollouts, find_rollout, next_wake
from . import schedules
from .admission import Apart, Census, HandOutChoice, choose, gather_census, limit_to_budgets
from .barred import BarredClusters
from .partitions import Shape, place_clusters, shape_of

__all__ = ["AdvanceResult", "advance", "due_rollouts", "next_wake", "wants_rollback"]


@dataclass(frozen=True)
class AdvanceResult:
    """The clusters whose document changed. `has_more`: call again, others may go at once."""

    clusters: set[ClusterId]
    has_more: bool = False


@dataclass(frozen=True)
class RolloutState:
    """What is known of a rollout when it is decided. `pinned_clusters`: deployments of clusters
    with a pin of their own that wait for it, in order; `waiting`: clusters under Schedules that
    wait.
    """

    bundle: BundleKey
    phase: Phase
    progress: Progress
    shape: Shape
    bars: BarredClusters
    census: Census
    pinned_clusters: list[Candidate]
    waiting: list[ClusterId]
    moment: Moment

    @property
    def policy(self) -> Policy:
        return Policy(**self.shape.policy)

    @property
    def partitions(self) -> list[Partition]:
        """A decision looks only at the number of members."""
        return [
            Partition(name, (ClusterId(""),) * clusters, budget, soak, approval)
            for name, clusters, budget, soak, approval in self.shape.partitions
        ]


@dataclass(frozen=True)
class RolloutPlan:
    """What a decision writes: the deployments to hand out, and the progress. `is_completed`: the
    rollout has just come to its end on at least one cluster.
    """

    deliveries: list[Candidate]
    progress: RolloutProgress
    is_completed: bool

    @property
    def clusters(self) -> set[ClusterId]:
        return {delivery.cluster for delivery in self.deliveries}


def advance(
    writer: Writer,
    workspace: Workspace,
    bundle: BundleName,
    silent: Mapping[ClusterId, str],
    now: float,
    since: float = 0.0,
) -> AdvanceResult:
    """Decide the rollout, hand out to a part of the clusters that may go, and store the progress.
    `silent`: the enrolled clusters that are not heard, and how; `since`: when this manager started.
    """
    key = workspace, bundle
    row = find_rollout(writer, key)
    if row is None or find_batch(writer, key) is not None:
        return AdvanceResult(set())
    shape, is_placed = _place_clusters(writer, row)
    if not is_placed:
        store_partition_plan(writer, key, msgspec.json.encode(shape), Dirty.PARTITIONS)
        return AdvanceResult(set(), has_more=True)
    state = gather_rollout(writer, row, shape, silent, Moment(now, since, shape.hold))
    decision = decide_quotas(state)
    choice = choose(writer, key, state.census, decision.quotas, shape.sweep_row)
    plan = decide_rollout(state, decision, choice)
    commit_rollout(writer, key, plan, int(now))
    return AdvanceResult(plan.clusters, choice.has_more)


def _place_clusters(writer: Writer, row: RolloutRow) -> tuple[Shape, bool]:
    """Place clusters in partitions if due. Returns the shape, and whether all are placed."""
    shape = shape_of(row.partition_plan)
    if row.dirty < Dirty.PARTITIONS and row.partition_plan != b"null":
        return shape, True
    specs = bundle_specs(writer, Scope(row.workspace, bundles=[row.bundle]))
    return place_clusters(writer, specs[0], shape, row.version) if specs else (shape, True)


def gather_rollout(
    reader: Reader,
    row: RolloutRow,
    shape: Shape,
    silent: Mapping[ClusterId, str],
    moment: Moment,
) -> RolloutState:
    """Reads only. A cluster without an agent counts as one that is offline; a cluster with a pin of
    its own that waits for it counts as paused, because the rollout does not hand out to it.
    """
    workspace, bundle = key = row.workspace, row.bundle
    silent = {**silent, **dict.fromkeys(ids_without_agent(reader, workspace), OFFLINE)}
    waiting_for_person = paused_clusters(reader, workspace)
    waiting_for_person |= clusters_with_unconfirmed_move(reader, workspace, bundle) - silent.keys()
    pinned_clusters = pin_numbers(reader, key).keys()
    pinned_candidates = [
        candidate
        for candidate in candidates_of_clusters(reader, key, pinned_clusters)
        if candidate.cluster not in waiting_for_person
    ]
    bars = schedules.find_barred_clusters(
        reader,
        workspace,
        moment.now,
        bundle=bundle,
        paused_clusters=waiting_for_person | {candidate.cluster for candidate in pinned_candidates},
        passes=bool(row.window_override),
    )
    closed_windows = {cluster: bars.opens(cluster) for cluster in bars.closed_windows}
    phase = Phase(row.phase)
    return RolloutState(
        bundle=key,
        phase=phase,
        progress=Progress(phase, row.reason, row.steps),
        shape=shape,
        bars=bars,
        census=gather_census(
            reader, key, Apart(silent, bars.paused_clusters, closed_windows), pinned_clusters
        ),
        pinned_clusters=pinned_candidates,
        waiting=waiting_clusters(reader, key, {*bars.closed_windows, *bars.open_windows}),
        moment=moment,
    )


def decide_quotas(state: RolloutState) -> Decision:
    """How many clusters of each partition may go now. Pure."""
    return decide(
        state.partitions,
        state.census.tallies(len(state.partitions)),
        state.policy,
        state.progress,
        state.moment,
    )


def decide_rollout(state: RolloutState, decision: Decision, choice: HandOutChoice) -> RolloutPlan:
    """What to write when `choice` goes within the quotas of `decision`. Pure: the progress that is
    stored is the one after the hand-out, since people read how it is now.
    """
    partitions, policy = state.partitions, state.policy
    deliveries = choice.candidates + _deliveries_to_pinned(state, decision)
    tallies = state.census.after(deliveries).tallies(len(partitions))
    if deliveries:
        decision = decide(partitions, tallies, policy, decision.progress, state.moment)
    told_clusters = {delivery.cluster for delivery in deliveries}
    waiting = [cluster for cluster in state.waiting if cluster not in told_clusters]
    decision = state.bars.add_windows(decision, waiting)
    pinned_clusters = {candidate.cluster for candidate in state.pinned_clusters} - told_clusters
    decision = state.bars.add_openings(decision, pinned_clusters)
    shape = msgspec.structs.replace(state.shape, sweep_row=choice.sweep_row)
    dirty = Dirty.DECISION if choice.has_more else Dirty.NO
    has_ended = decision.progress.phase is Phase.COMPLETED and state.phase is not Phase.COMPLETED
    return RolloutPlan(
        deliveries=deliveries,
        progress=_progress(decision, shape, tallies, dirty),
        is_completed=has_ended and any(tally.ready_started for tally in tallies),
    )


def _deliveries_to_pinned(state: RolloutState, decision: Decision) -> list[Candidate]:
    """The clusters with a pin of their own that go now: a person named them, so they wait for
    budgets and windows only, and for a pause that Git states.
    """
    if state.shape.hold:
        return []
    tallies = state.census.tallies(len(state.partitions))
    budgets = budgets_left(state.partitions, tallies, state.policy, decision.quotas)
    silent, closed_windows = state.census.apart.silent, state.bars.closed_windows
    return limit_to_budgets(
        state.pinned_clusters,
        budgets,
        lambda cluster: cluster not in silent and cluster not in closed_windows,
    )


def _progress(
    decision: Decision, shape: Shape, tallies: list[Tally], dirty: Dirty
) -> RolloutProgress:
    counts = [
        asdict(tally) | {"why": quota.why, "asks": quota.asks}
        for tally, quota in zip(tallies, decision.quotas, strict=True)
    ]
    silent = sum(
        tally.may_go + tally.offline + tally.unknown + tally.barred_ready + tally.barred_down
        for tally in tallies
    )
    return RolloutProgress(
        phase=decision.progress.phase,
        reason=decision.progress.reason,
        waiting_for=decision.waiting,
        steps=decision.progress.steps,
        partition_plan=msgspec.json.encode(shape),
        counts=msgspec.json.encode(counts),
        wake_at=decision.wake,
        dirty=dirty,
        unsent_count=silent,
    )


def commit_rollout(writer: Writer, bundle: BundleKey, plan: RolloutPlan, now: int) -> None:
    """Hand out and store the progress. `now` in Unix seconds."""
    rows: dict[str, list[int]] = {}
    for delivery in plan.deliveries:
        rows.setdefault(delivery.staged_key, []).append(delivery.row)
    hand_out(writer, rows, now)
    store_progress(writer, bundle, plan.progress)
    if plan.is_completed:
        mark_good_revision(writer, bundle)


def wants_rollback(reader: Reader, workspace: Workspace, bundle: BundleName) -> str | None:
    """Why the rollout failed, if its policy is a rollback and the bundle has no pin; otherwise
    None.
    """
    key = workspace, bundle
    row = find_rollout(reader, key)
    if row is None or row.phase != Phase.FAILED.value or revision_of_pin(reader, key) != 0:
        return None
    policy = shape_of(row.partition_plan).policy
    return row.reason if policy.get("on_failure") == "rollback" else None
