"""Kinds and API versions that a release states and the cluster no longer serves.

helm refuses to upgrade or to uninstall a release whose stored manifest holds one. `repair` rewrites
the release records, as `helm mapkubeapis` does by hand: an object whose kind is served under
another version of its group, or under the group that Kubernetes moved it to, gets that version; an
object whose kind is not served at all is left out, because it cannot exist any more.

Rule: only records of the release concerned are rewritten, only after helm refused it, and the
cluster's discovery decides. Each record is replaced by one write that fails when somebody else
wrote it meanwhile, so that a repair can be cut off anywhere and begun again.
Source of the moves: https://kubernetes.io/docs/reference/using-api/deprecation-guide/
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from fleetctl.core.formats.url_path import in_namespace, url_path
from fleetctl.core.formats.yaml import dump, load
from fleetctl.core.formats.yaml_stream import documents_of
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.helm import Release

from ..host.failpoints import failpoint
from ..host.log import event
from ..kube.client import Kube
from ..release import ownership, records
from ..release.ownership import LiveObject
from ..release.records import ObjectRef

_MOVED_GROUP = {
    ("extensions", "DaemonSet"): "apps",
    ("extensions", "Deployment"): "apps",
    ("extensions", "ReplicaSet"): "apps",
    ("extensions", "Ingress"): "networking.k8s.io",
    ("extensions", "NetworkPolicy"): "networking.k8s.io",
    ("extensions", "PodSecurityPolicy"): "policy",
    ("", "Event"): "events.k8s.io",
}


class ServedVersions:
    """What the cluster serves now; each kind is looked up once."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._served_versions: dict[tuple[str, str], str] = {}

    async def version_of(self, api_version: str, kind: str) -> str:
        """The apiVersion under which the kind is served: the one given, another one, or "" for
        none. Raises ClusterUnreachable, also while an aggregated API server does not answer.
        """
        key = (api_version, kind)
        if key not in self._served_versions:
            self._served_versions[key] = await self._look(api_version, kind)
        return self._served_versions[key]

    async def _look(self, api_version: str, kind: str) -> str:
        self._kube.discovery.forget(api_version, kind)
        if await self._has(api_version, kind):
            return api_version
        group = api_version.rpartition("/")[0]
        groups = [group, *filter(None, [_MOVED_GROUP.get((group, kind))])]
        for version in [v for name in groups for v in await self._versions(name)]:
            if await self._has(version, kind):
                return version
        return ""

    async def _has(self, api_version: str, kind: str) -> bool:
        try:
            await self._kube.discovery.resource(api_version, kind)
        except NotFound:
            return False
        return True

    async def _versions(self, group: str) -> list[str]:
        """The apiVersions of a group, the preferred one first."""
        if not group:
            return ["v1"]
        try:
            answer = await self._kube.call("GET", url_path("apis", group))
        except NotFound:
            return []
        preferred_version = (answer.get("preferredVersion") or {}).get("groupVersion", "")
        versions = [str(version["groupVersion"]) for version in answer.get("versions") or []]
        return sorted(versions, key=lambda version: version != preferred_version)


async def repair(kube: Kube, release: Release) -> bool:
    """Rewrite the records of the release that state what is not served any more. Returns whether
    any did. Raises ClusterUnreachable, ToolFailed; `Changed` when somebody else wrote a record
    meanwhile.
    """
    versions = ServedVersions(kube)
    is_repaired = False
    for secret in await records.read_secrets(kube, release):
        content = records.unpack(secret)
        changes = await _repair_content(content, versions) if content else []
        if not content or not changes:
            continue
        for change in dict.fromkeys(changes):
            event(
                "a release record is changed",
                release=release,
                record=secret["metadata"]["name"],
                change=change,
            )
        failpoint("before-repair")
        await records.replace(kube, release, secret, content)
        failpoint("after-repair")
        is_repaired = True
    return is_repaired


async def look(kube: Kube, refs: Iterable[ObjectRef]) -> list[LiveObject]:
    """Those of `refs` that exist, also under another version than the one stated when that is not
    served any more: helm, whose discovery may be ten minutes old, takes a version that is gone for
    an object that is gone. Raises as `ownership.look`.
    """
    refs = list(refs)
    live_objects = await ownership.look(kube, refs)
    existing_keys = {(live.ref.api_version, live.ref.kind, live.ref.name) for live in live_objects}
    return live_objects + await look_moved(
        kube, [ref for ref in refs if (ref.api_version, ref.kind, ref.name) not in existing_keys]
    )


