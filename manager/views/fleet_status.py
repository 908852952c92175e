"""The fleet on one screen: counts, and what waits for somebody, worst first, each with the command
that comes next.

Rule: it stays one screen and cheap however many clusters there are. Clusters are counted by what is
wrong with them and only one of a kind is named; what is wrong with a bundle is said once, on the
bundle; what is well is never read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import worst_of

from ..agents.presence import Live
from ..rollout import schedules
from ..store.queries import in_parts
from ..store.schema import clusters
from . import held_removals, marks, pending_removals, pins, reasons, rollouts
from .clusters import trouble_type
from .metadata import Asked, Document, display_state
from .objects import made
from .states import Fleet, fleet

_MOST = 100
_MOST_ROLLOUTS = 20
# States of a GitRepo that are its own, and not those of its bundles.
_OF_GIT = frozenset({"Stalled", "Held", "GitUpdating"})
# What is wrong with a cluster as a whole; all else is said of its bundles.
_OF_CLUSTERS = ("ErrApplied", State.OFFLINE.value, "WaitCheckIn")
_ORDER = ["Stalled", "Held", *State]
_PHASES = ("Failed", "Aborted", "Paused", "Progressing", "Completed")


class _Cluster(NamedTuple):
    """One that is not Ready, and why when it is the cluster's own trouble."""

    id: str
    workspace: str
    name: str
    state: str
    message: str


def overview(connection: Connection, live: Live, workspace: str | None, now: float) -> Document:
    """How many of each kind are in each state, rollouts, windows and pins, and what needs
    attention.
    """
    asked = Asked(workspace=workspace)
    whole = fleet(connection, live, now, workspace)
    repos, bundles = (made(whole, kind, asked) for kind in ("GitRepo", "Bundle"))
    wrong, total = _wrong(whole), _total(connection, workspace)
    states = _tally(one.state for one in wrong)
    ready = total - sum(states.values())
    attention = [_repo(item) for item in repos if display_state(item) in _OF_GIT]
    attention += [_bundle(item) for item in bundles if display_state(item) != "Ready"]
    attention += [
        *_grouped(wrong, everywhere=not workspace),
        *_troubled(connection, workspace),
        *_stuck(connection, workspace),
    ]
    attention.sort(
        key=lambda a: (
            _place(a["state"]),
            a["kind"] == "Cluster",
            -a["count"],
            a["kind"],
            a["name"],
        )
    )
    deployed = whole.counted(lambda sort: None).get(None, {})
    return {
        "gitrepos": _tally(display_state(item) for item in repos),
        "clusters": states | ({"Ready": ready} if ready else {}),
        "bundles": _tally(display_state(item) for item in bundles),
        "deployments": {state.value: n for state, n in deployed.items()},
        "rollouts": _rollouts(connection, workspace),
        "windows": _windows(whole),
        "pins": _pins(connection, workspace),
        "paused": marks.summary(whole),
        "attention": attention[:_MOST],
        "attentionOmitted": max(0, len(attention) - _MOST),
    }


def _place(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)


