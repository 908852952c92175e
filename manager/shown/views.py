"""What people read: rows as objects in Fleet's shape (docs/api.md). Counts are always the sum of their parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.cluster import matches, parse_selector
from fleetctl.core.errors import NotFound
from fleetctl.core.ids import ClusterId
from fleetctl.core.reasons import message_of, shown
from fleetctl.core.status import DRIFTED, ResourceStatus, State, sentence
from fleetctl.core.summary import count, held_state, resource_counts, seen_state, summarize, worst_of
from manager import releases
from manager.clock import rfc3339
from manager.gathering import in_parts, shown_labels
from manager.holds import holding
from manager.kinds import api_version
from manager.live import Live
from manager.rollout import windows
from manager.shown import counting, holdview, pinview, reasons
from manager.shown.repoview import condition, repo_status
from manager.store.schema import bundles, clusters, deployments, objects, repos
from manager.store.schema import options as options_table

_load = msgspec.json.decode
Document = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A list's filters; empty means all."""

    workspace: str | None = None
    name: str = ""
    selector: str = ""
    cluster: str = ""
    repo: str = ""
    states: tuple[str, ...] = ()


@dataclass
class Fleet:
    """The states of the deployments in a workspace (or everywhere), read when they are asked for: what is well is counted, never loaded.

    `offline` and `absent` (no agent has a key): clusters whose deployments are not what they last were said to be.
    """

    connection: Connection
    now: float
    live: Live
    workspace: str | None = None
    offline: set[ClusterId] = field(default_factory=set)
    absent: set[ClusterId] = field(default_factory=set)

    def state(self, row: Any) -> State:
        """What may be shown of one deployment."""
        stored = held_state(State(row.state), told=row.generation > 0, window=self.waits(row)) if row.staged else State(row.state)
        return seen_state(stored, offline=row.cluster_id in self.offline, enrolled=row.cluster_id not in self.absent)

    def counted(self, key: Callable[[counting.Sort], Any], bundle: str = "") -> dict[Any, dict[State, int]]:
        """By `key`, how many are in each state; of one bundle or of all."""
        place = self.workspace, bundle
        offline, absent = (counting.among(self.connection, ids, *place) for ids in (self.offline, self.absent))
        heard = counting.without(counting.without(counting.every(self.connection, *place), offline), absent)
        outside = self._outside(bundle) if any(sort.held for sort in heard) else {}
        heard = counting.without(heard, outside)
        found: dict[Any, dict[State, int]] = {}
        for counts, state, window in (
            (heard, None, False),
            (outside, None, True),
            (offline, State.OFFLINE, False),
            (absent, State.PENDING, False),
        ):
            for sort, n in counts.items():
                mine, shown = found.setdefault(key(sort), {}), state or _stored(sort, window=window)
                mine[shown] = mine.get(shown, 0) + n
        return found

    def _outside(self, bundle: str) -> counting.Counts:
        """Deployments that are held and wait for a window of their cluster, which is heard."""
        ids = self.known.closed.keys() - self.offline - self.absent
        found = counting.held_among(self.connection, ids, self.workspace, bundle)
        return {sort: n for sort, n in found.items() if (sort.workspace, sort.bundle) not in self.known.unheeding}

    def waits(self, row: Any) -> bool:
        """Whether what is staged waits for a window."""
        if not row.staged or row.cluster_id not in self.known.closed:
            return False
        heeds = getattr(row, "heeds", None)
        return bool(heeds) if heeds is not None else (row.workspace, row.bundle) not in self.known.unheeding

    def of_clusters(self, ids: Sequence[str] | None = None) -> dict[str, dict[State, int]]:
        """By cluster, how many deployments are in each state; of these clusters or of all."""
        found: dict[str, dict[State, int]] = {}
        for row in self._grouped(ids):
            mine, state = found.setdefault(row.cluster_id, {}), self.state(row)
            mine[state] = mine.get(state, 0) + row.n
        return found

    def _grouped(self, ids: Sequence[str] | None) -> Iterable[Any]:
        d = deployments.c
        held, told = (d.staged != "").label("held"), (d.generation > 0).label("told")
        columns = (d.cluster_id, d.state, sa.func.min(d.staged).label("staged"), sa.func.max(d.generation).label("generation"))
        passing = sorted(self.known.unheeding) if self.known.closed else []
        heeds = (sa.tuple_(d.workspace, d.bundle).not_in(passing) if passing else sa.true()).label("heeds")
        query = sa.select(*columns, heeds, sa.func.count().label("n")).where(~d.removed)
        query = query.group_by(d.cluster_id, d.state, held, told, heeds)
        if ids is not None:
            for part in in_parts(ids):
                yield from self.connection.execute(query.where(d.cluster_id.in_(part)))
        else:
            yield from self.connection.execute(query.where(d.workspace == self.workspace) if self.workspace else query)

    @cached_property
    def known(self) -> reasons.Known:
        """What tells why something is not Ready."""
        return reasons.Known(self.connection, self.live, self.now, self.workspace, self.offline, self.absent)

    @cached_property
    def holds(self) -> dict[tuple[str, str], holding.Hold]:
        """By workspace and bundle: removals that wait for a person."""
        return {(hold.workspace, hold.bundle): hold for hold in holding.current(self.connection, self.workspace)}

    @cached_property
    def going(self) -> dict[str, list[Any]]:
        """By cluster: removals of which the agent says why they are not done."""
        d, found = deployments.c, dict[str, list[Any]]()
        slow = sa.select(d.cluster_id, d.bundle, d.message).where(d.removed, d.message != "", d.reported == d.generation)
        for row in self.connection.execute(slow.order_by(d.bundle)):
            found.setdefault(row.cluster_id, []).append(row)
        return found


