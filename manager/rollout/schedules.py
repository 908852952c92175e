"""Which clusters may change now, by the Schedules of their workspace (core/schedule.py).

Rule: `clusters.windows` names the Schedules that pick a cluster, written in the transaction that
changes a Schedule, a label or a group; so a decision asks each combination of Schedules once, not
each cluster. Whether a window is open is never stored: it is asked of the clock. A Schedule that
cannot be read (an unknown time zone on this machine) holds its clusters and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster, Group, matches
from fleetctl.core.model.errors import FleetError, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Change
from fleetctl.core.rollout.decide import Decision, Phase
from fleetctl.core.rollout.schedule import (
    ScheduleSpec,
    Verdict,
    Window,
    is_open,
    next_start,
    targets_of,
    verdict,
    window_of,
)
from fleetctl.core.targeting.target import Kind, criteria_match, kinds
from fleetctl.zones import zone_of

from ..store import counts
from ..store.commands.rollout.rollouts import mark_rollouts_of_workspace
from ..store.queries import Scope, fleet_clusters, groups, in_parts
from ..store.schema import clusters, objects, rollouts

KIND = "Schedule"
# in the others, who waits waits for a person
_GOING = frozenset({Phase.PROGRESSING, Phase.COMPLETED})


@dataclass(frozen=True, slots=True)
class Barred:
    """The clusters that may not change now, and why; `paused` ones by a person."""

    why: Mapping[ClusterId, Verdict] = field(default_factory=dict)
    paused: Collection[ClusterId] = frozenset()
    # clusters whose window is open now
    under: Mapping[ClusterId, Verdict] = field(default_factory=dict)

    def __contains__(self, cluster: ClusterId) -> bool:
        return cluster in self.why or cluster in self.paused

    def opens(self, cluster: ClusterId) -> bool:
        """Whether time alone will let it go."""
        found = self.why.get(cluster)
        return found is not None and found.until is not None and cluster not in self.paused

    def timed(self, decision: Decision, waiting: Iterable[ClusterId]) -> Decision:
        """The decision, looked at again when a window of those who still wait opens or closes, and
        with what they wait for.
        """
        if decision.progress.phase not in _GOING or not (self.why or self.under):
            return decision
        mine = [cluster for cluster in waiting if cluster not in self.paused]
        held = [self.why[cluster] for cluster in mine if cluster in self.why]
        times = [
            found.until
            for found in (*held, *(self.under[c] for c in mine if c in self.under))
            if found.until is not None
        ]
        wake = min([*times, *([decision.wake] if decision.wake else [])], default=0.0)
        return replace(
            decision,
            wake=float(wake),
            waiting="; ".join(text for text in (decision.waiting, _summary(held)) if text),
        )

    def waking(self, decision: Decision, back: Iterable[ClusterId]) -> Decision:
        """The decision, looked at again when a window opens of those who go back by name, whatever
        the rollout itself waits for.
        """
        times = [
            found.until
            for cluster in back
            if (found := self.why.get(cluster)) is not None and found.until is not None
        ]
        wake = min([*times, *([decision.wake] if decision.wake else [])], default=0.0)
        return replace(decision, wake=float(wake))


def _summary(held: Sequence[Verdict]) -> str:
    """`12 clusters wait: window nightly opens at …`, by the one that is over first."""
    if not held:
        return ""
    first = min(held, key=lambda one: (one.until is None, one.until or 0, one.why))
    return f"{len(held)} cluster{'s wait' if len(held) > 1 else ' waits'}: {first.why}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """The Schedules of a workspace at one time."""

    now: int
    windows: Mapping[str, Window]
    broken: Mapping[str, str]
    known: dict[str, Verdict] = field(default_factory=dict)

    def verdict(self, names: str) -> Verdict:
        """Of a cluster whose `windows` are `names`."""
        if names not in self.known:
            self.known[names] = self._verdict(names.split(","))
        return self.known[names]

    def _verdict(self, names: Sequence[str]) -> Verdict:
        unreadable = next((name for name in names if name in self.broken), None)
        if unreadable is not None:
            return Verdict(
                open=False,
                until=None,
                why=f"schedule {unreadable} cannot be read: {self.broken[unreadable]}",
            )
        return _lasting(
            tuple(self.windows[name] for name in names if name in self.windows), self.now
        )


_MOST_KNOWN = 1024
_known: dict[tuple[Window, ...], tuple[int, Verdict]] = {}


def _lasting(windows: tuple[Window, ...], now: int) -> Verdict:
    """The verdict, remembered for as long as it lasts: one that takes a look at years (a window
    that never closes) is made once.
    """
    at, known = _known.get(windows, (0, None))
    if known is not None and at <= now and (known.until is None or now < known.until):
        return known
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    found = verdict(windows, now)
    _known[windows] = now, found
    return found


def calendar(connection: Connection, workspace: str, now: float) -> Calendar:
    found: dict[str, Window] = {}
    broken: dict[str, str] = {}
    for name, text in _rows(connection, workspace):
        try:
            found[name] = _window(name, text)
        except FleetError as why:
            broken[name] = why.summary
    return Calendar(int(now), found, broken)


def _rows(connection: Connection, workspace: str) -> list[tuple[str, bytes]]:
    o = objects.c
    rows = connection.execute(
        sa.select(o.name, o.spec).where(o.kind == KIND, o.workspace == workspace).order_by(o.name)
    )
    return [(row.name, row.spec) for row in rows]


@lru_cache(maxsize=1024)
def _window(name: str, text: bytes) -> Window:
    spec = spec_of(msgspec.json.decode(text))
    return window_of(name, spec, zone_of(spec.location))


def checked(spec: Any) -> ScheduleSpec:
    """Raises UsageError."""
    found = spec_of(spec)
    zone_of(found.location)
    return found


Under = Iterable[tuple[str, str, list[ClusterId]]]  # workspace, `windows`, clusters
# One text of ids for each combination of Schedules: a hundred thousand rows of Python would cost a
# second.
_EVERY = """
SELECT c.workspace, c.windows, json_group_array(c.id) AS ids
    FROM clusters c WHERE c.windows <> '' {where} GROUP BY 1, 2
