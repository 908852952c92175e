"""Why deployments are not Ready, gathered for bundles, GitRepos and clusters by counting in the
database; the words are core/reasons.py's.

Rule: every deployment counts towards its group, whatever their number; of each group one report is
read, as the example. What a silent cluster said last is no news of it: it counts as Offline, with
what was known last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.reasons import Group, Reason, of_manager, of_report
from fleetctl.core.model.status import Report, State
from fleetctl.core.model.summary import held_state, resource_counts, seen_state
from fleetctl.core.rollout.schedule import Verdict

from ..agents.presence import Live
from ..clock import rfc3339
from ..rollout import schedules
from ..store.counts import ids_text
from ..store.queries import in_parts
from ..store.schema import clusters, deployments, rollouts

_HELD = "held by its rollout"


@dataclass(frozen=True)
class Place:
    """Whose reasons are asked for; empty means all."""

    workspace: str | None = None
    repo: str = ""
    bundle: str = ""
    cluster: str = ""  # its id


@dataclass(frozen=True)
class Row:
    """What the database holds of one deployment, as far as it tells why. `answered`: the report is
    of the generation that it was told.
    """

    cluster: str
    bundle: str
    state: State
    told: bool
    answered: bool
    held: bool
    why: str = ""  # what the rollout waits for, when it is held
    window: str = ""  # when its cluster may change, when that is what it waits for
    report: bytes = b""


@dataclass
class Known:
    """Which clusters are silent (`offline`), or have no agent (`absent`), and what the rollouts
    wait for.
    """

    connection: Connection
    live: Live
    now: float
    workspace: str | None
    offline: Collection[str]
    absent: Collection[str]
    clusters: dict[str, Any] = field(default_factory=dict)  # those of which something is said

    def meet(self, ids: Iterable[str]) -> None:
        c = clusters.c
        for part in in_parts(sorted(set(ids) - self.clusters.keys())):
            query = sa.select(c.id, c.name, c.workspace, c.enrolled, c.seen).where(c.id.in_(part))
            self.clusters.update({row.id: row for row in self.connection.execute(query)})

    @cached_property
    def whys(self) -> dict[tuple[str, str, int], str]:
        """What is waited for in each partition."""
        r = rollouts.c
        query = sa.select(r.workspace, r.bundle, r.counts)
        rows = self.connection.execute(
            query.where(r.workspace == self.workspace) if self.workspace else query
        )
        return {
            (row.workspace, row.bundle, at): count["why"]
            for row in rows
            for at, count in enumerate(msgspec.json.decode(row.counts))
        }

    def seen(self, cluster: str) -> float:
        return self.live.last_seen(self.clusters[cluster], self.now)

    @cached_property
    def calendars(self) -> schedules.Calendars:
        return schedules.Calendars(self.connection, self.now)

    @cached_property
    def closed(self) -> dict[str, Verdict]:
        """Clusters outside their windows for which something is staged."""
        return schedules.closed(self.connection, self.workspace, self.now)

    @cached_property
    def unheeding(self) -> set[tuple[str, str]]:
        """Bundles that wait for no window."""
        return schedules.unheeding(self.connection, self.workspace)

    def window(self, row: Any) -> str:
        """What a row of a deployment whose newer version is staged says of its window, or ""."""
        found = self.closed.get(row.cluster_id)
        return (
            found.why
            if found is not None and (row.workspace, row.bundle) not in self.unheeding
            else ""
        )

    def waits_for(self, row: Any) -> str:
        return self.whys.get((row.workspace, row.bundle, row.partition)) or _HELD

    def reason(self, row: Row) -> tuple[State, Reason | None]:
        """(state as it is shown, why it is that); no reason for what is Ready. The cluster must
        have been met.
        """
        name, bundle = str(self.clusters[row.cluster].name), row.bundle
        enrolled, offline = row.cluster not in self.absent, row.cluster in self.offline
        stored = (
            held_state(row.state, told=row.told, window=bool(row.window)) if row.held else row.state
        )
        state = seen_state(stored, offline=offline, enrolled=enrolled)
        if not enrolled:
            code, cause = agentless(self.clusters[row.cluster])
            return state, of_manager(code, cause, f"cluster {name}", cluster=name, bundle=bundle)
        if state is State.OFFLINE:
            return state, of_manager(
                "offline", self._silence(row), f"cluster {name}", cluster=name, bundle=bundle
            )
        if state is State.WAITING_FOR_WINDOW and row.window:
            return state, of_manager(
                "window", row.window, f"cluster {name}", cluster=name, bundle=bundle
            )
        if row.held and (not row.told or state is not row.state):
            return state, of_manager(
                "held", row.why or _HELD, f"rollout {bundle}", cluster=name, bundle=bundle
            )
        if state is State.READY:
            return state, None
        if not row.answered or not row.report:
            return state, of_manager("waiting", "sent, no report yet", cluster=name, bundle=bundle)
        return state, of_report(
            msgspec.json.decode(row.report, type=Report), cluster=name, bundle=bundle
        )

    def _silence(self, row: Row) -> str:
        said = silence(self.seen(row.cluster))
        report = msgspec.json.decode(row.report, type=Report) if row.report else None
        if report is None or not row.told:
            return f"{said}, it never reported this bundle"
        return f"{said}, last state {report.state.value} at generation {report.generation}"


def warning_of(row: Any, cluster: str) -> Reason | None:
    """What the agent says of a row of `deployments` that is Ready: how it had to be applied."""
    if not row.report or row.reported < row.generation:
        return None
    report = msgspec.json.decode(row.report, type=Report)
    return of_report(report, cluster=cluster, bundle=row.bundle) if report.code else None


def agentless(cluster: Any) -> tuple[str, str]:
    """(code, words) of a row of `clusters` for which no agent has a key."""
    if cluster.enrolled:
        return "revoked", "its key was revoked; no agent has enrolled again"
    return "never-enrolled", "no agent has enrolled yet"


def silence(seen: float) -> str:
    return f"silent since {rfc3339(seen)}" if seen else "silent since it enrolled"


def row_of(row: Any, whole: Known) -> Row:
    """A row of `deployments`."""
    told, held = row.generation > 0, row.staged != ""
    why, window = (whole.waits_for(row), whole.window(row)) if held else ("", "")
    return Row(
        row.cluster_id,
        row.bundle,
        State(row.state),
        told,
        told and row.reported >= row.generation,
        held,
        why,
        window,
        row.report,
    )


Key = Callable[[Any], Hashable]


def BY_BUNDLE(row: Any) -> Hashable:  # noqa: N802 - a constant that is a function
    return row.workspace, row.bundle


def BY_REPO(row: Any) -> Hashable:  # noqa: N802
    return row.workspace, row.repo


def BY_CLUSTER(row: Any) -> Hashable:  # noqa: N802
    return str(row.cluster_id)


def grouped(whole: Known, place: Place, key: Key) -> dict[Any, list[Group]]:
    """The reasons of all deployments at `place` that are not Ready, by `key` (BY_BUNDLE, BY_REPO,
    BY_CLUSTER).
    """
    rows = _rows(whole, place, each=key is BY_CLUSTER)
    whole.meet(row.cluster_id for row in rows)
    reports = _reports(whole.connection, rows)
    found: dict[Any, list[Group]] = {}
    for row in rows:
        why, window = (whole.waits_for(row), whole.window(row)) if row.held else ("", "")
        report = reports.get((row.cluster_id, row.bundle), b"")
        answered, told, held = bool(row.answered), bool(row.told), bool(row.held)
        state, reason = whole.reason(
            Row(
                row.cluster_id,
                row.bundle,
                State(row.state),
                told,
                answered,
                held,
                why,
                window,
                report,
            )
        )
        if reason is not None:
            name = whole.clusters[row.cluster_id].name
            found.setdefault(key(row), []).append(
                Group(state, reason, row.amount, name, row.bundle, row.workspace)
            )
    return found


# One row for each sort of trouble. SQLite gives the other columns of the row that has the minimum.
# The conditions are those of partial indexes, which are named because SQLite would rather walk
# through a whole workspace; what is well is never looked at. CROSS JOIN: the clusters first.
_SORTED = """
SELECT d.workspace, d.repo, d.bundle, d.state, d.staged <> '' AS held, d.generation > 0 AS told,
    (d.generation > 0 AND d.reported >= d.generation) AS answered,
        CASE WHEN d.staged <> '' THEN d.partition ELSE 0 END AS partition,
    CASE WHEN d.reported >= d.generation THEN d.cause ELSE '' END AS said, {windows} AS windows,
        min(d.cluster_id) AS cluster_id,
    count(*) AS amount
