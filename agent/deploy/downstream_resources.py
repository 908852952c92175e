"""The Secrets and ConfigMaps of the manager that a bundle brings along (`downstreamResources`), in
the release's namespace.

Rule: they are opened before anything is touched, written before helm runs, with the bundle's
rights, and carry Fleet's own mark; an object that is there without this bundle's mark is somebody
else's and stays. The journal names them before they are written, so that no crash forgets one; what
the bundle does not name any more goes after helm has ended well.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from fleetctl.core.formats.url_path import below, in_namespace
from fleetctl.core.model.errors import Conflict, FleetError, NotFound, RefusedError, UsageError
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.sealed_layout import Content, context_of
from fleetctl.core.model.wire import Desired, DesiredBundle, SealedObject

from ..controlplane.client import Uplink
from ..kube.client import Forbidden, Kube
from .namespaces import manager

# BundleDeploymentOwnershipLabel of rancher/fleet: a cluster that comes from there keeps its copies.
MARK = "fleet.cattle.io/bundledeployment"
_APPLY = {"content-type": "application/apply-patch+yaml"}
_PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}


class DownstreamCopy(msgspec.Struct, frozen=True):
    kind: str
    name: str
    content: Content

    def values(self) -> list[str]:
        """What no error may quote."""
        return [
            base64.b64decode(value).decode("utf-8", "replace")
            for value in self.content.data.values()
        ]


def opened(
    uplink: Uplink, document: Desired, bundle: DesiredBundle, *, is_there: bool
) -> list[DownstreamCopy]:
    """What the manager has sealed for this bundle. Raises UsageError, RefusedError naming the
    object.
    """
    if bundle.downstream and not is_there:
        step = "Leave it out: whoever applies the directory brings the Secrets."
        raise UsageError(
            "downstreamResources are not written into a directory",
            subject=f"bundle {bundle.name}",
            next_step=step,
        )
    if bundle.options.downstream_resources and not bundle.downstream:
        step = "Bring the manager to the version of this agent."
        raise UsageError(
            "the manager does not send downstreamResources",
            subject=f"bundle {bundle.name}",
            next_step=step,
        )
    return [_opened(uplink, document, bundle, one) for one in bundle.downstream]


def _opened(
    uplink: Uplink, document: Desired, bundle: DesiredBundle, one: SealedObject
) -> DownstreamCopy:
    shown = f"{one.kind} {one.name}"
    if one.problem or one.kind not in _PLURALS:
        step = f"Make it there: `fleetctl apply -f` with {shown} in workspace {document.workspace}."
        raise UsageError(
            f"downstreamResources: {shown} {one.problem or 'cannot be copied'}",
            subject=shown,
            next_step=step,
        )
    context = context_of(document.cluster_id, bundle.name, bundle.generation, one.kind, one.name)
    try:
        return DownstreamCopy(
            one.kind,
            one.name,
            msgspec.json.decode(uplink.unsealed(context, one.sealed), type=Content),
        )
    except (FleetError, msgspec.DecodeError) as why:
        said = why.summary if isinstance(why, FleetError) else "its content is none"
        raise RefusedError(
            f"downstreamResources: {shown} cannot be opened: {said}",
            subject=shown,
            next_step="Look at the manager.",
        ) from why


def places(copies: Iterable[DownstreamCopy], namespace: str) -> tuple[str, ...]:
    """As the journal names them: KIND/NAMESPACE/NAME."""
    return tuple(f"{copy.kind}/{namespace}/{copy.name}" for copy in copies)


async def write(
    kube: Kube,
    bundle: BundleName,
    namespace: str,
    copies: Sequence[DownstreamCopy],
    leaving: Collection[BundleName] = (),
) -> None:
    """Those of a bundle in `leaving`, which is to be removed, are taken over. Raises Conflict for
    an object that is not this bundle's, before any is written; ToolFailed where rights lack.
    """
    found = [(copy, await _get(kube, f"{copy.kind}/{namespace}/{copy.name}")) for copy in copies]
    for copy, there in found:
        if there is not None and not any(_is_ours(there, one) for one in (bundle, *leaving)):
            shown = f"{copy.kind} {namespace}/{copy.name}"
            step = (
                f"Rename one of them, or delete it (kubectl delete {copy.kind.lower()} {copy.name}"
                f" -n {namespace})."
            )
            raise Conflict(
                f"downstreamResources: {shown} exists and is not this bundle's copy",
                subject=shown,
                next_step=step,
            )
    for copy, there in found:
        path = _path(f"{copy.kind}/{namespace}/{copy.name}")
        document = _document(copy, bundle, namespace)
        if there is not None and there.get("type", "") != document.get("type", ""):
            await kube.call("DELETE", path)  # Kubernetes changes no Secret's type
        await kube.call(
            "PATCH",
            below(path, fieldManager=manager(bundle), force="true"),
            msgspec.json.encode(document),
            _APPLY,
        )


def _document(copy: DownstreamCopy, bundle: BundleName, namespace: str) -> dict[str, Any]:
    meta = {"name": copy.name, "namespace": namespace, "labels": {MARK: bundle}}
    head = {"apiVersion": "v1", "kind": copy.kind, "metadata": meta}
    if copy.kind == "Secret":
        return {**head, "type": copy.content.type or "Opaque", "data": copy.content.data}
    texts: dict[str, str] = {}
    binary: dict[str, str] = {}
    for key, value in copy.content.data.items():
        try:
            texts[key] = base64.b64decode(value).decode()
        except UnicodeDecodeError:
            binary[key] = value
    return {**head, "data": texts, **({"binaryData": binary} if binary else {})}


async def drop(kube: Kube, bundle: BundleName, gone: Iterable[str]) -> None:
    """Delete copies by their place, where they still are this bundle's."""
    for place in gone:
        found = await _get(kube, place)
        if found is not None and _is_ours(found, bundle):
            try:
                await kube.call("DELETE", _path(place))
            except NotFound:
                continue


async def find(kube: Kube, bundle: BundleName, namespace: str) -> list[str]:
    """The places of a bundle's copies by their mark, for a journal that was lost; none where the
    rights do not reach.
    """
    found: list[str] = []
    for kind, plural in _PLURALS.items():
        try:
            answer = await kube.call(
                "GET", in_namespace(namespace, plural, labelSelector=f"{MARK}={bundle}")
            )
        except Forbidden:
            continue
        found += [
            f"{kind}/{namespace}/{item['metadata']['name']}" for item in answer.get("items") or []
        ]
    return found


def _is_ours(found: dict[str, Any], bundle: BundleName) -> bool:
    return ((found.get("metadata") or {}).get("labels") or {}).get(MARK) == bundle


async def _get(kube: Kube, place: str) -> dict[str, Any] | None:
    try:
        return await kube.call("GET", _path(place))
    except NotFound:
        return None


def _path(place: str) -> str:
    kind, namespace, name = place.split("/")
    return in_namespace(namespace, _PLURALS[kind], name)