def _tally(states: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in states:
        found[state] = found.get(state, 0) + 1
    return found


def _total(connection: Connection, workspace: str | None) -> int:
    query = sa.select(sa.func.count()).select_from(clusters)
    return int(
        connection.execute(
            query.where(clusters.c.workspace == workspace) if workspace else query
        ).scalar_one()
    )


# By the partial indexes, so that what is well is not looked at.
_BY_CLUSTER = """
SELECT d.cluster_id, d.state, d.staged, max(d.generation) AS generation, d.workspace, d.bundle
    FROM deployments d INDEXED BY {index}
WHERE NOT d.removed AND {which} AND (:workspace = '' OR d.workspace = :workspace)
GROUP BY d.cluster_id, d.state, d.staged <> '', d.generation > 0
"""


def _wrong(whole: Fleet) -> list[_Cluster]:
    """The clusters that are not Ready, and what is wrong with each."""
    found: dict[str, dict[State, int]] = {}
    for index, which in (reasons.UNREADY, reasons.WAITING):
        text = sa.text(_BY_CLUSTER.format(index=index, which=which))
        for row in whole.connection.execute(text, {"workspace": whole.workspace or ""}):
            mine, state = found.setdefault(row.cluster_id, {}), whole.state(row)
            mine[state] = mine.get(state, 0) + 1
    worst = {cluster: worst_of(states).value for cluster, states in found.items()}
    twins = _twins(whole)
    ids = worst.keys() | whole.offline | whole.absent | twins
    c = clusters.c
    # by the id alone, or SQLite may walk through the workspace
    query = sa.select(c.id, c.name, c.workspace, c.enrolled, c.seen)
    rows = (
        row
        for part in in_parts(sorted(ids))
        for row in whole.connection.execute(query.where(c.id.in_(part)))
    )
    rows = (row for row in rows if whole.workspace in {None, row.workspace})
    return [
        one
        for row in rows
        if (one := _cluster(row, whole, worst.get(row.id, "Ready"))).state != "Ready"
    ]


def _twins(whole: Fleet) -> set[ClusterId]:
    """Clusters whose key two agents use; the index holds no others but those of which an agent or
    we have something to say.
    """
    c = clusters.c
    index = sa.text("instr(agent, '\"troubles\"') + instr(agent, '\"twin\"') > 0")
    return {
        i
        for i in map(ClusterId, whole.connection.execute(sa.select(c.id).where(index)).scalars())
        if whole.live.twin(i)
    }


def _cluster(row: Any, whole: Fleet, state: str) -> _Cluster:
    state, message = whole.trouble_of(row) or (state, "")
    return _Cluster(row.id, row.workspace, row.name, state, message)


def _grouped(wrong: list[_Cluster], *, everywhere: bool) -> Iterable[Document]:
    """Clusters with a trouble of their own, one line for each kind of it."""
    groups: dict[tuple[str, str], list[_Cluster]] = {}
    for one in wrong:
        if one.state in _OF_CLUSTERS and one.message:
            groups.setdefault((one.workspace, one.state), []).append(one)
    for (space, state), some in sorted(groups.items()):
        first = min(some, key=lambda one: one.name)
        where = f" -n {space}" if everywhere else ""
        step = (
            f"fleetctl why cluster/{first.name}{where}"
            if len(some) == 1
            else f"fleetctl cluster list --state {state}{where}"
        )
        yield _line("Cluster", space, first.name, state, first.message, count=len(some), step=step)


def _troubled(connection: Connection, workspace: str | None) -> Iterable[Document]:
    """Clusters whose agents tell of a trouble, one line for each code."""
    c = clusters.c
    query = sa.select(c.name, c.workspace, c.agent).where(
        sa.text("instr(agent, '\"troubles\"') + instr(agent, '\"twin\"') > 0")
    )
    query = query.where(c.public_key.is_not(None)).order_by(c.workspace, c.name)
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in connection.execute(query.where(c.workspace == workspace) if workspace else query):
        for trouble in msgspec.json.decode(row.agent).get("troubles", [])[:1]:
            groups.setdefault((row.workspace, trouble["code"]), []).append(
                (row.name, trouble["message"])
            )
    for (space, code), some in groups.items():
        name, message = some[0]
        yield _line(
            "Cluster",
            space,
            name,
            trouble_type(code),
            message,
            count=len(some),
            step=hint_of(code, cluster=name),
        )


def _stuck(connection: Connection, workspace: str | None) -> Iterable[Document]:
    """Removals that do not end by themselves, one line for each bundle and cause."""
    for (space, _, bundle), some in pending_removals.groups(connection, workspace).items():
        where = "" if workspace else f" -n {space}"
        for group in pending_removals.stuck(some):
            step = f"fleetctl why {group.cluster} {bundle}{where}"
            yield _line(
                "Bundle",
                space,
                bundle,
                "ErrApplied",
                pending_removals.sentence(group),
                count=group.count,
                step=step,
            )


def _line(
    kind: str, space: str, name: str, state: str, message: str, *, step: str, count: int = 1
) -> Document:
    head = {"kind": kind, "namespace": space, "name": name, "state": state, "message": message}
    return head | {"count": count, "next": step}


def _repo(item: Document) -> Document:
    meta, status, state = item["metadata"], item["status"], display_state(item)
    name, held = meta["name"], status.get("held")
    step = {
        "Stalled": f"fleetctl gitrepo get {name}",
        "GitUpdating": f"fleetctl wait gitrepo/{name} --for synced",
    }.get(state, "")
    if state == "Held":
        step = _let_go(name, held) if held else "fleetctl held list"
    return _line(
        "GitRepo", meta["namespace"], name, state, status["display"].get("message", ""), step=step
    )


def _let_go(name: str, held: Document) -> str:
    """A renamed directory asks for a word of its own; else the removal is confirmed with its
    numbers.
    """
    moves = held.get("moves") or []
    return held_removals.say_moved(moves[0]) if moves else held_removals.let_go_of_scan(name, held)


def _bundle(item: Document) -> Document:
    """The worst reason, with all of its clusters."""
    meta, status = item["metadata"], item["status"]
    name, state = meta["name"], display_state(item)
    if state == "Held" and status.get("held"):
        return _line(
            "Bundle",
            meta["namespace"],
            name,
            state,
            status["held"]["message"],
            step=status["held"]["confirm"],
        )
    mine = [reason for reason in status.get("reasons") or [] if reason["state"] == state]
    count = sum(reason["count"] for reason in mine)
    said = status["display"].get("message", "")
    if mine:
        said = f"{count} cluster{'s' if count > 1 else ''}: {mine[0]['cause']}"
    return _line("Bundle", meta["namespace"], name, state, said, step=f"fleetctl why bundle/{name}")


def _rollouts(connection: Connection, workspace: str | None) -> Document:
    """Counted by phase; those that are not through, the ones that wait for a person first."""
    found = rollouts.listing(connection, workspace)
    going = [item for item in found if item["status"]["display"]["state"] != "Completed"]
    shown = sorted(
        (_rollout(item) for item in going),
        key=lambda r: (_PHASES.index(r["state"]) if r["state"] in _PHASES else 0, r["name"]),
    )
    shown.sort(key=lambda r: not r["waitsForYou"])
    counts = _tally(item["status"]["display"]["state"] for item in found)
    return {
        "counts": counts,
        "items": shown[:_MOST_ROLLOUTS],
        "omitted": max(0, len(shown) - _MOST_ROLLOUTS),
    }


def _rollout(item: Document) -> Document:
    name, status = item["metadata"]["name"], item["status"]
    state, asks = status["display"]["state"], any(part["asks"] for part in status["partitions"])
    step = f"fleetctl rollout status {name}"
    if asks and state == "Progressing":
        step = f"fleetctl rollout approve {name}"
    elif state in {"Failed", "Aborted", "Paused"}:
        step = f"fleetctl rollout resume {name}"
    return {
        "namespace": item["metadata"]["namespace"],
        "name": name,
        "state": state,
        "clusters": status["display"]["clusters"],
        "message": status["display"]["message"],
        "waitsForYou": asks or state in {"Failed", "Aborted", "Paused"},
        "next": step,
    }


def _windows(whole: Fleet) -> Document:
    """How many clusters are outside their windows now, and which opens first."""
    closed = schedules.closed(whole.connection, whole.workspace, whole.now)
    first = min(closed.values(), key=lambda one: (one.until is None, one.until or 0), default=None)
    return {"closed": len(closed), "message": first.why if first else ""}


def _pins(connection: Connection, workspace: str | None) -> Document:
    found = pins.of_bundles(connection, workspace)
    whole = [
        {"namespace": key[0], "name": key[1], "message": pin.words("")}
        for key, pin in sorted(found.items())
    ]
    own = sum(amount for pin in found.values() for _, amount in pin.own)
    return {
        "bundles": sum(1 for pin in found.values() if pin.whole),
        "clusters": own,
        "items": whole[:_MOST_ROLLOUTS],
    }