def _stored(sort: counting.Sort, *, window: bool = False) -> State:
    """What is shown of those whose cluster is heard."""
    return held_state(State(sort.state), told=sort.told, window=window) if sort.held else State(sort.state)


def fleet(connection: Connection, live: Live, now: float, asked: Asked) -> Fleet:
    absent = counting.without_agent(connection, asked.workspace)
    return Fleet(connection, now, live, asked.workspace, counting.offline(live, now), absent)


def listing(connection: Connection, live: Live, kind: str, asked: Asked, now: float) -> list[Document]:
    """The objects of `kind`, sorted by workspace and name. Raises UsageError on a wrong selector."""
    whole = fleet(connection, live, now, asked)
    made = {
        "Cluster": _clusters,
        "Bundle": _bundles,
        "BundleDeployment": _deployments,
        "GitRepo": _repos,
        "ClusterGroup": _groups,
        "Schedule": _schedules,
    }
    items = made[kind](connection, whole, asked) if kind in made else _plain(connection, kind, asked)
    selector = parse_selector(asked.selector) if asked.selector else {}
    return [
        i for i in items if matches(selector, i["metadata"].get("labels") or {}) and (not asked.states or display_state(i) in asked.states)
    ]


def one(connection: Connection, live: Live, kind: str, workspace: str, name: str, now: float) -> Document:
    """Raises NotFound."""
    found = listing(connection, live, kind, Asked(workspace=workspace, name=name), now)
    if not found:
        step = f"See `fleetctl get {kind.lower()}s -n {workspace}`."
        raise NotFound(f"{kind} {name} does not exist in workspace {workspace}", subject=f"{kind} {workspace}/{name}", next_step=step)
    return found[0]


def display_state(item: Document) -> str:
    return str(item.get("status", {}).get("display", {}).get("state", ""))


def _document(kind: str, row: Any, spec: Any, status: Any, **head: Any) -> Document:
    meta = {
        "name": row.name,
        "namespace": row.workspace,
        "uid": row.uid,
        "generation": row.generation,
        "creationTimestamp": row.created,
        **head,
    }
    return {"apiVersion": api_version(kind), "kind": kind, "metadata": meta, "spec": spec, "status": status}


def _select(connection: Connection, table: sa.Table, asked: Asked, *where: Any) -> list[Any]:
    query = sa.select(table).where(*where).order_by(table.c.workspace, table.c.name)
    if asked.workspace:
        query = query.where(table.c.workspace == asked.workspace)
    if asked.name:
        query = query.where(table.c.name == asked.name)
    return list(connection.execute(query))


def _head(row: Any) -> dict[str, Any]:
    return {"labels": _load(row.labels), "annotations": _load(row.annotations)}