"""
_STAGED = """
SELECT c.workspace, c.windows, json_group_array(c.id) AS ids
    FROM deployments d CROSS JOIN clusters c ON c.id = d.cluster_id
WHERE d.staged <> '' AND NOT d.removed AND c.windows <> '' {where} GROUP BY 1, 2
"""
# deployments: a look at the cluster of each costs twelve times what one costs in `_EVERY`
_FEW = 2000


def _under(connection: Connection, workspace: str | None, bundle: str = "") -> Under:
    """Clusters under Schedules, at least those for which something (or the bundle) is staged; what
    has all that it should costs nothing.
    """
    held = sum(n for sort, n in counts.every(connection, workspace, bundle).items() if sort.held)
    few = [
        f"AND d.{column} = :{column}"
        for column, value in (("workspace", workspace), ("bundle", bundle))
        if value
    ]
    if held > _FEW:
        yield from _read(
            connection,
            _EVERY,
            "AND c.workspace = :workspace" if workspace else "",
            workspace=workspace or "",
        )
    elif held:
        yield from _read(
            connection, _STAGED, " ".join(few), workspace=workspace or "", bundle=bundle
        )


def _read(connection: Connection, text: str, where: str, **values: str) -> Under:
    values = {name: value for name, value in values.items() if f":{name}" in where}
    for row in connection.execute(sa.text(text.format(where=where)), values):
        yield row.workspace, row.windows, msgspec.json.decode(row.ids)


def barred(
    connection: Connection,
    workspace: Workspace,
    now: float,
    *,
    bundle: BundleName | None = None,
    paused: Collection[ClusterId] = frozenset(),
    passes: bool = False,
) -> Barred:
    """`bundle`: only the clusters for which a version of it is staged must be in the answer.
    `passes`: a person lets this version through closed windows.
    """
    at = calendar(connection, workspace, now)
    if passes or not (at.windows or at.broken):
        return Barred(paused=paused)
    every = _read(connection, _EVERY, "AND c.workspace = :workspace", workspace=workspace)
    shut, under = dict[ClusterId, Verdict](), dict[ClusterId, Verdict]()
    for _, names, ids in every if bundle is None else _under(connection, workspace, bundle):
        found = at.verdict(names)
        (under if found.open else shut).update(dict.fromkeys(ids, found))
    return Barred(shut, paused, under)


def closed(connection: Connection, workspace: str | None, now: float) -> dict[str, Verdict]:
    """The clusters outside their windows, at least those for which something is staged, in a
    workspace or in all.
    """
    found, calendars = dict[str, Verdict](), Calendars(connection, now)
    if not _scheduled(connection, workspace):
        return found
    for space, names, ids in _under(connection, workspace):
        verdict_now = calendars.of(space).verdict(names)
        if not verdict_now.open:
            found.update(dict.fromkeys(ids, verdict_now))
    return found


class Calendars:
    """Those of the workspaces, each read when it is asked for."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection, self._now = connection, now
        self._read: dict[str, Calendar] = {}

    def of(self, workspace: str) -> Calendar:
        if workspace not in self._read:
            self._read[workspace] = calendar(self._connection, workspace, self._now)
        return self._read[workspace]


