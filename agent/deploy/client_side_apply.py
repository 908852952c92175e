"""Client-side apply for a release whose manifest server-side apply refuses for its form.

The API server takes an object with two entries of one key in a list (two `env` of one name), or
with a field that the schema does not declare, in every way but server-side apply: it keeps the
duplicate, drops the field, and warns. helm 3 and kubectl apply client-side, so such manifests are
common.

Rule: server-side apply comes first. A release that is refused so is applied client-side, and each
object and field that is the cause stands on the deployment as a warning. The journal holds them:
the next upgrade begins client-side, and the first one whose objects are all accepted ends it. helm
moves the fields over to server-side apply then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fleetctl.core.model.errors import (
    FleetError,
    HelmRefusedByForm,
    NotFound,
    RefusedByForm,
    ToolFailed,
)
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.text.listing import count_others
from fleetctl.tools.crds import documents
from fleetctl.tools.field_substitution import key_of
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_errors import refusals

from ..host.log import event
from ..kube.client import Kube

_AT_ONCE = 8
_MOST_DRY_RUNS, _MOST_RECORDED, _MOST_TEXT = 300, 20, 300


def describe_refusals(release: Release, error: HelmRefusedByForm) -> tuple[str, ...]:
    """The objects and fields that server-side apply refuses, for the journal; they are logged."""
    messages = [str(refusal)[:_MOST_TEXT] for refusal in refusals(error)]
    event(
        "the release is applied client-side",
        release=release,
        objects=len(messages),
        first=messages[0],
    )
    return tuple(messages[:_MOST_RECORDED])


async def find_refused(kube: Kube, objects: Iterable[JsonObject], namespace: str) -> list[str]:
    """Which of `objects` server-side apply refuses by form, and for which fields: by dry runs, so
    that nothing changes. Objects beyond the first 300 are not asked for. Raises ClusterUnreachable.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask_one(item: JsonObject) -> str:
        async with slots:
            return await _refusal_of(kube, item, namespace)

    messages = await asyncio.gather(*(ask_one(item) for item in list(objects)[:_MOST_DRY_RUNS]))
    return [text[:_MOST_TEXT] for text in messages if text][:_MOST_RECORDED]


async def find_still_refused(
    kube: Kube, old_messages: tuple[str, ...], manifests: Iterable[tuple[Release, str]]
) -> tuple[str, ...]:
    """What server-side apply refuses of releases that were applied client-side (`known`); empty:
    the next upgrade is server-side again.
    """
    if not old_messages:
        return ()
    messages: list[str] = []
    try:
        for release, text in manifests:
            manifest_objects = await asyncio.to_thread(documents, text.encode())
            messages += await find_refused(kube, manifest_objects, release.namespace)
    except FleetError:  # it stays as it is until the next upgrade
        return old_messages
    return tuple(messages[:_MOST_RECORDED])


async def _refusal_of(kube: Kube, item: JsonObject, namespace: str) -> str:
    _, kind, place, name = key_of(item, namespace)
    path = ""
    try:
        path = await kube.object_path(str(item.get("apiVersion")), kind, place, name)
        await kube.apply(path, item, manager="helm", dry_run=True)
    except NotFound:
        return ""
    except RefusedByForm as error:
        namespace_prefix = f"{place}/" if "/namespaces/" in path else ""
        return f"{kind} {namespace_prefix}{name}: {error.cause}"
    except ToolFailed:  # refused for another reason, which is not by form
        return ""
    return ""


def warning(messages: Iterable[str]) -> str:
    """For the report: what server-side apply refuses."""
    messages = list(messages)
    others_text = count_others(len(messages) - 1)
    return f"applied client-side, because server-side apply refuses {messages[0]}{others_text}"