def _plain(connection: Connection, kind: str, asked: Asked) -> list[Document]:
    """Secret and ConfigMap are shown by keys and hashes only."""
    found = []
    for row in _select(connection, objects, asked, objects.c.kind == kind):
        if kind in {"Secret", "ConfigMap"}:
            extra = _load(row.extra)
            document = _document(kind, row, None, None, **_head(row))
            del document["spec"], document["status"]
            found.append(document | {"type": extra["type"], "data": extra["keys"]})
        else:
            found.append(_document(kind, row, _load(row.spec), {}, **_head(row)))
    return found


def _schedules(connection: Connection, whole: Fleet, asked: Asked) -> list[Document]:
    rows = _select(connection, objects, asked, objects.c.kind == "Schedule")
    states = windows.status(connection, rows, whole.now)
    return [_document("Schedule", row, _load(row.spec), states[row.workspace, row.name], **_head(row)) for row in rows]


def _clusters(connection: Connection, whole: Fleet, asked: Asked) -> list[Document]:
    rows = _select(connection, clusters, asked)
    counts = whole.of_clusters([row.id for row in rows] if asked.name else None)
    place = reasons.Place(asked.workspace, cluster=rows[0].id if asked.name and rows else "")
    why = reasons.grouped(whole.known, place, reasons.BY_CLUSTER)
    wishes = releases.shown(connection, asked.workspace, [row.id for row in rows])
    found = []
    for row in rows:
        states = counts.get(row.id, {})
        labels = shown_labels(row.name, _load(row.labels))
        status = _cluster_status(row, whole, states) | {"summary": summarize(states)}
        status["agent"] |= wishes.get(row.id, {})
        if asked.name:
            status["resourceCounts"] = reasons.objects_of(connection, place)
        if not status["display"]["message"]:
            said = [t["message"] for t in status["agent"]["troubles"]] + [message_of(why.get(row.id, []))]
            said += [_removing(whole.going[row.id])] if row.id in whole.going else []
            status["display"]["message"] = "; ".join(text for text in said if text)
        head = {"labels": labels, "annotations": _load(row.annotations)}
        found.append(_document("Cluster", row, _load(row.spec), status, **head))
    pinview.on_clusters(connection, asked.workspace, [(row.id, document) for row, document in zip(rows, found, strict=True)])
    return found


def _cluster_status(row: Any, whole: Fleet, states: dict[State, int]) -> Document:
    presence = whole.live.clusters.get(ClusterId(row.id))
    seen = presence.seen if presence else row.seen
    agent = _load(row.agent)
    state, message = worst_of(states).value, ""
    if not row.public_key:
        state, message = "WaitCheckIn", "its key was revoked; no agent has enrolled anew" if row.enrolled else "no agent has enrolled yet"
    elif presence and presence.twin:
        state, message = "ErrApplied", f"Duplicate agent: {presence.twin}"
    elif row.id in whole.offline:
        state, message = State.OFFLINE.value, f"silent since {rfc3339(seen)}" if seen else "silent since it enrolled"
    going = _removing(whole.going.get(row.id, []))
    if row.leaving:
        message = "leaving: its bundles are being removed" + (f"; {going}" if going else "")
    removing = [condition("Removing", ok=True, message=going)] if going else []
    ready = f"{states.get(State.READY, 0)}/{sum(states.values())}"
    troubles = agent.get("troubles", [])
    told = {"lastSeen": rfc3339(seen) if seen else "", "version": agent.get("version", ""), "enrolled": row.enrolled}
    address = presence.address if presence else row.address
    return {
        "display": {"readyBundles": ready, "state": state, "message": message},
        "agent": told
        | {"address": address, "tools": agent.get("tools", {}), "id": row.id, "troubles": troubles, "runtime": agent.get("runtime", "")},
        "kubeVersion": agent.get("kube", ""),
        "conditions": [condition("Ready", ok=state == "Ready", message=message), *map(_trouble, troubles), *removing],
        **({"scheduled": True, "activeSchedule": whole.known.calendars.of(row.workspace).verdict(row.windows).open} if row.windows else {}),
    }


def _removing(rows: list[Any]) -> str:
    """The first removal that is not done, and how many more."""
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return f"removing {rows[0].bundle}: {rows[0].message}{more}" if rows else ""


def _trouble(said: dict[str, str]) -> dict[str, str]:
    """What an agent says of itself as a condition: `disk-full` is DiskFull."""
    found = condition(trouble_type(said["code"]), ok=True, message=said["message"])
    return found | ({"lastTransitionTime": said["since"]} if said.get("since") else {})


def trouble_type(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("-"))


