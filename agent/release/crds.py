"""CustomResourceDefinitions before the objects that need them: helm cannot install both in one
release.

Rule: a bundle's definitions are applied server-side as field manager `helm`, with helm's marks of
the release, so that helm takes them for its own; then they are waited for, until the API server has
established and serves them. What another release holds is not taken from it. Bundles without a
definition pay nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from fleetctl.core.formats.url_path import below, url_path
from fleetctl.core.model.errors import (
    DeadlineError,
    NoKind,
    NotFound,
    NotServed,
    RefusedByForm,
    ToolFailed,
    UsageError,
)
from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.crds import KIND
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_marks import KEEP, RESOURCE_POLICY, add_marks, owner_of

from ..host.log import event
from ..kube.client import Kube
from . import records
from .ownership import LiveObject, OwnershipClaim, judge
from .records import ObjectRef

SECONDS = 60.0
_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_UNSERVED_SECONDS = (0.5, 20.0)  # between two runs of helm that finds no such kind, and in all


async def apply_definitions(
    kube: Kube,
    release: Release,
    definitions: Sequence[JsonObject],
    *,
    takes_ownership: bool,
    is_shared: bool = False,
    claim: OwnershipClaim | None = None,
) -> None:
    """Apply and wait, at most 60 s. `takes`: also what is nobody's, or somebody else's; `claim`:
    what other bundles hold. `shared`: as those of a chart's `crds` folder, which several releases
    may bring: what another one holds is left as it is, and no uninstall takes it.

    Raises UsageError, Taken, DeadlineError, ToolFailed, ClusterUnreachable.
    """
    names_to_wait_for = []
    for definition in definitions:
        name = str((definition.get("metadata") or {}).get("name", ""))
        if await _may_apply(
            kube, name, release, takes_ownership=takes_ownership, is_shared=is_shared, claim=claim
        ):
            await _apply(
                kube, name, definition, release, {RESOURCE_POLICY: KEEP} if is_shared else {}
            )
            names_to_wait_for.append(name)
    end = time.monotonic() + SECONDS
    for name in names_to_wait_for:
        await _wait_until_served(kube, name, end)


class ServedWait:
    """Pauses between helm runs that find no such kind: another API server of the same cluster may
    serve it a moment later.
    """

    def __init__(self) -> None:
        self._pause, longest = _UNSERVED_SECONDS
        self._end = time.monotonic() + longest

    async def pause(self, error: ToolFailed) -> bool:
        """Wait and return True when helm should run again after this error."""
        if not is_unserved(error) or time.monotonic() + self._pause > self._end:
            return False
        await asyncio.sleep(self._pause)
        self._pause *= 2
        return True


def is_unserved(error: ToolFailed) -> bool:
    """Whether the API server that helm asked does not serve a kind, perhaps not yet."""
    return isinstance(error, NoKind | NotServed)


def _annotations(document: JsonObject) -> JsonObject:
    meta = document.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    return notes if isinstance(notes, dict) else {}


async def _may_apply(
    kube: Kube,
    name: str,
    release: Release,
    *,
    takes_ownership: bool,
    is_shared: bool,
    claim: OwnershipClaim | None,
) -> bool:
    live = await kube.find(below(_PATH, name))
    if live is None:
        return True
    owner_name, owner_namespace = owner_of(_annotations(live)) or ("", "")
    owner = Release(owner_name, owner_namespace)
    if owner == release:
        return True
    if claim is not None and owner in claim.holders and not is_shared:
        # another bundle's, which may be on its way out
        judge([LiveObject(ObjectRef("apiextensions.k8s.io/v1", KIND, "", name), owner)], claim)
        return True
    if takes_ownership and not is_shared:
        return True
    if is_shared:
        is_by_helm = any(
            part.get("manager") == "helm" for part in live["metadata"].get("managedFields") or []
        )
        is_free = is_by_helm if not owner.name else not await records.has_records(kube, owner)
        if not is_free:
            event(
                "a definition is not changed",
                definition=name,
                held_by=str(owner) if owner.name else "somebody else",
            )
        return is_free
    if owner.name and not await records.has_records(kube, owner):
        return True
    owner_text = f"belongs to {owner}" if owner.name else "was not made by helm"
    step = "Set helm.takeOwnership, or leave it out of the bundle."
    raise UsageError(
        f"{KIND} {name} exists and {owner_text}; helm.takeOwnership would take it",
        subject=f"{KIND} {name}",
        next_step=step,
    )


async def _apply(
    kube: Kube,
    name: str,
    definition: JsonObject,
    release: Release,
    more_annotations: dict[str, str],
) -> None:
    definition_meta = definition.get("metadata") or {}
    meta = {k: v for k, v in definition_meta.items() if k not in {"namespace", "creationTimestamp"}}
    add_marks(meta, release.name, release.namespace)
    meta["annotations"] |= more_annotations
    body = {**definition, "metadata": meta}
    body.pop("status", None)
    try:
        await kube.apply(below(_PATH, name), body, manager="helm")
    except RefusedByForm as error:
        event("a definition is applied client-side", definition=name, reason=error.cause)
        await _merge(kube, name, body)


async def _merge(kube: Kube, name: str, body: JsonObject) -> None:
    """Apply as kubectl does client-side: the API server drops the fields that its schema does not
    declare.
    """
    if await kube.find(below(_PATH, name)) is None:
        await kube.create(_PATH, body, manager="helm")
    else:
        await kube.merge(below(_PATH, name), body, manager="helm")


async def _wait_until_served(kube: Kube, name: str, end: float) -> None:
    """Until the definition is established and each version that it serves is found by discovery."""
    pause, problem = 0.05, "it is not established"
    while True:
        live = await kube.find(below(_PATH, name))
        refusal_text = _condition(live, "NamesAccepted", "False")
        if refusal_text:
            raise ToolFailed(
                f"{KIND} {name} is not accepted: {refusal_text}",
                subject=f"{KIND} {name}",
                next_step="Give it other names.",
            )
        if live is not None and _condition(live, "Established", "True") is not None:
            unserved_version = await _find_unserved_version(kube, live)
            if not unserved_version:
                return
            problem = f"version {unserved_version} is not served"
        if time.monotonic() + pause > end:
            summary = f"{KIND} {name} cannot be used after {SECONDS:g} s: {problem}"
            raise DeadlineError(
                summary,
                subject=f"{KIND} {name}",
                next_step=f"Look at `kubectl describe crd {name}`.",
            )
        await asyncio.sleep(pause)
        pause = min(1.0, pause * 1.5)


def _condition(live: JsonObject | None, kind: str, status: str) -> str | None:
    """Its message when the condition has that status."""
    for condition in ((live or {}).get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind and condition.get("status") == status:
            return str(condition.get("message") or condition.get("reason") or kind)
    return None


async def _find_unserved_version(kube: Kube, live: JsonObject) -> str:
    """The first version that discovery does not show yet, or ""."""
    spec = live["spec"]
    for version in (v["name"] for v in spec["versions"] if v.get("served")):
        try:
            answer = await kube.call("GET", url_path("apis", spec["group"], version))
        except NotFound:
            return str(version)
        if all(
            resource["name"] != spec["names"]["plural"]
            for resource in answer.get("resources") or []
        ):
            return str(version)
    return ""