FROM {table} WHERE NOT d.removed AND {which} {where} GROUP BY {apart}
"""
_APART = "d.workspace, d.repo, d.bundle, d.state, held, told, answered, 8, said, windows"
# Clusters under other Schedules wait for another time.
_WINDOWS = (
    "CASE WHEN d.staged <> '' THEN (SELECT c.windows FROM clusters c WHERE c.id = d.cluster_id)"
    " ELSE '' END"
)
_HEARD = "d.cluster_id NOT IN (SELECT value FROM json_each(:silent))"
UNREADY = ("deployments_unready", "d.state <> 'Ready'")
WAITING = ("deployments_held", "d.staged <> '' AND d.state = 'Ready'")


def _rows(whole: Known, place: Place, *, each: bool) -> list[Any]:
    """Those of clusters that are heard by state and cause, those of the others by what is wrong
    with the cluster; `each` cluster apart.
    """
    values = {"silent": ids_text({*whole.offline, *whole.absent}), **_values(place)}
    where = "".join(
        f" AND d.{column} = :{name}" for name, column in _COLUMNS.items() if name in values
    )
    apart = _APART + (", d.cluster_id" if each else "")
    found: list[Any] = []
    for index, which in (UNREADY, WAITING):
        outside = _WINDOWS if whole.closed else "''"
        table = "deployments d" if place.cluster else f"deployments d INDEXED BY {index}"
        text = _SORTED.format(
            table=table, which=f"{which} AND {_HEARD}", where=where, apart=apart, windows=outside
        )
        found += whole.connection.execute(sa.text(text), values)
    apart = "d.workspace, d.repo, d.bundle" + (", d.cluster_id" if each else "")
    for ids in filter(None, (whole.offline, whole.absent)):
        table = "json_each(:silent) j CROSS JOIN deployments d ON d.cluster_id = j.value"
        # + keeps SQLite from looking up every cluster by the workspace
        beside = where.replace(" d.", " +d.")
        text = _SORTED.format(table=table, which="1", where=beside, apart=apart, windows="''")
        found += whole.connection.execute(sa.text(text), values | {"silent": ids_text(ids)})
    return found


_COLUMNS = {"workspace": "workspace", "repo": "repo", "bundle": "bundle", "cluster": "cluster_id"}


def _values(place: Place) -> dict[str, str]:
    asked = {
        "workspace": place.workspace or "",
        "repo": place.repo,
        "bundle": place.bundle,
        "cluster": place.cluster,
    }
    return {name: value for name, value in asked.items() if value}


def objects_of(connection: Connection, place: Place) -> dict[str, int]:
    """Fleet's `resourceCounts` over all deployments at `place`."""
    where = [deployments.c[_COLUMNS[name]] == value for name, value in _values(place).items()]
    query = (
        sa.select(deployments.c.tally, sa.func.count())
        .where(~deployments.c.removed, *where)
        .group_by(deployments.c.tally)
    )
    return resource_counts((row[0], row[1]) for row in connection.execute(query))


def _reports(connection: Connection, rows: Iterable[Any]) -> dict[tuple[str, str], bytes]:
    d = deployments.c
    pairs = sorted({(row.cluster_id, row.bundle) for row in rows if row.told})
    found: dict[tuple[str, str], bytes] = {}
    for part in in_parts(pairs):
        query = sa.select(d.cluster_id, d.bundle, d.report).where(
            sa.tuple_(d.cluster_id, d.bundle).in_(part)
        )
        found |= {(row.cluster_id, row.bundle): row.report for row in connection.execute(query)}
    return found
