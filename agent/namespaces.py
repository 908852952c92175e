"""The namespace of a release: made when it is missing, labelled as this cluster's options say, removed only when nobody else uses it.

The agent does this itself because helm's `--create-namespace` costs a third of a helm run, and knows no labels. Labels and annotations
are applied server-side by a field manager of the bundle's own, so that what a bundle no longer states goes again and what others put there
stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from agent import config
from agent.journal import Entry
from agent.kube import Forbidden, Kube
from agent.log import event
from fleetctl.core.errors import NotFound, ToolFailed
from fleetctl.core.ids import BundleName
from fleetctl.core.options import Options

KEPT = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_POD_SECURITY = "pod-security.kubernetes.io/"
_APPLY = {"content-type": "application/apply-patch+yaml"}


def manager(bundle: BundleName) -> str:
    """The field manager of a bundle's labels; at most 128 characters for Kubernetes."""
    return f"fleetctl-{bundle}"


async def prepare(kube: Kube, bundle: BundleName, namespace: str, options: Options, eyes: Kube | None = None) -> None:
    """The namespace is there and carries what `options` state. `eyes` looks whether it is there, which an account of one namespace may
    not; made and labelled it is with the bundle's rights. Raises NotFound when it may not be made and is missing, Forbidden.
    """
    marks = {"labels": _granted(bundle, options.namespace_labels or {}), "annotations": options.namespace_annotations or {}}
    stated = {key: value for key, value in marks.items() if value}
    found = await _get(eyes or kube, namespace)
    if found is None and options.create_namespace is False:
        step = f"Create it, or leave out createNamespace: false (kubectl create namespace {namespace})."
        raise NotFound(f"namespace {namespace} does not exist", subject=f"namespace {namespace}", next_step=step)
    if stated or (found is not None and _is_ours(found, bundle)):
        await _apply(kube, bundle, namespace, stated)
    elif found is None:
        await _create(kube, namespace)


def _granted(bundle: BundleName, labels: dict[str, str]) -> dict[str, str]:
    """Without those that would loosen the cluster's pod security, unless whoever runs the agent allows it (as Fleet's Policy does)."""
    if config.allows_pod_security_labels():
        return labels
    left_out = sorted(key for key in labels if key.startswith(_POD_SECURITY))
    if left_out:
        event("pod security labels are left out", bundle=bundle, labels=", ".join(left_out))
    return {key: value for key, value in labels.items() if key not in left_out}


async def leave(kube: Kube, entry: Entry, others: Iterable[Entry], eyes: Kube | None = None) -> None:
    """After the release has gone: take back the bundle's labels, or the namespace where the options said so and nobody else is there."""
    used = sorted(other.bundle for other in others if other.bundle != entry.bundle and other.release and other.namespace == entry.namespace)
    if entry.delete_namespace and entry.namespace not in KEPT:
        if not used:
            await _delete(kube, entry.namespace)
            return
        event("the namespace stays", namespace=entry.namespace, used_by=", ".join(used[:3]))
    found = await _get(eyes or kube, entry.namespace)
    if found is not None and _is_ours(found, entry.bundle):
        await _apply(kube, entry.bundle, entry.namespace, {})


def _is_ours(found: dict[str, Any], bundle: BundleName) -> bool:
    return any(part.get("manager") == manager(bundle) for part in found.get("metadata", {}).get("managedFields") or [])


async def _get(kube: Kube, namespace: str) -> dict[str, Any] | None:
    try:
        return await kube.call("GET", f"/api/v1/namespaces/{namespace}")
    except NotFound:
        return None


async def _create(kube: Kube, namespace: str) -> None:
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    try:
        await kube.call("POST", "/api/v1/namespaces", msgspec.json.encode(document), {"content-type": "application/json"})
    except Forbidden as why:
        who = kube.user or "the agent"
        step = f"Create it (kubectl create namespace {namespace}), or let {who} create namespaces."
        raise Forbidden(
            f"namespace {namespace} does not exist, and {who} may not create it", subject=f"namespace {namespace}", next_step=step
        ) from why
    except ToolFailed as why:
        if "already exists" not in why.summary:  # another bundle was quicker
            raise


async def _apply(kube: Kube, bundle: BundleName, namespace: str, marks: dict[str, dict[str, str]]) -> None:
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, **marks}}
    path = f"/api/v1/namespaces/{namespace}?fieldManager={manager(bundle)}&force=true"
    await kube.call("PATCH", path, msgspec.json.encode(document), _APPLY)


async def _delete(kube: Kube, namespace: str) -> None:
    try:
        await kube.call("DELETE", f"/api/v1/namespaces/{namespace}")
    except NotFound:
        return