def of_cluster(
    connection: Connection, place: tuple[Workspace, BundleName], cluster: Any, now: float
) -> Verdict | None:
    """What holds the bundle on a cluster (a row of `clusters`) at this time, or None."""
    if not cluster.windows or tuple(place) in unheeding(connection, place[0]):
        return None
    found = calendar(connection, place[0], now).verdict(cluster.windows)
    return None if found.open else found


def _scheduled(connection: Connection, workspace: str | None) -> bool:
    """Whether there is any Schedule: without one no cluster is under any, and none has to be looked
    at.
    """
    o = objects.c
    query = sa.select(o.name).where(o.kind == KIND)
    return (
        connection.execute(
            (query.where(o.workspace == workspace) if workspace else query).limit(1)
        ).first()
        is not None
    )


def unheeding(connection: Connection, workspace: str | None) -> set[tuple[str, str]]:
    """The bundles (with their workspaces) that do not wait for a window: a person lets them pass,
    or has stopped them altogether.
    """
    r = rollouts.c
    query = sa.select(r.workspace, r.bundle).where(
        (r.ignoring != "") | r.phase.not_in([phase.value for phase in _GOING])
    )
    rows = connection.execute(query.where(r.workspace == workspace) if workspace else query)
    return {(row.workspace, row.bundle) for row in rows}


def assign(
    connection: Connection, scope: Scope, fleet: Sequence[Cluster], known: Sequence[Group]
) -> None:
    """Write down which Schedules pick the clusters of `fleet`, which are those of the scope."""
    c = clusters.c
    specs = {name: _targets(text) for name, text in _rows(connection, scope.workspace)}
    had = _had(connection, scope)
    if not specs and not had:
        return
    moved: dict[str, list[str]] = {}
    picked = picker(specs, known)
    for cluster in fleet:
        names = picked(cluster)
        if had.get(cluster.id, "") != names:
            moved.setdefault(names, []).append(cluster.id)
    for names, ids in moved.items():
        for part in in_parts(ids):
            connection.execute(sa.update(clusters).where(c.id.in_(part)).values(windows=names))


def picker(
    specs: Mapping[str, Sequence[Target]], known: Sequence[Group]
) -> Callable[[Cluster], str]:
    """The names of the Schedules that pick a cluster. Clusters of one kind cost one look."""
    kind = kinds([target for mine in specs.values() for target in mine], known)
    seen: dict[Kind, str] = {}

    def pick(cluster: Cluster) -> str:
        key = kind(cluster)
        if key not in seen:
            mine = [group for group in known if matches(group.selector, cluster.labels)]
            seen[key] = ",".join(
                name
                for name, wants in specs.items()
                if any(criteria_match(t, cluster, mine) for t in wants)
            )
        return seen[key]

    return pick


