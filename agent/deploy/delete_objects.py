"""Deletes objects of a release, and waits until they and their namespace are gone.

The order of deletion is the order of helm. An object that does not go is reported with the
finalizer that holds it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fleetctl.core.model.errors import NotFound, ObjectsRemain
from fleetctl.core.model.wire import Desired
from fleetctl.core.text.listing import count_others
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools.helm import Release

from ..kube.client import Kube
from ..release import namespaces, ownership
from ..release.ownership import LiveObject
from ..state.journal import Entry

if TYPE_CHECKING:
    from .context import ReleaseContext

# Seconds to wait for the end of the objects: at the first try of a removal, and at later ones.
PATIENCE = (10.0, 2.0)
_LOOK_AGAIN = Backoff(0.05, 2.0)
# helm.sh/helm/v4 `pkg/release/util/kind_sorter.go`, UninstallOrder: other kinds go first.
_ORDER = (  # noqa: SIM905 - as a list it would be a page
    "APIService ValidatingWebhookConfiguration MutatingWebhookConfiguration Ingress IngressClass"
    " Service CronJob Job StatefulSet HorizontalPodAutoscaler Deployment ReplicaSet"
    " ReplicationController Pod DaemonSet RoleBinding Role ClusterRoleBinding ClusterRole"
    " CustomResourceDefinition PersistentVolumeClaim PersistentVolume StorageClass ConfigMap Secret"
    " ServiceAccount PodDisruptionBudget LimitRange ResourceQuota NetworkPolicy PriorityClass"
    " Namespace"
).split()
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}


async def delete_objects(kube: Kube, live_objects: Iterable[LiveObject]) -> None:
    """Delete the objects in helm's order; an object that is gone already is no error."""
    for live in sorted(live_objects, key=lambda live: (_RANK.get(live.ref.kind, -1), live.ref)):
        if live.deleting:
            continue
        api_version, kind, namespace, name, _ = live.ref
        try:
            path = await kube.object_path(api_version, kind, namespace, name)
            await kube.delete(path, uid=live.uid, propagation="Background")
        except NotFound:
            continue


async def wait_until_gone(
    kube: Kube, live_objects: Iterable[LiveObject], release: Release, patience: float
) -> None:
    """Wait until the objects are gone. Raises ObjectsRemain with the first object that is not, and
    its finalizer.
    """
    remaining = [live for live in live_objects if not live.keep]
    end, looks = time.monotonic() + patience, 0
    while True:
        uids = {live.uid for live in remaining}
        remaining = [
            live
            for live in await ownership.look(kube, [live.ref for live in remaining])
            if live.uid in uids and live.owner == release
        ]
        if not remaining:
            return
        await delete_objects(kube, remaining)
        if time.monotonic() >= end:
            raise await _describe_remaining(kube, remaining)
        looks += 1
        await asyncio.sleep(_LOOK_AGAIN.seconds(looks))


def remaining_error(remaining: list[LiveObject]) -> ObjectsRemain:
    """The error for objects that do not go."""
    first = next((live for live in remaining if live.finalizers), remaining[0])
    reason = (
        f"is held by finalizer {', '.join(first.finalizers)}"
        if first.finalizers
        else "still exists"
    )
    others_text = count_others(len(remaining) - 1)
    step = (
        "Find the controller that must remove the finalizer; if there is none, remove the"
        " finalizer from the object."
        if first.finalizers
        else "Wait."
    )
    return ObjectsRemain(
        f"{first.ref}{others_text} is deleted and {reason}", subject=str(first.ref), next_step=step
    )


async def _describe_remaining(kube: Kube, remaining: list[LiveObject]) -> ObjectsRemain:
    """As `remaining_error`. For a namespace it names what blocks the deletion, which only the API
    server knows.
    """
    live_namespace = next((live for live in remaining if live.ref.kind == "Namespace"), None)
    namespace_object = (
        await namespaces.get(kube, live_namespace.ref.name) if live_namespace else None
    )
    if namespace_object is None or any(live.finalizers for live in remaining):
        return remaining_error(remaining)
    name = namespace_object["metadata"]["name"]
    step = f"Check what is in it (kubectl get namespace {name} -o yaml)."
    return ObjectsRemain(
        f"namespace {name} is deleted and {namespaces.why_it_stays(namespace_object)}",
        subject=f"namespace {name}",
        next_step=step,
    )


async def leave_namespace(
    context: ReleaseContext, document: Desired, entry: Entry, patience: float
) -> None:
    """Delete the namespace after its release, if the bundle says so, and wait until it is gone.
    Raises ObjectsRemain.
    """
    other_bundles = namespaces.users(
        context.journal.entries.values(), document, entry.bundle, entry.namespace
    )
    is_deleted = await namespaces.leave(
        context.kube, entry, other_bundles, context.rights.kube, context.namespace_rules
    )
    if not is_deleted:
        return
    end, looks = time.monotonic() + patience, 0
    while (
        namespace_object := await namespaces.get(context.rights.kube, entry.namespace)
    ) is not None:
        if time.monotonic() >= end:
            step = f"Check what is in it (kubectl get namespace {entry.namespace} -o yaml)."
            reason = namespaces.why_it_stays(namespace_object)
            raise ObjectsRemain(
                f"namespace {entry.namespace} is deleted and {reason}",
                subject=f"namespace {entry.namespace}",
                next_step=step,
            )
        looks += 1
        await asyncio.sleep(_LOOK_AGAIN.seconds(looks))