async def look_moved(kube: Kube, refs: Iterable[ObjectRef]) -> list[LiveObject]:
    """Those of `refs` whose version is not served any more and that exist under another one."""
    versions, refs = ServedVersions(kube), list(refs)
    refs_as_served = [
        ref._replace(api_version=await versions.version_of(ref.api_version, ref.kind))
        for ref in refs
    ]
    return await ownership.look(
        kube,
        [
            new_ref
            for new_ref, old_ref in zip(refs_as_served, refs, strict=True)
            if new_ref.api_version not in ("", old_ref.api_version)
        ],
    )


async def sweep(
    kube: Kube, release: Release, old_refs: Iterable[ObjectRef], new_refs: Iterable[ObjectRef]
) -> list[LiveObject]:
    """After an upgrade: what the release stated before and does not state now, and helm left
    because of its version.
    """
    current_keys = {_key(ref) for ref in new_refs}
    live_objects = await look_moved(
        kube, [ref for ref in old_refs if _key(ref) not in current_keys]
    )
    return [live for live in live_objects if live.owner == release and not live.keep]


def _key(ref: ObjectRef) -> tuple[str, str, str, str]:
    return ref.api_version.rpartition("/")[0], ref.kind, ref.namespace, ref.name


async def drop_unreadable(kube: Kube, release: Release) -> bool:
    """Delete records that nobody can read; helm passes over them and then cannot write the next
    revision. Returns whether any went.
    """
    is_dropped = False
    for secret in await records.read_secrets(kube, release):
        if records.unpack(secret) is None:
            name = secret["metadata"]["name"]
            event("a release record that cannot be read is deleted", release=release, record=name)
            await kube.delete(in_namespace(release.namespace, "secrets", name))
            is_dropped = True
    return is_dropped


async def _repair_content(content: JsonObject, versions: ServedVersions) -> list[str]:
    """Change the manifest and the hooks of a record in place; what was changed, in words."""
    changes: list[str] = []
    parts = []
    texts = documents_of(str(content.get("manifest") or "").encode())
    hook_records = content.get("hooks") or []
    hook_texts = [str(hook.get("manifest") or "").encode() for hook in hook_records]
    documents_in_texts = await asyncio.to_thread(
        lambda: [load(text, file="release record") for text in [*texts, *hook_texts]]
    )
    for part, document in zip(texts, documents_in_texts, strict=False):
        text = await _document(document, versions, changes)
        parts.append(part if text is None else text)
    hooks = []
    for hook, document in zip(hook_records, documents_in_texts[len(texts) :], strict=True):
        text = await _document(document, versions, changes)
        if text is None:
            hooks.append(hook)
        elif text:
            hooks.append({**hook, "manifest": text.decode()})
    if changes:
        content["manifest"] = "".join(f"---\n{p.decode().strip()}\n" for p in parts if p.strip())
        content["hooks"] = hooks
    return changes


async def _document(document: Any, versions: ServedVersions, changes: list[str]) -> bytes | None:
    """The document with versions that are served, b"" when nothing of it is left, None when it
    stays as it is.
    """
    if not isinstance(document, dict) or not document.get("kind"):
        return None
    count = len(changes)
    new_document = await _object(document, versions, changes)
    if len(changes) == count:
        return None
    return dump(new_document).encode() if new_document else b""


async def _object(
    item: JsonObject, versions: ServedVersions, changes: list[str]
) -> JsonObject | None:
    items = item.get("items")
    if isinstance(items, list) and str(item["kind"]).endswith("List"):
        inner_items = [
            await _object(inner_item, versions, changes)
            for inner_item in items
            if isinstance(inner_item, dict) and inner_item.get("kind")
        ]
        return (
            {**item, "items": [inner_item for inner_item in inner_items if inner_item]}
            if any(inner_items)
            else None
        )
    api_version, kind = str(item.get("apiVersion")), str(item["kind"])
    version = await versions.version_of(api_version, kind)
    if version == api_version:
        return item
    name = f"{kind} {(item.get('metadata') or {}).get('name')}"
    changes.append(
        f"{name}: {api_version} becomes {version}"
        if version
        else f"{name}: dropped, {api_version} no longer has this kind"
    )
    return {**item, "apiVersion": version} if version else None
