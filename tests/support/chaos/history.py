"""Everything that can be seen of one agent at work, written down while faults happen, and what must
never be found in it (I3 to I8).

Rule: the history is taken from outside, from the API server's watches, from the process table, from
the manager's answers and from the document on the agent's disk; nothing here believes what the
agent says of itself, but for the check of just that (I8).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.localkube.apiclient import Api, ApiError

Json = dict[str, Any]
KINDS = {
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
_RECORD = "sh.helm.release.v1."
_SAMPLE_SECONDS = 0.03


@dataclass(frozen=True)
class Event:
    """`what`: ADDED, MODIFIED or DELETED."""

    at: float
    what: str
    kind: str
    namespace: str
    name: str
    uid: str
    item: Json = field(repr=False, hash=False, compare=False)

    @property
    def labels(self) -> dict[str, str]:
        return self.item["metadata"].get("labels") or {}

    @property
    def is_record(self) -> bool:
        return self.kind == "Secret" and self.name.startswith(_RECORD)

    @property
    def order(self) -> tuple[int, int]:
        return int(self.labels.get("fleetctl-epoch", 0)), int(
            self.labels.get("fleetctl-generation", 0)
        )


@dataclass(frozen=True)
class Told:
    """What the manager said of a bundle's deployment."""

    at: float
    state: str
    generation: int
    applied: int