def _bundles(connection: Connection, whole: Fleet, asked: Asked) -> list[Document]:
    counts = whole.counted(lambda sort: (sort.workspace, sort.bundle), asked.name)
    place = reasons.Place(asked.workspace, asked.repo, asked.name)
    why = reasons.grouped(whole.known, place, reasons.BY_BUNDLE)
    pinned = pinview.of_bundles(connection, asked.workspace)
    found = []
    for row in _select(connection, bundles, asked):
        if asked.repo and row.repo != asked.repo:
            continue
        spec = _load(row.spec)
        key = (row.workspace, row.name)
        states = counts.get(key, {})
        state, total = worst_of(states).value, sum(states.values())
        message = message_of(why.get(key, []))
        status = {
            "display": {"readyClusters": f"{states.get(State.READY, 0)}/{total}", "state": state, "message": message},
            "summary": summarize(states),
            "conditions": [condition("Ready", ok=state == "Ready", message=message)],
            "commit": row.commit,
            "archive": row.archive,
            "clusters": total,
            "pinned": row.pinned,
            **shown(why.get(key, [])),
        }
        pinview.on_bundle(status, pinned.get(key, pinview.NONE))
        holdview.on_bundle(status, whole.holds.get(key))
        if asked.name:
            status["resourceCounts"] = reasons.objects_of(connection, place)
        labels = {"fleet.cattle.io/repo-name": row.repo, "fleet.cattle.io/bundle-path": spec.get("path", "")} | spec.get("labels", {})
        found.append(_document("Bundle", row, _bundle_spec(spec), status, labels=labels, annotations={}))
    return found


def _bundle_spec(spec: Document) -> Document:
    """Fleet's keys: the options stand beside targets, and customizations come before the GitRepo's targets."""
    shown: Document = {**spec.get("options", {})}
    targets = [*spec.get("customizations", []), *spec.get("targets", [])]
    shown["targets"] = [{k: v for k, v in t.items() if k != "options"} | t.get("options", {}) for t in targets]
    for key in ("dependsOn", "paused", "rolloutStrategy"):
        if spec.get(key):
            shown[key] = spec[key]
    return shown


def _deployments(connection: Connection, whole: Fleet, asked: Asked) -> list[Document]:
    d, c, o = deployments.c, clusters.c, options_table.c
    query = sa.select(deployments, o.json, c.name).join(options_table, d.options_key == o.key).join(clusters, d.cluster_id == c.id)
    query = query.where(~d.removed)
    if asked.workspace:
        query = query.where(d.workspace == asked.workspace)
    if asked.repo:
        query = query.where(d.repo == asked.repo)
    if asked.cluster:
        mine = sa.select(c.id).where(c.name == asked.cluster)
        query = query.where(d.cluster_id.in_(mine.where(c.workspace == asked.workspace) if asked.workspace else mine))
    if asked.name:
        query = query.where(sa.tuple_(d.cluster_id, d.bundle).in_(_named(connection, asked)))
    rows = list(connection.execute(query))
    whole.known.meet(row.cluster_id for row in rows)
    made = [(row, _deployment(row, whole.known, row.name)) for row in rows]
    pinview.on_deployments(connection, asked.workspace, made, whole.known.closed)
    return sorted((document for _, document in made), key=lambda m: m["metadata"]["name"])


def _named(connection: Connection, asked: Asked) -> list[tuple[str, str]]:
    """The cluster and the bundle that `CLUSTER.BUNDLE` may mean: either may have dots in its name."""
    parts, c = asked.name.split("."), clusters.c
    pairs = {".".join(parts[:at]): ".".join(parts[at:]) for at in range(1, len(parts))}
    rows = connection.execute(sa.select(c.id, c.name).where(c.name.in_(pairs), c.workspace == asked.workspace))
    return [(row.id, pairs[row.name]) for row in rows]


