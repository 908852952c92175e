"""Builds the overview: the fleet on one screen. Counts, and what waits for a person, worst first,
each with the next command.

Rule: it stays one screen and cheap however many clusters there are. Clusters are counted by what is
wrong with them and only one of a kind is named; what is wrong with a bundle is listed once, on the
bundle; what is Ready is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.status import State
from fleetctl.core.model.summary import worst_of

from ..presence import PresenceTable
from ..store.connection import Reader
from ..store.queries.clusters import (
    cluster_presences,
    clusters_with_reported_troubles,
    count_clusters,
)
from ..store.queries.deployment_states import unready_by_cluster
from . import marks, pins, rollouts
from .clusters import trouble_type
from .metadata import Document, ListFilter, display_state
from .objects import list_kind
from .removals import held as held_removals
from .removals import pending as pending_removals
from .states import FleetView, StateCounts, fleet_view

_MAX_LINES = 100
_MAX_ROLLOUTS = 20
# States of a GitRepo that are its own, and not those of its bundles.
_REPO_STATES = frozenset({"Stalled", "Held", "GitUpdating"})
# What is wrong with a cluster as a whole; all else is listed with its bundles.
_CLUSTER_STATES = ("ErrApplied", State.OFFLINE.value, "WaitCheckIn")
_ORDER = ["Stalled", "Held", *State]
_PHASES = ("Failed", "Aborted", "Paused", "Progressing", "Completed")
_STOPPED_PHASES = frozenset({"Failed", "Aborted", "Paused"})


class _UnreadyCluster(NamedTuple):
    """A cluster that is not Ready, and why if the cluster as a whole has a trouble."""

    workspace: str
    name: str
    state: str
    message: str


def build_overview(
    reader: Reader, live: PresenceTable, workspace: str | None, now: float
) -> Document:
    """How many of each kind are in each state, rollouts, windows and pins, and what needs
    attention.
    """
    query = ListFilter(workspace=workspace)
    fleet = fleet_view(reader, live, now, workspace)
    repos, bundles = (list_kind(fleet, kind, query) for kind in ("GitRepo", "Bundle"))
    unready = _unready_clusters(fleet)
    states = _tally(cluster.state for cluster in unready)
    ready = count_clusters(reader, workspace) - len(unready)
    attention = _attention(fleet, repos, bundles, unready)
    deployments = fleet.count_states(lambda count_key: None).get(None, {})
    return {
        "gitrepos": _tally(display_state(item) for item in repos),
        "clusters": states | ({"Ready": ready} if ready else {}),
        "bundles": _tally(display_state(item) for item in bundles),
        "deployments": {state.value: number for state, number in deployments.items()},
        "rollouts": _rollouts(reader, workspace),
        "windows": _windows(fleet),
        "pins": _pins(reader, workspace),
        "paused": marks.summarize_pauses(fleet),
        "attention": attention[:_MAX_LINES],
        "attentionOmitted": max(0, len(attention) - _MAX_LINES),
    }


def _attention(
    fleet: FleetView,
    repos: Iterable[Document],
    bundles: Iterable[Document],
    unready: Sequence[_UnreadyCluster],
) -> list[Document]:
    """What needs attention, worst first; of one state, bundles before clusters, and what concerns
    many clusters first.
    """
    lines = [_repo_line(item) for item in repos if display_state(item) in _REPO_STATES]
    lines += [_bundle_line(item) for item in bundles if display_state(item) != "Ready"]
    lines += _cluster_lines(unready, everywhere=not fleet.workspace)
    lines += _trouble_lines(fleet)
    lines += _removal_lines(fleet)
    lines.sort(
        key=lambda a: (_rank(a["state"]), a["kind"] == "Cluster", -a["count"], a["kind"], a["name"])
    )
    return lines


def _rank(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)


def _tally(states: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def _unready_clusters(fleet: FleetView) -> list[_UnreadyCluster]:
    """The clusters that are not Ready, and what is wrong with each."""
    states: dict[str, StateCounts] = {}
    for row in unready_by_cluster(fleet.reader, fleet.workspace):
        counts, state = states.setdefault(row.cluster_id, {}), fleet.unready_state(row)
        counts[state] = counts.get(state, 0) + 1
    ids = states.keys() | fleet.offline | fleet.absent | fleet.duplicate_agents
    unready = []
    for cluster in cluster_presences(fleet.reader, ids):
        if fleet.workspace not in {None, cluster.workspace}:
            continue
        worst = worst_of(states.get(cluster.id, {})).value
        shown_state, message = fleet.cluster_trouble(cluster) or (worst, "")
        if shown_state != "Ready":
            item = _UnreadyCluster(cluster.workspace, cluster.name, shown_state, message)
            unready.append(item)
    return unready


def _cluster_lines(unready: Iterable[_UnreadyCluster], *, everywhere: bool) -> Iterable[Document]:
    """Clusters with a trouble as a whole, one line for each state."""
    groups: dict[tuple[str, str], list[_UnreadyCluster]] = {}
    for cluster in unready:
        if cluster.state in _CLUSTER_STATES and cluster.message:
            groups.setdefault((cluster.workspace, cluster.state), []).append(cluster)
    for (workspace, state), clusters in sorted(groups.items()):
        first = min(clusters, key=lambda cluster: cluster.name)
        option = f" -n {workspace}" if everywhere else ""
        step = f"fleetctl cluster list --state {state}{option}"
        if len(clusters) == 1:
            step = f"fleetctl why cluster/{first.name}{option}"
        head = ("Cluster", workspace, first.name, state, first.message)
        yield _line(*head, count=len(clusters), step=step)


def _trouble_lines(fleet: FleetView) -> Iterable[Document]:
    """Clusters whose agents report a trouble, one line for each code."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cluster in clusters_with_reported_troubles(fleet.reader, fleet.workspace):
        for trouble in msgspec.json.decode(cluster.agent).get("troubles", [])[:1]:
            group = groups.setdefault((cluster.workspace, trouble["code"]), [])
            group.append((cluster.name, trouble["message"]))
    for (workspace, code), clusters in groups.items():
        name, message = clusters[0]
        head = ("Cluster", workspace, name, trouble_type(code), message)
        yield _line(*head, count=len(clusters), step=hint_of(code, cluster=name))


