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

import msgspec

from fleetctl.core.formats.url_path import in_namespace
from fleetctl.core.model.errors import (
    Conflict,
    FleetError,
    ForbiddenRequest,
    NotFound,
    RefusedError,
    UsageError,
)
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.sealed_layout import SealedContent, context_of
from fleetctl.core.model.wire import Desired, DesiredBundle, SealedObject

from ..controlplane.client import Uplink
from ..kube.client import Kube
from ..release.namespaces import manager

# BundleDeploymentOwnershipLabel of rancher/fleet: a cluster that comes from there keeps its copies.
MARK = "fleet.cattle.io/bundledeployment"
_PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}


class DownstreamCopy(msgspec.Struct, frozen=True):
    kind: str
    name: str
    content: SealedContent

    def values(self) -> list[str]:
        """What no error may quote."""
        return [
            base64.b64decode(value).decode("utf-8", "replace")
            for value in self.content.data.values()
        ]


def open_copies(
    uplink: Uplink, document: Desired, bundle: DesiredBundle, *, has_cluster: bool
) -> list[DownstreamCopy]:
    """What the manager has sealed for this bundle. Raises UsageError, RefusedError naming the
    object.
    """
    if bundle.downstream and not has_cluster:
        step = "Remove it: the program that applies the directory must create the Secrets."
        raise UsageError(
            "downstreamResources are not written into a directory",
            subject=f"bundle {bundle.name}",
            next_step=step,
        )
    if bundle.options.downstream_resources and not bundle.downstream:
        step = "Upgrade the manager to the version of this agent."
        raise UsageError(
            "the manager does not send downstreamResources",
            subject=f"bundle {bundle.name}",
            next_step=step,
        )
    return [
        _open_copy(uplink, document, bundle, sealed_object) for sealed_object in bundle.downstream
    ]


def _open_copy(
    uplink: Uplink, document: Desired, bundle: DesiredBundle, sealed_object: SealedObject
) -> DownstreamCopy:
    subject = f"{sealed_object.kind} {sealed_object.name}"
    if sealed_object.problem or sealed_object.kind not in _PLURALS:
        step = (
            f"Create it at the manager: `fleetctl apply -f` with {subject} in workspace"
            f" {document.workspace}."
        )
        raise UsageError(
            f"downstreamResources: {subject} {sealed_object.problem or 'cannot be copied'}",
            subject=subject,
            next_step=step,
        )
    context = context_of(
        document.cluster_id, bundle.name, bundle.generation, sealed_object.kind, sealed_object.name
    )
    try:
        return DownstreamCopy(
            sealed_object.kind,
            sealed_object.name,
            msgspec.json.decode(uplink.unseal(context, sealed_object.sealed), type=SealedContent),
        )
    except (FleetError, msgspec.DecodeError) as error:
        reason = error.summary if isinstance(error, FleetError) else "its content is none"
        raise RefusedError(
            f"downstreamResources: {subject} cannot be opened: {reason}",
            subject=subject,
            next_step="Look at the manager.",
        ) from error


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
    copies_and_live = [
        (copy, await _find(kube, f"{copy.kind}/{namespace}/{copy.name}")) for copy in copies
    ]
    for copy, live in copies_and_live:
        if live is not None and not any(_is_copy_of(live, name) for name in (bundle, *leaving)):
            subject = f"{copy.kind} {namespace}/{copy.name}"
            step = (
                f"Rename one of them, or delete it (kubectl delete {copy.kind.lower()} {copy.name}"
                f" -n {namespace})."
            )
            raise Conflict(
                f"downstreamResources: {subject} exists and is not this bundle's copy",
                subject=subject,
                next_step=step,
            )
    for copy, live in copies_and_live:
        path = _path(f"{copy.kind}/{namespace}/{copy.name}")
        document = _document(copy, bundle, namespace)
        if live is not None and live.get("type", "") != document.get("type", ""):
            await kube.delete(path)  # Kubernetes changes no Secret's type
        await kube.apply(path, document, manager=manager(bundle))


def _document(copy: DownstreamCopy, bundle: BundleName, namespace: str) -> JsonObject:
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


async def drop(kube: Kube, bundle: BundleName, places: Iterable[str]) -> None:
    """Delete copies by their place, where they still are this bundle's."""
    for place in places:
        live = await _find(kube, place)
        if live is not None and _is_copy_of(live, bundle):
            try:
                await kube.delete(_path(place))
            except NotFound:
                continue


async def find(kube: Kube, bundle: BundleName, namespace: str) -> list[str]:
    """The places of a bundle's copies by their mark, for a journal that was lost; none where the
    rights do not reach.
    """
    places: list[str] = []
    for kind, plural in _PLURALS.items():
        try:
            answer = await kube.call(
                "GET", in_namespace(namespace, plural, labelSelector=f"{MARK}={bundle}")
            )
        except ForbiddenRequest:
            continue
        places += [
            f"{kind}/{namespace}/{item['metadata']['name']}" for item in answer.get("items") or []
        ]
    return places


def _is_copy_of(live: JsonObject, bundle: BundleName) -> bool:
    return ((live.get("metadata") or {}).get("labels") or {}).get(MARK) == bundle


async def _find(kube: Kube, place: str) -> JsonObject | None:
    return await kube.find(_path(place))


def _path(place: str) -> str:
    kind, namespace, name = place.split("/")
    return in_namespace(namespace, _PLURALS[kind], name)