def _deployment(row: Any, known: reasons.Known, cluster: str) -> Document:
    report = _load(row.report) if row.report else {}
    state, reason = known.reason(reasons.row_of(row, known))
    resources = report.get("resources", [])
    spec = {
        "cluster": cluster,
        "bundle": row.bundle,
        "generation": max(0, row.generation),
        "archive": row.archive,
        "optionsDigest": row.options_digest,
        "options": _load(row.json),
        "commit": row.commit,
        "target": row.target,
        "customization": row.customization,
    }
    status = {
        "display": {"state": state.value},
        "ready": state is State.READY,
        "nonModified": report.get("nonModified", True),
        "appliedGeneration": row.applied,
        "message": holdview.message(reason.cause if reason else "", held=row.kept),
        "held": bool(row.kept),
        "code": report.get("code", ""),
        "reason": msgspec.to_builtins(reason) if reason else None,
        "release": report.get("release"),
        "resources": resources,
        "nonReadyStatus": [r for r in resources if r.get("state", "Ready") not in {"Ready", *DRIFTED}],
        "modifiedStatus": [_modified(r) for r in resources if r.get("state") in DRIFTED or r.get("differences")],
        "incompleteState": report.get("incompleteState", False),
        "reportedAt": row.reported_at,
        "resourceCounts": resource_counts([(row.tally, 1)]),
        "conditions": [condition("Ready", ok=state is State.READY, message=reason.cause if reason else "")],
    }
    meta = {"name": f"{cluster}.{row.bundle}", "namespace": row.workspace, "generation": max(0, row.generation)}
    labels = {"fleet.cattle.io/cluster": cluster, "fleet.cattle.io/bundle-name": row.bundle, "fleet.cattle.io/repo-name": row.repo}
    head = {"apiVersion": api_version("BundleDeployment"), "kind": "BundleDeployment", "metadata": meta | {"labels": labels}}
    return head | {"spec": spec, "status": status}


def _modified(resource: Document) -> Document:
    """With Fleet's own flags of ModifiedStatus, and its sentence."""
    state, foreign = resource.get("state"), bool(resource.get("owner"))
    flags = {"missing": state == "Missing" or foreign, "exist": foreign, "delete": state == "Orphaned"}
    return resource | {key: True for key, on in flags.items() if on} | {"text": sentence(msgspec.convert(resource, ResourceStatus))}


def _repos(connection: Connection, whole: Fleet, asked: Asked) -> list[Document]:
    counts = whole.counted(lambda sort: (sort.workspace, sort.repo))
    b = bundles.c
    held = connection.execute(sa.select(b.workspace, b.repo, sa.func.count()).group_by(b.workspace, b.repo))
    amounts = {(row[0], row[1]): row[2] for row in held}
    scans = {(r.workspace, r.name): r for r in connection.execute(sa.select(repos))}
    place = reasons.Place(asked.workspace, asked.name)
    why = reasons.grouped(whole.known, place, reasons.BY_REPO)
    found = []
    for row in _select(connection, objects, asked, objects.c.kind == "GitRepo"):
        key = (row.workspace, row.name)
        status = repo_status(scans.get(key), counts.get(key, {}), amounts.get(key, 0), row.generation)
        status["display"]["message"] = status["display"]["message"] or message_of(why.get(key, []))
        holdview.on_repo(status, [hold for hold in whole.holds.values() if (hold.workspace, hold.repo) == key])
        status |= shown(why.get(key, []))
        if asked.name:
            status["resourceCounts"] = reasons.objects_of(connection, place)
        found.append(_document("GitRepo", row, _load(row.spec), status, **_head(row)))
    return found


def _groups(connection: Connection, whole: Fleet, asked: Asked) -> list[Document]:
    everyone = _clusters(connection, whole, Asked(workspace=asked.workspace))
    counts = whole.of_clusters()
    found = []
    for row in _select(connection, objects, asked, objects.c.kind == "ClusterGroup"):
        spec = _load(row.spec)
        mine = [
            c for c in everyone if c["metadata"]["namespace"] == row.workspace and matches(spec.get("selector"), c["metadata"]["labels"])
        ]
        unready = [c["metadata"]["name"] for c in mine if c["status"]["display"]["state"] != "Ready"]
        states = count(s for c in mine for s, n in counts.get(c["status"]["agent"]["id"], {}).items() for _ in range(n))
        display = {
            "readyClusters": f"{len(mine) - len(unready)}/{len(mine)}",
            "readyBundles": f"{states.get(State.READY, 0)}/{sum(states.values())}",
            "state": "NotReady" if unready else "Ready",
        }
        status = {
            "clusterCount": len(mine),
            "nonReadyClusterCount": len(unready),
            "nonReadyClusters": unready[:10],
            "display": display,
            "summary": summarize(states),
            "conditions": [condition("Ready", ok=not unready)],
        }
        found.append(_document("ClusterGroup", row, spec, status, **_head(row)))
    return found