def _removal_lines(fleet: FleetView) -> Iterable[Document]:
    """Removals that do not end without a person, one line for each bundle and cause."""
    removals = pending_removals.group_removals(fleet.reader, fleet.workspace)
    for (workspace, _, bundle), groups in removals.items():
        option = "" if fleet.workspace else f" -n {workspace}"
        for group in pending_removals.select_stuck(groups):
            step = f"fleetctl why {group.cluster} {bundle}{option}"
            message = pending_removals.describe_stuck(group)
            head = ("Bundle", workspace, bundle, "ErrApplied", message)
            yield _line(*head, count=group.count, step=step)


def _line(
    kind: str, workspace: str, name: str, state: str, message: str, *, step: str, count: int = 1
) -> Document:
    """One line of the list; `step` is the next command."""
    return {
        "kind": kind,
        "namespace": workspace,
        "name": name,
        "state": state,
        "message": message,
        "count": count,
        "next": step,
    }


def _repo_line(item: Document) -> Document:
    metadata, status, state = item["metadata"], item["status"], display_state(item)
    name, removal = metadata["name"], status.get("held")
    step = {
        "Stalled": f"fleetctl gitrepo get {name}",
        "GitUpdating": f"fleetctl wait gitrepo/{name} --for synced",
    }.get(state, "")
    if state == "Held":
        step = _confirm_command(name, removal) if removal else "fleetctl held list"
    message = status["display"].get("message", "")
    return _line("GitRepo", metadata["namespace"], name, state, message, step=step)


def _confirm_command(name: str, removal: Document) -> str:
    """A renamed directory has its own command; else the removal is confirmed with its numbers."""
    moves = removal.get("moves") or []
    if moves:
        return held_removals.move_command(moves[0])
    return held_removals.confirm_scan_command(name, removal)


def _bundle_line(item: Document) -> Document:
    """The worst reason, with all of its clusters."""
    metadata, status, state = item["metadata"], item["status"], display_state(item)
    name, step = metadata["name"], f"fleetctl why bundle/{metadata['name']}"
    message = status["display"].get("message", "")
    removal = status.get("held")
    if state == "Held" and removal:
        message, step = removal["message"], removal["confirm"]
    elif reasons := [r for r in status.get("reasons") or [] if r["state"] == state]:
        count = sum(reason["count"] for reason in reasons)
        message = f"{count} cluster{'s' if count > 1 else ''}: {reasons[0]['cause']}"
    return _line("Bundle", metadata["namespace"], name, state, message, step=step)


def _rollouts(reader: Reader, workspace: str | None) -> Document:
    """Counted by phase; those that are not completed, first those that wait for a person."""
    documents = rollouts.list_rollouts(reader, workspace)
    items = [_rollout(item) for item in documents if display_state(item) != "Completed"]
    items.sort(
        key=lambda r: (
            not r["waitsForYou"],
            _PHASES.index(r["state"]) if r["state"] in _PHASES else 0,
            r["name"],
        )
    )
    return {
        "counts": _tally(display_state(item) for item in documents),
        "items": items[:_MAX_ROLLOUTS],
        "omitted": max(0, len(items) - _MAX_ROLLOUTS),
    }


def _rollout(item: Document) -> Document:
    name, status, state = item["metadata"]["name"], item["status"], display_state(item)
    asks = any(part["asks"] for part in status["partitions"])
    step = f"fleetctl rollout status {name}"
    if asks and state == "Progressing":
        step = f"fleetctl rollout approve {name}"
    elif state in _STOPPED_PHASES:
        step = f"fleetctl rollout resume {name}"
    return {
        "namespace": item["metadata"]["namespace"],
        "name": name,
        "state": state,
        "clusters": status["display"]["clusters"],
        "message": status["display"]["message"],
        "waitsForYou": asks or state in _STOPPED_PHASES,
        "next": step,
    }


def _windows(fleet: FleetView) -> Document:
    """How many clusters are outside their windows now, and what the first that opens says."""
    closed_clusters = fleet.reasons.closed_windows
    first = min(
        closed_clusters.values(), key=lambda v: (v.until is None, v.until or 0), default=None
    )
    return {"closed": len(closed_clusters), "message": first.why if first else ""}


def _pins(reader: Reader, workspace: str | None) -> Document:
    by_bundle = pins.pins_by_bundle(reader, workspace)
    items = [
        {"namespace": key[0], "name": key[1], "message": bundle_pins.describe()}
        for key, bundle_pins in sorted(by_bundle.items())
    ]
    return {
        "bundles": sum(1 for bundle_pins in by_bundle.values() if bundle_pins.whole),
        "clusters": sum(n for bundle_pins in by_bundle.values() for _, n in bundle_pins.clusters),
        "items": items[:_MAX_ROLLOUTS],
    }
