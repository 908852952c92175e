"""Clusters that may not change now, and how that changes the decision of a rollout. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.rollout.decide import Decision, Phase
from fleetctl.core.rollout.schedule import ScheduleVerdict

# In the other phases, a cluster waits for a person.
_GOING_PHASES = frozenset({Phase.PROGRESSING, Phase.COMPLETED})


@dataclass(frozen=True, slots=True)
class BarredClusters:
    """`closed_windows`: clusters outside their window, and why; `paused_clusters`: clusters that a
    person paused; `open_windows`: clusters under a Schedule whose window is open now.
    """

    closed_windows: Mapping[ClusterId, ScheduleVerdict] = field(default_factory=dict)
    paused_clusters: Collection[ClusterId] = frozenset()
    open_windows: Mapping[ClusterId, ScheduleVerdict] = field(default_factory=dict)

    def __contains__(self, cluster: ClusterId) -> bool:
        return cluster in self.closed_windows or cluster in self.paused_clusters

    def opens(self, cluster: ClusterId) -> bool:
        """Whether the cluster may change again without an action, as time passes."""
        verdict = self.closed_windows.get(cluster)
        return (
            verdict is not None
            and verdict.until is not None
            and cluster not in self.paused_clusters
        )

    def add_windows(self, decision: Decision, waiting: Iterable[ClusterId]) -> Decision:
        """Decide again when a window of a cluster that still waits opens or closes, and describe
        what those clusters wait for.
        """
        going = decision.progress.phase in _GOING_PHASES
        if not going or not (self.closed_windows or self.open_windows):
            return decision
        clusters = [cluster for cluster in waiting if cluster not in self.paused_clusters]
        closed_windows = [
            self.closed_windows[cluster] for cluster in clusters if cluster in self.closed_windows
        ]
        open_verdicts = [
            self.open_windows[cluster] for cluster in clusters if cluster in self.open_windows
        ]
        texts = (decision.waiting, _summarize(closed_windows))
        return replace(
            decision,
            wake=_earliest(decision.wake, [*closed_windows, *open_verdicts]),
            waiting="; ".join(text for text in texts if text),
        )

    def add_openings(self, decision: Decision, clusters: Iterable[ClusterId]) -> Decision:
        """Decide again when a window of these clusters opens, whatever the rollout waits for."""
        verdicts = [
            self.closed_windows[cluster] for cluster in clusters if cluster in self.closed_windows
        ]
        return replace(decision, wake=_earliest(decision.wake, verdicts))


def _earliest(wake: float, verdicts: Iterable[ScheduleVerdict]) -> float:
    """The earliest end of the verdicts and `wake`; 0 means never."""
    times = [float(verdict.until) for verdict in verdicts if verdict.until is not None]
    if wake:
        times.append(wake)
    return min(times, default=0.0)


def _summarize(closed_windows: Sequence[ScheduleVerdict]) -> str:
    """`12 clusters wait: window nightly opens at …`, by the window that opens first."""
    if not closed_windows:
        return ""
    first = min(
        closed_windows, key=lambda verdict: (verdict.until is None, verdict.until or 0, verdict.why)
    )
    subject = f"{len(closed_windows)} cluster{'s wait' if len(closed_windows) > 1 else ' waits'}"
    return f"{subject}: {first.why}"
