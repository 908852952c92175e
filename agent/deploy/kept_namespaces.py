"""Namespaces that helm must not delete when an upgrade does not state them any more.

helm deletes each object that the new manifest leaves out, a Namespace with everything in it. The
release's own namespace holds the release itself, and another may hold releases of other bundles.
Such a Namespace is marked `helm.sh/resource-policy: keep` for the time of the upgrade.

Rule: only a Namespace with the release's own marks is marked; `handover.end` takes the mark off,
also after an attempt that was cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import ForbiddenRequest
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.wire import Desired
from fleetctl.tools.helm import Release

from ..host.log import event
from ..release import handover, namespaces, records
from ..state.journal import Entry

if TYPE_CHECKING:
    from .context import ReleaseContext


async def begin(
    context: ReleaseContext, document: Desired, old: Entry | None, release: Release
) -> list[str]:
    """Mark the Namespaces of the last revision that are in use. Returns their names."""
    if old is None or not old.release or not context.kube.is_there:
        return []
    entries = context.journal.entries.values()
    names = [
        name
        for name in await _read_names(context, old)
        if name in (release.namespace, old.namespace)
        or namespaces.is_protected(name, context.namespace_rules)
        or namespaces.users(entries, document, old.bundle, name)
    ]
    if names:
        try:
            await handover.mark_kept(context.kube, map(namespace_object, names), release)
        except ForbiddenRequest:  # then helm may not delete it either
            return []
    return names


async def end(context: ReleaseContext, names: list[str], manifest: str, release: Release) -> None:
    """Take the marks off again; the log names each Namespace that the bundle left behind."""
    await handover.end(context.kube, map(namespace_object, names), "")
    stated_names = set(
        _namespace_names(records.refs_of(load_all(manifest, file="manifest"), release.namespace))
    )
    for name in names:
        if name not in stated_names:
            event("a namespace in use stays", namespace=name, release=release)


def namespace_object(name: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


async def _read_names(context: ReleaseContext, old: Entry) -> list[str]:
    """The Namespaces that the last revision states; from its record when this disk has lost
    them.
    """
    last_applied = context.last_applied.get(old.bundle)
    if last_applied is not None:
        return _namespace_names(records.refs_of(last_applied.objects, old.namespace))
    release_records = await records.read(context.kube, Release(old.release, old.namespace))
    return _namespace_names(ref for record in release_records for ref in record.refs)


def _namespace_names(refs: Any) -> list[str]:
    return list(
        dict.fromkeys(
            ref.name for ref in refs if (ref.api_version, ref.kind) == ("v1", "Namespace")
        )
    )
