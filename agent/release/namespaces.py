"""Creates the namespace of a release, sets its labels, and deletes it if nobody else uses it.

The agent does this because helm's `--create-namespace` costs a third of a helm run and sets no
labels. Each bundle applies its labels and annotations server-side with its own field manager: those
that a bundle no longer states are removed, and those of others stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleetctl.core.formats.url_path import core_path
from fleetctl.core.model.errors import (
    ForbiddenRequest,
    NotFound,
    Terminating,
    UsageError,
    WriteConflict,
)
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import Options
from fleetctl.core.model.wire import Desired
from fleetctl.core.rendering.render import release_of

from ..host.log import event
from ..kube.client import Kube
from ..kube.errors import ALREADY_EXISTS
from ..state.journal import Entry
from . import records

_POD_SECURITY = "pod-security.kubernetes.io/"
AGENT = "fleet-agent"  # field manager of a Namespace that the agent creates
_NAME_LABEL = "f:kubernetes.io/metadata.name"


@dataclass(frozen=True)
class NamespaceRules:
    """`own_namespace`: the namespace that the agent runs in, which is never deleted;
    `allows_pod_security_labels`: bundles may set the labels of pod security.
    """

    own_namespace: str = ""
    allows_pod_security_labels: bool = False


DEFAULT_RULES = NamespaceRules()


def manager(bundle: BundleName) -> str:
    """The field manager of a bundle's labels; at most 128 characters for Kubernetes."""
    return f"fleetctl-{bundle}"


async def prepare(
    kube: Kube,
    bundle: BundleName,
    namespace: str,
    options: Options,
    reader: Kube | None = None,
    rules: NamespaceRules = DEFAULT_RULES,
) -> None:
    """Create the namespace if it is missing, and set the labels and annotations of `options`.

    `reader` reads the namespace, since an account for one namespace may not. `kube` writes with the
    rights of the bundle. Raises NotFound if the namespace is missing and the options forbid to
    create it, and ForbiddenRequest.
    """
    all_metadata = {
        "labels": _filter_labels(bundle, options.namespace_labels or {}, rules),
        "annotations": options.namespace_annotations or {},
    }
    metadata = {key: value for key, value in all_metadata.items() if value}
    namespace_object = await get(reader or kube, namespace)
    if namespace_object is not None and namespace_object["metadata"].get("deletionTimestamp"):
        summary = f"namespace {namespace} is being deleted and {why_it_stays(namespace_object)}"
        step = f"Wait, or remove what holds it (kubectl get namespace {namespace} -o yaml)."
        raise Terminating(summary, subject=f"namespace {namespace}", next_step=step)
    if namespace_object is None and options.create_namespace is False:
        step = (
            "Create it, or leave out createNamespace: false (kubectl create namespace"
            f" {namespace})."
        )
        raise NotFound(
            f"namespace {namespace} does not exist",
            subject=f"namespace {namespace}",
            next_step=step,
        )
    if namespace_object is None:
        await _create(kube, namespace)
    if metadata or (namespace_object is not None and _has_labels_of(namespace_object, bundle)):
        await _apply(kube, bundle, namespace, metadata)


def _filter_labels(
    bundle: BundleName, labels: dict[str, str], rules: NamespaceRules
) -> dict[str, str]:
    """The labels without those that weaken the cluster's pod security, unless the configuration of
    the agent allows them (as Fleet's Policy does).
    """
    if rules.allows_pod_security_labels:
        return labels
    removed_keys = sorted(key for key in labels if key.startswith(_POD_SECURITY))
    if removed_keys:
        event("pod security labels are left out", bundle=bundle, labels=", ".join(removed_keys))
    return {key: value for key, value in labels.items() if key not in removed_keys}


def is_created_here(meta: Mapping[str, Any]) -> bool:
    """Whether the agent created the Namespace with this metadata, for a bundle that does not state
    the Namespace, or states it later.
    """
    entries = [
        entry
        for entry in meta.get("managedFields") or []
        if isinstance(entry, dict) and not entry.get("subresource")
    ]
    creators = {str(entry.get("manager", "")) for entry in entries if _creates(entry)}
    if creators:
        return creators == {AGENT}
    # Earlier agents applied a Namespace with labels: then nobody owns the label that the API server
    # adds.
    return bool(entries) and all(
        str(entry.get("manager", "")).startswith("fleetctl-") for entry in entries
    )


