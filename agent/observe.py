"""Looks at what runs: every object of every release, by one list call for each kind, compared with what was applied.

The objects of a release lie on disk beside the journal; nothing of them stays in memory between two looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.disk import write_whole
from agent.drift import differences, patch
from agent.health import NOT_READY, health
from agent.kube import Kube
from agent.rules import Rules, owned_by_controllers, without
from fleetctl.core.errors import NotFound, ToolFailed
from fleetctl.core.ids import BundleName
from fleetctl.core.status import ResourceStatus
from fleetctl.core.yamldoc import load_all

_MANAGED = "app.kubernetes.io/managed-by=Helm"
Key = tuple[str, str, str, str]  # apiVersion, kind, namespace, name


class Kept(msgspec.Struct, kw_only=True):
    """What was applied of one bundle. `accepted`: pointers by object that already differed right after it."""

    objects: list[dict[str, Any]]
    accepted: dict[str, list[str]] = {}
    fresh: bool = True


class Wanted:
    """`STATE_DIR/objects/BUNDLE.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, bundle: BundleName, manifest: str, namespace: str) -> None:
        """The objects of helm's manifest, each with the namespace that helm gave it."""
        objects = [o for d in load_all(manifest, file="manifest") for o in _flat(d)]
        for item in objects:
            item.setdefault("metadata", {}).setdefault("namespace", namespace)
        self.put(bundle, Kept(objects=objects))

    def put(self, bundle: BundleName, kept: Kept) -> None:
        write_whole(self._path(bundle), msgspec.json.encode(kept))

    def get(self, bundle: BundleName) -> Kept | None:
        try:
            return msgspec.json.decode(self._path(bundle).read_bytes(), type=Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def drop(self, bundle: BundleName) -> None:
        self._path(bundle).unlink(missing_ok=True)

    def _path(self, bundle: BundleName) -> Path:
        return self._folder / f"{bundle}.json"


def _flat(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, dict) or not document.get("kind"):
        return []
    if str(document["kind"]).endswith("List") and isinstance(document.get("items"), list):
        return [o for item in document["items"] for o in _flat(item)]
    return [document]


class Observer:
    def __init__(self, kube: Kube, wanted: Wanted) -> None:
        self._kube, self._wanted = kube, wanted

    async def look(self, bundles: Mapping[BundleName, Rules]) -> dict[BundleName, list[ResourceStatus]]:
        """The state of each object of each bundle, by the bundle's own rules of what does not count. Raises ClusterUnreachable."""
        live: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
        found: dict[BundleName, list[ResourceStatus]] = {}
        for bundle, rules in bundles.items():
            kept = self._wanted.get(bundle)
            if kept is None:
                continue
            found[bundle] = [await self._one(item, kept, live, rules) for item in kept.objects]
            if kept.fresh:
                kept.fresh = False
                with contextlib.suppress(OSError):  # a full disk stops changes, not the look at what runs
                    self._wanted.put(bundle, kept)
        return found

    async def _one(
        self, wanted: dict[str, Any], kept: Kept, live: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]], rules: Rules
    ) -> ResourceStatus:
        api, kind, meta = str(wanted.get("apiVersion")), str(wanted.get("kind")), wanted.get("metadata") or {}
        name, namespace = str(meta.get("name")), str(meta.get("namespace") or "")
        try:
            _, namespaced = await self._kube.path(api, kind)
            if (api, kind) not in live:
                items = await self._kube.list(api, kind, _MANAGED)
                live[api, kind] = {(i["metadata"].get("namespace", ""), i["metadata"]["name"]): i for i in items}
            namespace = namespace if namespaced else ""
            seen = live[api, kind].get((namespace, name)) or await self._get(api, kind, namespace, name)
        except ToolFailed as why:
            return ResourceStatus(api_version=api, kind=kind, name=name, namespace=namespace, state="Unknown", message=why.summary)
        except NotFound:
            seen = None
        head = {"api_version": api, "kind": kind, "name": name, "namespace": namespace}
        if seen is None:
            return ResourceStatus(**head, state="Missing", message="does not exist")
        return self._judged(wanted, seen, kept, head, rules)

    async def _get(self, api: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One that lost helm's label, or is gone."""
        found = await self._kube.call("GET", await self._kube.object_path(api, kind, namespace, name))
        return found or None

    def _judged(self, wanted: dict[str, Any], seen: dict[str, Any], kept: Kept, head: dict[str, str], rules: Rules) -> ResourceStatus:
        whole = {**seen, "apiVersion": head["api_version"], "kind": head["kind"]}
        differing: dict[str, Any] = {}
        if not rules.passes_over(whole):
            pointers = rules.pointers(whole)
            differing = differences(without(wanted, pointers), without(seen, pointers))
        place = "/".join((head["kind"], head["namespace"], head["name"]))
        if kept.fresh:
            if differing:
                kept.accepted[place] = sorted(differing)
            differing = {}
        changed = {path: value for path, value in differing.items() if path not in kept.accepted.get(place, ())}
        theirs = owned_by_controllers(seen, changed)
        changed = {path: value for path, value in changed.items() if path not in theirs}
        state, message = health(rules.healthy_view(whole))
        if changed:
            return ResourceStatus(**head, state="Modified", message=f"changed at {', '.join(sorted(changed)[:3])}", patch=patch(changed))
        return ResourceStatus(**head, state=state, message=message)


def is_ready(resources: Iterable[ResourceStatus]) -> bool:
    return all(r.state not in {NOT_READY, "Unknown"} for r in resources)


def drifted(resources: Iterable[ResourceStatus]) -> list[ResourceStatus]:
    return [r for r in resources if r.state in {"Modified", "Missing"}]