class History:
    """`namespaces`: where the bundles under test live. `told`: asks the manager, {name: (state,
    generation, applied)}. `folder`: the world's own, which tells its processes from those of other
    worlds on this machine.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespaces: Iterable[str],
        state_dir: Path,
        told: Callable[[], dict[str, tuple[str, int, int]]],
        folder: Path,
    ):
        self.events: list[Event] = []
        self.told: list[tuple[str, Told]] = []
        # (bundle, generation, archive) in documents on the agent's disk
        self.signed: set[tuple[str, int, str]] = set()
        # releases with more than one helm that changes them
        self.together: list[tuple[float, str, tuple[int, ...]]] = []
        self.helms = 0
        self._kubeconfig, self._state_dir, self._ask, self._folder = (
            kubeconfig,
            state_dir,
            told,
            folder,
        )
        self._namespaces = list(namespaces)
        self._done = threading.Event()
        self._apis: list[Api] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> History:
        for namespace in self._namespaces:
            for kind, path in KINDS.items():
                self._start(self._watch, kind, path.format(namespace))
        self._start(self._sample_processes)
        self._start(self._sample_manager)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for api in self._apis:
            api.interrupt()
        for thread in self._threads:
            thread.join(20)
        for api in self._apis:
            api.close()

    def mark(self) -> int:
        """A place in the history: what comes after it is judged by itself."""
        return len(self.events)

    def _start(self, target: Callable[..., None], *more: Any) -> None:
        thread = threading.Thread(target=target, args=more, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch(self, kind: str, path: str) -> None:
        api = Api(self._kubeconfig)
        self._apis.append(api)
        known: dict[str, Json] = {}
        while not self._done.is_set():
            with contextlib.suppress(ApiError):
                found = api.get(path)
                now = {item["metadata"]["uid"]: item for item in found["items"]}
                for uid in known.keys() - now.keys():  # of a time in which the watch was broken
                    self._note("DELETED", kind, known[uid])
                for uid in now.keys() - known.keys():
                    self._note("ADDED", kind, now[uid])
                known = now
                for event in api.watch(path, found["metadata"]["resourceVersion"]):
                    if event["type"] in {"ADDED", "MODIFIED", "DELETED"}:
                        item = event["object"]
                        self._note(event["type"], kind, item)
                        known[item["metadata"]["uid"]] = item
                        if event["type"] == "DELETED":
                            del known[item["metadata"]["uid"]]
                    elif event["type"] == "ERROR":
                        break
            self._done.wait(0.05)

    def _note(self, what: str, kind: str, item: Json) -> None:
        meta = item["metadata"]
        if kind == "Secret":
            item = {"metadata": meta}  # the records' content is large
        self.events.append(
            Event(time.monotonic(), what, kind, meta["namespace"], meta["name"], meta["uid"], item)
        )

    def _sample_processes(self) -> None:
        """Two looks a moment apart must agree: a helm that ends in between is no second one."""
        before: dict[str, set[int]] = {}
        while not self._done.wait(_SAMPLE_SECONDS):
            found = changing_helms(self._namespaces, self._folder)
            self.helms += any(
                pid not in before.get(release, ())
                for release, pids in found.items()
                for pid in pids
            )
            for release, pids in found.items():
                both = pids & before.get(release, set())
                if len(both) > 1:
                    self.together.append((time.monotonic(), release, tuple(sorted(both))))
            before = found

    def _sample_manager(self) -> None:
        last: dict[str, tuple[str, int, int]] = {}
        seen = 0
        while not self._done.wait(0.1):
            seen = self._read_document(seen)
            at = time.monotonic()
            with contextlib.suppress(Exception):  # a manager that is dead says nothing
                found = self._ask()
                for bundle, (state, generation, applied) in found.items():
                    if last.get(bundle) != (state, generation, applied):
                        self.told.append((bundle, Told(at, state, generation, applied)))
                last = found

    def _read_document(self, seen: int) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError):
            path = self._state_dir / "desired.json"
            changed = path.stat().st_mtime_ns
            if changed != seen:
                for bundle in json.loads(json.loads(path.read_bytes())["envelope"]["payload"]).get(
                    "bundles", []
                ):
                    self.signed.add((bundle["name"], bundle["generation"], bundle["archive"][:32]))
                return changed
        return seen


def changing_helms(namespaces: Iterable[str], folder: Path) -> dict[str, set[int]]:
    """{namespace/release: process groups of the helm runs that may change it now}.

    By process group: until it executes the plugin, helm's child looks like helm itself. Only runs
    with the kubeconfig of a cluster in `folder` count: tests that run at the same time have
    releases of the same names on other clusters.
    """
    wanted = set(namespaces)
    groups: dict[str, set[int]] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            namespace, release = _changed_release(words)
            if namespace in wanted and _kubeconfig_of(process, words).is_relative_to(folder):
                state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
                if state != "Z":
                    groups.setdefault(f"{namespace}/{release}", set()).add(int(group))
    return groups


def _changed_release(words: list[str]) -> tuple[str, str]:
    """(namespace, release) that a helm with this command line changes; ("", "") for another
    command.
    """
    verb = next((word for word in ("upgrade", "uninstall", "rollback") if word in words), None)
    if verb is None:
        return "", ""
    rest = words[words.index(verb) + 1 :]
    if "--namespace" not in rest[:-1]:
        return "", ""
    return rest[rest.index("--namespace") + 1], next(
        word for word in rest if not word.startswith("-")
    )


def _kubeconfig_of(process: Path, words: list[str]) -> Path:
    """By its option, else by its environment. Raises OSError for a process that has ended."""
    if "--kubeconfig" in words[:-1]:
        return Path(words[words.index("--kubeconfig") + 1])
    variables = (process / "environ").read_bytes().decode("utf-8", "replace").split("\0")
    return Path(next((v.partition("=")[2] for v in variables if v.startswith("KUBECONFIG=")), ""))


@dataclass(frozen=True)
class Allowed:
    """What a stage may do. `deleted`: names of objects that the new state does not state; "*" is
    everything.
    """

    deleted: frozenset[str] = frozenset()

    def may_delete(self, name: str) -> bool:
        return "*" in self.deleted or name in self.deleted


def violations(history: History, since: int, allowed: Allowed) -> list[str]:
    """What must never be, found in the history after `since`; empty when all is well."""
    events = history.events[since:]
    return [
        *_only_signed(events, history.signed),
        *_never_backwards(history.events),
        *_one_helm(history),
        *_nothing_recreated(events, allowed),
        *_rolled_once(events),
        *_ready_is_true(history),
    ]


def _only_signed(events: list[Event], signed: set[tuple[str, int, str]]) -> list[str]:
    """I3: each release record was made for an archive that stands in a signed document, at that
    generation.
    """
    made = {
        (e.labels.get("fleetctl-bundle", ""), e.order[1], e.labels.get("fleetctl-digest", ""))
        for e in events
        if e.is_record
    }
    return [
        f"I3: {one} was applied and stands in no document"
        for one in sorted(made - signed)
        if one[0] and not one[2].startswith("test")
    ]


def _never_backwards(events: list[Event]) -> list[str]:
    """I4: a bundle's new records never have a lower order than one before; helm's own rollback
    apart, which goes back to what was.
    """
    found: list[str] = []
    top: dict[str, tuple[int, int]] = {}
    for event in sorted(
        (e for e in events if e.is_record and e.what == "ADDED"),
        key=lambda e: int(e.item["metadata"]["resourceVersion"]),
    ):
        bundle = event.labels.get("fleetctl-bundle", "")
        if (
            bundle
            and event.order < top.get(bundle, (0, 0))
            and event.labels.get("status") != "pending-rollback"
        ):
            found.append(f"I4: {event.name} is of {event.order}, after one of {top[bundle]}")
        if bundle:
            top[bundle] = max(top.get(bundle, (0, 0)), event.order)
    return found


def _one_helm(history: History) -> list[str]:
    """I5."""
    return [
        f"I5: {release} was changed by the processes {pids} at once"
        for _, release, pids in history.together
    ]


def _nothing_recreated(events: list[Event], allowed: Allowed) -> list[str]:
    """I6 and I7: no object goes that the stage may not remove, and so none is made again."""
    gone = [
        e
        for e in events
        if e.what == "DELETED" and not e.is_record and e.name != "kube-root-ca.crt"
    ]
    return [
        f"I7: {e.kind} {e.namespace}/{e.name} was deleted"
        for e in gone
        if not allowed.may_delete(e.name)
    ]


def _rolled_once(events: list[Event]) -> list[str]:
    """I6: a workload's specification is changed as often as its content is another, so no Pod rolls
    twice.
    """
    found: list[str] = []
    seen: dict[str, list[tuple[int, str]]] = {}
    for event in events:
        if event.kind == "Deployment" and event.what != "DELETED":
            now = (
                event.item["metadata"]["generation"],
                json.dumps(event.item["spec"], sort_keys=True),
            )
            held = seen.setdefault(event.uid, [])
            if not held or held[-1] != now:
                held.append(now)
    for uid, states in seen.items():
        specs = [spec for _, spec in states]
        if len(set(specs)) != len(specs):
            found.append(
                f"I6: Deployment {uid} went back to what it was: generations"
                f" {[g for g, _ in states]}"
            )
        if states[-1][0] - states[0][0] != len(states) - 1:
            found.append(
                f"I6: Deployment {uid} changed more often than was seen: generations"
                f" {[g for g, _ in states]}"
            )
    return found


def _ready_is_true(history: History) -> list[str]:
    """I8: the manager says Ready at a generation only after the cluster had a deployed record of
    it.
    """
    deployed = [
        (e.at, e.labels["fleetctl-bundle"], e.order[1]) for e in history.events if _is_deployed(e)
    ]
    found: list[str] = []
    for bundle, told in history.told:
        name = bundle.rpartition(".")[2]
        if told.state == "Ready" and not any(
            at <= told.at + 1.0 and b == name and g >= told.generation for at, b, g in deployed
        ):
            found.append(
                f"I8: {bundle} was called Ready at generation {told.generation}, which was not"
                " deployed"
            )
    return found


def _is_deployed(event: Event) -> bool:
    return (
        event.is_record
        and event.what != "DELETED"
        and event.labels.get("status") == "deployed"
        and "fleetctl-bundle" in event.labels
    )
