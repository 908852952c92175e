"""What is gathered once for a plan: the fleet as it stands, who is heard, what people and rollouts
say of what changes. Reads only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change, Have, Key
from fleetctl.core.rollout.decide import Phase
from fleetctl.core.rollout.impact import PlanWait, Standing

from ..clock import unix
from ..ingest.apply_scan import ScanComparison
from ..ingest.moves import NOT_THERE
from ..rollout import schedules
from ..store import Reader
from ..store.queries import Scope, fleet_clusters, groups
from ..store.queries.bundles import pinned_bundles, stored_specs
from ..store.queries.pins import pin_counts
from ..store.queries.rollouts import RolloutPhase, rollout_phases

Health = Callable[[ClusterId], str]


@dataclass(frozen=True)
class Look:
    """With what eyes: who is heard, at what time (RFC 3339), and whether it takes too long."""

    health: Health
    now: str
    is_late: Callable[[], bool] = lambda: False


@dataclass
class PlanSnapshot:
    """What is gathered once for a plan, and what the bundles add to it."""

    workspace: Workspace
    fleet: list[Cluster]
    groups: list[Group]
    standing: dict[ClusterId, Standing]
    labels: dict[BundleName, dict[str, str]]
    waits: dict[BundleName, list[PlanWait]]  # of each bundle, by people and by its rollout
    barred_clusters: schedules.BarredClusters
    were: dict[BundleName, BundleName]  # what bundles that have another name now were called
    texts: dict[str, bytes] = field(default_factory=dict)
    losses: Counter[ClusterId] = field(default_factory=Counter)
    gains: Counter[ClusterId] = field(default_factory=Counter)
    scheduled_clusters: set[ClusterId] = field(default_factory=set)  # under some Schedule
    changed_clusters: set[ClusterId] = field(default_factory=set)
    hold_reason: str = ""  # why the manager would hold the removal of whole bundles
    target_clusters: set[ClusterId] = field(default_factory=set)  # that get a changed bundle
    losing: dict[BundleName, BundleLosses] = field(default_factory=dict)


@dataclass(frozen=True)
class BundleLosses:
    """Clusters that would lose a bundle that stays: the manager looks at all of them together
    before it lets one go.
    """

    changes: list[Change]
    have: dict[Key, Have]


def gather_snapshot(
    reader: Reader,
    workspace: Workspace,
    comparison: ScanComparison,
    fresh: Sequence[BundleSpec],
    look: Look,
) -> PlanSnapshot:
    fleet = fleet_clusters(reader, Scope(workspace))
    labels: dict[BundleName, dict[str, str]] = {}
    if any(spec.depends_on for spec in fresh):
        removed_names = set(comparison.removals)
        labels = {
            spec.name: spec.labels
            for spec in stored_specs(reader, workspace)
            if spec.name not in removed_names
        }
        labels |= {spec.name: spec.labels for spec in comparison.specs}
    barred_clusters = schedules.find_barred_clusters(reader, workspace, unix(look.now))
    standing = {
        c.id: Standing(c.name, look.health(c.id), c.paused, c.id in barred_clusters.closed_windows)
        for c in fleet
    }
    were = {move.new: move.old for move in comparison.moves.moves if move.old != move.new}
    waits = _bundle_waits(reader, workspace, [were.get(spec.name, spec.name) for spec in fresh])
    waits = {
        spec.name: [*waits[were.get(spec.name, spec.name)], *_moves(comparison, spec.name)]
        for spec in fresh
    }
    scheduled_clusters = {*barred_clusters.closed_windows, *barred_clusters.open_windows}
    return PlanSnapshot(
        workspace,
        fleet,
        groups(reader, workspace),
        standing,
        labels,
        waits,
        barred_clusters,
        were,
        scheduled_clusters=scheduled_clusters,
    )


def _bundle_waits(
    reader: Reader, workspace: Workspace, names: Sequence[BundleName]
) -> dict[BundleName, list[PlanWait]]:
    """Pins, and what the rollouts of now are up to."""
    waits: dict[BundleName, list[PlanWait]] = {name: [] for name in names}
    for pin in pinned_bundles(reader, workspace, names):
        reason = f" ({pin.reason})" if pin.reason else ""
        step = f"`fleetctl rollback {pin.name} --release` follows Git again"
        text = f"pinned to revision {pin.number}{reason}: its content stays; {step}"
        waits[pin.name].append(PlanWait(code="pinned", text=text))
    for name in sorted(names):
        waits[name] += _pin_waits(reader, workspace, name)
    for rollout in rollout_phases(reader, workspace, names):
        waits[rollout.bundle] += _rollout_waits(rollout)
    return waits


def _rollout_waits(rollout: RolloutPhase) -> list[PlanWait]:
    """Return how the present rollout of a bundle delays the next version."""
    if rollout.phase == Phase.PAUSED.value:
        reason = f": {rollout.reason}" if rollout.reason else ""
        text = f"its rollout is paused{reason}; no cluster gets it until it is resumed"
        return [PlanWait(code="paused", text=text)]
    if rollout.phase == Phase.PROGRESSING.value and rollout.unsent_count:
        text = (
            f"takes the place of {rollout.commit[:12]}, which {rollout.unsent_count} clusters have"
            " not got yet"
        )
        return [PlanWait(code="supersedes", text=text)]
    return []


def _moves(comparison: ScanComparison, name: BundleName) -> list[PlanWait]:
    """Whether it is another bundle under a new name, or looks like one."""
    decided_text = "was {} before: its releases and objects stay"
    open_text = "looks like {} under another name: held until a person decides"
    waits = [
        PlanWait(code="moved", text=decided_text.format(m.old))
        for m in comparison.moves.moves
        if m.new == name != m.old
    ]
    return waits + [
        PlanWait(code="move", text=open_text.format(m.old))
        for m in comparison.moves.open
        if m.new == name and m.why != NOT_THERE
    ]


def _pin_waits(reader: Reader, workspace: Workspace, name: BundleName) -> list[PlanWait]:
    return [
        PlanWait(
            code="pinned",
            text=(
                f"pinned to revision {count.number} on {count.clusters} clusters: its content"
                " stays there"
            ),
        )
        for count in pin_counts(reader, (workspace, name))
    ]