def _had(connection: Connection, scope: Scope) -> dict[str, str]:
    """What is written down of the scope's clusters, where it is anything."""
    c = clusters.c
    query = sa.select(c.id, c.windows).where(c.windows != "")
    if scope.clusters is None:
        return {
            row.id: row.windows
            for row in connection.execute(query.where(c.workspace == scope.workspace))
        }
    rows = (
        row
        for part in in_parts(sorted(scope.clusters))
        for row in connection.execute(query.where(c.id.in_(part)))
    )
    return {row.id: row.windows for row in rows}


def _targets(text: bytes) -> list[Target]:
    """Of a Schedule as it is stored: who wrote it there has checked it."""
    return targets_of(msgspec.json.decode(text, type=ScheduleSpec))


def changed(connection: Connection, workspace: Workspace) -> None:
    """A Schedule was written or removed: the rollouts of its workspace are looked at again."""
    scope = Scope(workspace)
    assign(connection, scope, fleet_clusters(connection, scope), groups(connection, workspace))
    mark_rollouts_of_workspace(connection, workspace)


def gated(
    connection: Connection, workspace: Workspace, changes: Collection[Change]
) -> set[BundleName]:
    """Bundles that change on a cluster under a Schedule: they have a rollout, so that somebody
    waits for the window.
    """
    if not _scheduled(connection, workspace):
        return set()
    ids = {change.key[0] for change in changes if change.want is not None and change.redeploy}
    rows = connection.execute(_UNDER, {"ids": msgspec.json.encode(sorted(ids)).decode()})
    under = {row.id for row in rows}
    return {
        change.key[1]
        for change in changes
        if change.want is not None and change.redeploy and change.key[0] in under
    }


_UNDER = sa.text(
    "SELECT c.id FROM json_each(:ids) j CROSS JOIN clusters c ON c.id = j.value WHERE c.windows"
    " <> ''"
)


def status(
    connection: Connection, rows: Iterable[Any], now: float
) -> dict[tuple[str, str], dict[str, Any]]:
    """Fleet's status of Schedules, by workspace and name. `rows`: of `objects`."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    calendars, members = Calendars(connection, now), dict[str, dict[str, list[str]]]()
    for row in rows:
        if row.workspace not in members:
            members[row.workspace] = _members(connection, row.workspace)
        found[row.workspace, row.name] = _status(
            calendars.of(row.workspace), row.name, members[row.workspace].get(row.name, [])
        )
    return found


def _members(connection: Connection, workspace: str) -> dict[str, list[str]]:
    """Names of the clusters that each Schedule picks."""
    c = clusters.c
    found: dict[str, list[str]] = {}
    for row in connection.execute(
        sa.select(c.name, c.windows)
        .where(c.workspace == workspace, c.windows != "")
        .order_by(c.name)
    ):
        for name in row.windows.split(","):
            found.setdefault(name, []).append(row.name)
    return found


def _status(at: Calendar, name: str, members: list[str]) -> dict[str, Any]:
    window = at.windows.get(name)
    if window is None:
        why = at.broken.get(name, "")
        shown = {"state": "Stalled", "message": why}
        return {
            "active": False,
            "nextStartTime": None,
            "matchingClusters": members,
            "display": shown,
            "conditions": [_ready(why)],
        }
    start = next_start(window, at.now)
    return {
        "active": is_open(window, at.now),
        "nextStartTime": _local(start, window),
        "matchingClusters": members,
        "display": {"state": "Ready", "message": ""},
        "conditions": [_ready("")],
    }


def _ready(why: str) -> dict[str, str]:
    return {"type": "Ready", "status": "False" if why else "True"} | (
        {"message": why} if why else {}
    )


def _local(at: int | None, window: Window) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, window.zone).isoformat()


def check_reason(bundle: str, reason: str) -> str:
    """The reason of a person's `ignore-windows`. Raises UsageError if there is none."""
    if not reason.strip():
        raise UsageError(
            "a change outside its window needs a reason",
            subject=f"rollout of {bundle}",
            next_step="Add --reason TEXT.",
        )
    return reason.strip()