def _creates(entry: JsonObject) -> bool:
    fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
    return entry.get("operation") == "Update" and _NAME_LABEL in (fields.get("f:labels") or {})


def is_protected(namespace: str, rules: NamespaceRules) -> bool:
    """Whether the namespace is never deleted: `default`, those of Kubernetes, and the namespace of
    the agent.
    """
    return (
        namespace == "default" or namespace.startswith("kube-") or namespace == rules.own_namespace
    )


def users(
    entries: Iterable[Entry], document: Desired | None, bundle: BundleName, namespace: str
) -> list[BundleName]:
    """The other bundles that have a release in the namespace, or will have one."""
    bundles = {
        e.bundle
        for e in entries
        if e.release
        and (
            e.namespace == namespace
            or namespace in {former_namespace for _, former_namespace in e.former}
        )
    }
    for bundle_spec in document.bundles if document else []:
        with contextlib.suppress(UsageError):
            if release_of(bundle_spec.options, bundle_spec.name)[1] == namespace:
                bundles.add(bundle_spec.name)
    return sorted(bundles - {bundle})


async def leave(
    kube: Kube,
    entry: Entry,
    other_bundles: Collection[BundleName],
    reader: Kube | None = None,
    rules: NamespaceRules = DEFAULT_RULES,
) -> bool:
    """After the removal of the release, delete the namespace if the options say so and nobody else
    uses it. Otherwise remove the bundle's labels. Returns whether it was deleted.

    `other_bundles`: bundles with a release in the namespace; `reader` reads the namespace.
    """
    if entry.delete_namespace and not is_protected(entry.namespace, rules):
        users = [f"bundle {name}" for name in other_bundles]
        users = users or [
            f"release {name}" for name in await list_other_releases(reader or kube, entry.namespace)
        ]
        if not users:
            await _delete(kube, entry.namespace)
            return True
        event("the namespace stays", namespace=entry.namespace, used_by=", ".join(users[:3]))
    namespace_object = await get(reader or kube, entry.namespace)
    if namespace_object is not None and _has_labels_of(namespace_object, entry.bundle):
        await _apply(kube, entry.bundle, entry.namespace, {})
    return False


def why_it_stays(namespace_object: JsonObject) -> str:
    """Why a namespace that is being deleted still exists, in the words of the API server."""
    messages = [
        c
        for c in (namespace_object.get("status") or {}).get("conditions") or []
        if c.get("status") == "True" and c.get("message")
    ]
    order = {"NamespaceFinalizersRemaining": 0, "NamespaceContentRemaining": 1}
    messages.sort(key=lambda c: order.get(str(c.get("type")), 2))
    return f"does not go: {messages[0]['message']}" if messages else "still exists"


async def list_other_releases(
    kube: Kube, namespace: str, own_names: Collection[str] = ()
) -> list[str]:
    """Names of all Helm releases in the namespace, without those in `own_names`."""
    headers = await records.list_headers(kube, namespace, records.ANY_RELEASE)
    return sorted({header.release for header in headers if header.release} - set(own_names))


def _has_labels_of(namespace_object: JsonObject, bundle: BundleName) -> bool:
    return any(
        entry.get("manager") == manager(bundle)
        for entry in namespace_object.get("metadata", {}).get("managedFields") or []
    )


async def get(kube: Kube, namespace: str) -> JsonObject | None:
    return await kube.find(core_path("namespaces", namespace))


async def _create(kube: Kube, namespace: str) -> None:
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    try:
        await kube.create(core_path("namespaces"), document, manager=AGENT)
    except ForbiddenRequest as error:
        actor = kube.user or "the agent"
        step = (
            f"Create it (kubectl create namespace {namespace}), or let {actor} create namespaces."
        )
        raise ForbiddenRequest(
            f"namespace {namespace} does not exist, and {actor} may not create it",
            subject=f"namespace {namespace}",
            next_step=step,
        ) from error
    except WriteConflict as error:
        if error.reason != ALREADY_EXISTS:  # then another bundle was quicker
            raise


async def _apply(
    kube: Kube, bundle: BundleName, namespace: str, marks: dict[str, dict[str, str]]
) -> None:
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, **marks}}
    await kube.apply(core_path("namespaces", namespace), document, manager=manager(bundle))


async def _delete(kube: Kube, namespace: str) -> None:
    try:
        await kube.delete(core_path("namespaces", namespace))
    except NotFound:
        return
