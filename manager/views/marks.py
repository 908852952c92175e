"""Adds marks: what keeps an object from following Git, whatever its state is.

- paused: a person paused the cluster, the GitRepo, the rollout, or fleet.yaml has `paused: true`.
- pinned: a person went back to an earlier revision.
- frozen: the schedule windows of the cluster are closed now.
- held: a removal waits for a person.

An object may be Ready and marked at once, so a mark is shown beside the state and never instead of
it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from fleetctl.core.rollout.decide import Phase

from ..rollout import schedules
from ..store.connection import Reader
from ..store.queries.bundles import bundles_of_repos, bundles_with_paused_spec
from ..store.queries.clusters import cluster_schedules, paused_cluster_names
from ..store.queries.objects import paused_gitrepos
from ..store.queries.rollouts import bundles_in_phase
from .metadata import Document
from .states import FleetView

PAUSED_MARK, PIN_MARK, FREEZE_MARK, HOLD_MARK = "paused", "pinned", "frozen", "held"
_MAX_NAMES = 3
Place: TypeAlias = tuple[str, str]  # workspace, name


@dataclass
class PauseIndex:
    """Everything that is paused in a workspace (or in all), each part read when it is used first.
    `frozen_clusters`: those of the clusters given to `load_frozen` that are outside their windows.
    """

    reader: Reader
    workspace: str | None
    frozen_clusters: set[Place] = field(default_factory=set)

    @cached_property
    def repos(self) -> set[Place]:
        return paused_gitrepos(self.reader, self.workspace)

    @cached_property
    def clusters(self) -> set[Place]:
        return paused_cluster_names(self.reader, self.workspace)

    @cached_property
    def bundles(self) -> dict[Place, list[str]]:
        """What pauses each paused bundle."""
        pauses: dict[Place, list[str]] = {}
        for bundle in bundles_of_repos(self.reader, self.repos):
            place = (bundle.workspace, bundle.name)
            pauses.setdefault(place, []).append(f"GitRepo {bundle.repo}")
        for place in bundles_with_paused_spec(self.reader, self.workspace):
            pauses.setdefault(place, []).append("its fleet.yaml")
        for place in bundles_in_phase(self.reader, self.workspace, Phase.PAUSED.value):
            pauses.setdefault(place, []).append(f"rollout {place[1]}")
        return pauses

    def load_frozen(self, clusters: Collection[Place], calendars: schedules.Calendars) -> None:
        """Read which of these clusters are outside their schedule windows."""
        self.frozen_clusters |= {
            (row.workspace, row.name)
            for row in cluster_schedules(self.reader, clusters)
            if not calendars.of(row.workspace).verdict(row.schedules).open
        }


def add_marks(fleet: FleetView, kind: str, documents: list[Document]) -> None:
    """Set `status.display.marks` and, where something is paused, `status.pausedBy`."""
    marks_of = _MARK_FUNCTIONS.get(kind)
    if marks_of is None:
        return
    index = PauseIndex(fleet.reader, fleet.workspace)
    if kind == "BundleDeployment":
        clusters = {(d["metadata"]["namespace"], d["spec"]["cluster"]) for d in documents}
        index.load_frozen(clusters, fleet.reasons.calendars)
    for document in documents:
        _set_marks(document["status"], *marks_of(index, document))


def add_marks_to_rollouts(reader: Reader, workspace: str | None, documents: list[Document]) -> None:
    """As `add_marks`, for rollouts; each has the name of its bundle."""
    index = PauseIndex(reader, workspace)
    for document in documents:
        pauses = index.bundles.get(_place(document), [])
        _set_marks(document["status"], pauses, _pin_marks(document["status"]))


def _set_marks(status: Document, pauses: list[str], marks: list[str]) -> None:
    status["display"]["marks"] = [PAUSED_MARK, *marks] if pauses else marks
    if pauses:
        status["pausedBy"] = pauses


def _place(document: Document) -> Place:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _repo_marks(index: PauseIndex, document: Document) -> tuple[list[str], list[str]]:
    """What pauses the GitRepo, and its other marks; so do the functions below."""
    place = _place(document)
    pauses = [f"GitRepo {place[1]}"] if place in index.repos else []
    return pauses, _hold_marks(document["status"])


def _bundle_marks(index: PauseIndex, document: Document) -> tuple[list[str], list[str]]:
    status = document["status"]
    return index.bundles.get(_place(document), []), [*_pin_marks(status), *_hold_marks(status)]


def _cluster_marks(index: PauseIndex, document: Document) -> tuple[list[str], list[str]]:
    place, status = _place(document), document["status"]
    pauses = [f"cluster {place[1]}"] if place in index.clusters else []
    pin = [PIN_MARK] if status.get("pinnedBundles") else []
    freeze_marks = (
        [FREEZE_MARK] if status.get("scheduled") and not status.get("activeSchedule") else []
    )
    return pauses, [*pin, *freeze_marks]


def _deployment_marks(index: PauseIndex, document: Document) -> tuple[list[str], list[str]]:
    workspace, spec = document["metadata"]["namespace"], document["spec"]
    cluster = (workspace, spec["cluster"])
    pauses = [f"cluster {spec['cluster']}"] if cluster in index.clusters else []
    pauses += index.bundles.get((workspace, spec["bundle"]), [])
    freeze_marks = [FREEZE_MARK] if cluster in index.frozen_clusters else []
    status = document["status"]
    return pauses, [*_pin_marks(status), *freeze_marks, *_hold_marks(status)]


def _pin_marks(status: Document) -> list[str]:
    return [PIN_MARK] if status.get("pin") or status.get("pinnedClusters") else []


def _hold_marks(status: Document) -> list[str]:
    return [HOLD_MARK] if status.get("held") else []


_MARK_FUNCTIONS = {
    "GitRepo": _repo_marks,
    "Bundle": _bundle_marks,
    "Cluster": _cluster_marks,
    "BundleDeployment": _deployment_marks,
}


def summarize_pauses(fleet: FleetView) -> Document:
    """What is paused, for the overview: the first names of each kind, and how many there are.
    Bundles that only their GitRepo pauses are not counted.
    """
    index = PauseIndex(fleet.reader, fleet.workspace)
    return {
        "gitrepos": _summary(index.repos),
        "clusters": _summary(index.clusters),
        "bundles": _summary(_own_pauses(index.bundles)),
    }


def _own_pauses(bundles: Mapping[Place, list[str]]) -> set[Place]:
    return {
        place
        for place, pauses in bundles.items()
        if any(not pause.startswith("GitRepo ") for pause in pauses)
    }


def _summary(places: Collection[Place]) -> Document:
    return {"count": len(places), "names": [name for _, name in sorted(places)[:_MAX_NAMES]]}
