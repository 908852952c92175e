"""Marks: what keeps an object from following Git, whatever its state is.

- paused: a person paused the cluster, the GitRepo, the rollout, or fleet.yaml has `paused: true`.
- pinned: a person went back to an earlier revision.
- frozen: the schedule windows of the cluster are closed now.
- held: a removal waits for a person.

An object may be Ready and marked at once, so a mark is shown beside the state and never instead of
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.rollout.decide import Phase

from ..rollout import schedules
from ..store.queries import in_parts
from ..store.schema import bundles, clusters, objects, rollouts
from .metadata import Document
from .states import Fleet

PAUSED, PINNED, FROZEN, HELD = "paused", "pinned", "frozen", "held"
_HAS_PAUSED = sa.text("instr(spec, '\"paused\"') > 0")
Place = tuple[str, str]  # workspace, name


@dataclass
class Marks:
    """Everything that is paused or frozen in a workspace (or everywhere), read when it is asked
    for.
    """

    connection: Connection
    workspace: str | None
    frozen: set[Place] = field(default_factory=set)  # clusters, as far as `freeze` was asked

    @cached_property
    def repos(self) -> set[Place]:
        o = objects.c
        query = sa.select(o.workspace, o.name, o.spec).where(o.kind == "GitRepo", _HAS_PAUSED)
        return self._paused(query, o.workspace)

    @cached_property
    def clusters(self) -> set[Place]:
        c = clusters.c
        return self._paused(sa.select(c.workspace, c.name, c.spec).where(_HAS_PAUSED), c.workspace)

    @cached_property
    def bundles(self) -> dict[Place, list[str]]:
        """What pauses each paused bundle."""
        b, r, places = bundles.c, rollouts.c, dict[Place, list[str]]()
        for workspace, repo in self.repos:
            query = sa.select(b.name).where(b.workspace == workspace, b.repo == repo)
            for name in self.connection.execute(query).scalars():
                places.setdefault((workspace, name), []).append(f"GitRepo {repo}")
        query = sa.select(b.workspace, b.name, b.spec).where(_HAS_PAUSED)
        for place in self._paused(query, b.workspace):
            places.setdefault(place, []).append("its fleet.yaml")
        query = sa.select(r.workspace, r.bundle).where(r.phase == Phase.PAUSED.value)
        for row in self.connection.execute(self._in_workspace(query, r.workspace)):
            places.setdefault((row.workspace, row.bundle), []).append(f"rollout {row.bundle}")
        return places

    def freeze(self, places: set[Place], calendars: schedules.Calendars) -> None:
        """Note which of these clusters are outside their schedule windows."""
        c = clusters.c
        for part in in_parts(sorted(places)):
            where = sa.tuple_(c.workspace, c.name).in_(part) & (c.windows != "")
            query = sa.select(c.workspace, c.name, c.windows).where(where)
            for row in self.connection.execute(query):
                if not calendars.of(row.workspace).verdict(row.windows).open:
                    self.frozen.add((row.workspace, row.name))

    def _paused(self, query: Any, column: Any) -> set[Place]:
        rows = self.connection.execute(self._in_workspace(query, column))
        return {(row[0], row[1]) for row in rows if msgspec.json.decode(row.spec).get("paused")}

    def _in_workspace(self, query: Any, column: Any) -> Any:
        return query.where(column == self.workspace) if self.workspace else query


def add(whole: Fleet, kind: str, documents: list[Document]) -> None:
    """Set `status.display.marks` and, where something is paused, `status.pausedBy`."""
    make = _OF_KIND.get(kind)
    if make is None:
        return
    marks = Marks(whole.connection, whole.workspace)
    if kind == "BundleDeployment":
        marks.freeze(
            {(d["metadata"]["namespace"], d["spec"]["cluster"]) for d in documents},
            whole.known.calendars,
        )
    for document in documents:
        status = document["status"]
        pauses, others = make(marks, document)
        names = [*([PAUSED] if pauses else []), *others]
        status["display"]["marks"] = names
        if pauses:
            status["pausedBy"] = pauses


def on_rollouts(connection: Connection, workspace: str | None, documents: list[Document]) -> None:
    """As `add`, for rollouts; each has the name of its bundle."""
    marks = Marks(connection, workspace)
    for document in documents:
        status = document["status"]
        pauses = marks.bundles.get(_place(document), [])
        pinned = [PINNED] if status.get("pin") or status.get("pinnedClusters") else []
        status["display"]["marks"] = [*([PAUSED] if pauses else []), *pinned]
        if pauses:
            status["pausedBy"] = pauses


def _place(document: Document) -> Place:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _of_repo(marks: Marks, document: Document) -> tuple[list[str], list[str]]:
    place = _place(document)
    pauses = [f"GitRepo {place[1]}"] if place in marks.repos else []
    return pauses, [HELD] if document["status"].get("held") else []


def _of_bundle(marks: Marks, document: Document) -> tuple[list[str], list[str]]:
    status = document["status"]
    pinned = [PINNED] if status.get("pin") or status.get("pinnedClusters") else []
    return marks.bundles.get(_place(document), []), [*pinned, *_held(status)]


def _of_cluster(marks: Marks, document: Document) -> tuple[list[str], list[str]]:
    place = _place(document)
    pauses = [f"cluster {place[1]}"] if place in marks.clusters else []
    status = document["status"]
    pinned = [PINNED] if status.get("pinnedBundles") else []
    frozen = [FROZEN] if status.get("scheduled") and not status.get("activeSchedule") else []
    return pauses, [*pinned, *frozen]


def _of_deployment(marks: Marks, document: Document) -> tuple[list[str], list[str]]:
    workspace, spec, status = (
        document["metadata"]["namespace"],
        document["spec"],
        document["status"],
    )
    cluster = (workspace, spec["cluster"])
    pauses = [f"cluster {spec['cluster']}"] if cluster in marks.clusters else []
    pauses = [*pauses, *marks.bundles.get((workspace, spec["bundle"]), [])]
    pinned = [PINNED] if status.get("pin") else []
    frozen = [FROZEN] if cluster in marks.frozen else []
    return pauses, [*pinned, *frozen, *_held(status)]


def _held(status: Document) -> list[str]:
    return [HELD] if status.get("held") else []


_OF_KIND = {
    "GitRepo": _of_repo,
    "Bundle": _of_bundle,
    "Cluster": _of_cluster,
    "BundleDeployment": _of_deployment,
}


def summary(whole: Fleet) -> Document:
    """What is paused, for the overview: the first names of each kind, and how many there are."""
    marks = Marks(whole.connection, whole.workspace)
    own = {
        place
        for place, pauses in marks.bundles.items()
        if any(not pause.startswith("GitRepo ") for pause in pauses)
    }
    return {
        "gitrepos": _counted(marks.repos),
        "clusters": _counted(marks.clusters),
        "bundles": _counted(own),
    }


def _counted(places: set[Place], most: int = 3) -> Document:
    return {"count": len(places), "names": [name for _, name in sorted(places)[:most]]}
