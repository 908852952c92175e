"""Whose an object is, by helm's marks on it, and who may take it.

Rule: what another bundle of this agent holds is never taken, unless that bundle is on its way out;
what a release of somebody else holds, or nobody, is taken only where `helm.takeOwnership` asks for
it, and then the log says so. A Namespace that this agent created for a release, and that no release
holds, belongs to the first bundle that states it. helm itself refuses to take anything, and names
the first object only: looking is done after such a refusal, so that it costs nothing as long as
nobody refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import NotFound, OwnershipConflict, ToolFailed
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.text.listing import count_others
from fleetctl.tools.helm import Release
from fleetctl.tools.helm_marks import kept_by_uninstall, owner_of

from ..host.log import event
from ..kube.client import Kube
from . import handover, namespaces, records
from .records import ObjectRef

_AT_ONCE = 8
_MOST_LOOKED_UP = 10


class LiveObject(NamedTuple):
    """One object as it is on the cluster. `owner` None: no release's. `deleting`: since when, ""
    for not. `created_here`: a Namespace that the agent created.
    """

    ref: ObjectRef
    owner: Release | None
    uid: str = ""
    deleting: str = ""
    finalizers: tuple[str, ...] = ()
    keep: bool = False
    created_here: bool = False


@dataclass(frozen=True)
class OwnershipClaim:
    """A bundle that wants objects for its release. `holders`: the releases of this agent and their
    bundles; `leaving`: bundles that are to be removed; `may_take`: helm.takeOwnership.
    """

    bundle: BundleName
    release: Release
    holders: Mapping[Release, BundleName]
    leaving: Collection[BundleName] = ()
    may_take: bool = False


async def look(kube: Kube, refs: Iterable[ObjectRef]) -> list[LiveObject]:
    """Those of `refs` that exist. A kind that the cluster does not serve has no objects. Raises
    ClusterUnreachable, ToolFailed.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look_at(ref: ObjectRef) -> LiveObject | None:
        async with slots:
            try:
                path = await kube.object_path(ref.api_version, ref.kind, ref.namespace, ref.name)
            except NotFound:
                return None
            meta = await kube.find_metadata(path)
        return None if meta is None else _live_object(ref, meta)

    live_objects = await asyncio.gather(*(look_at(ref) for ref in dict.fromkeys(refs)))
    return [live for live in live_objects if live is not None]


def _live_object(ref: ObjectRef, meta: JsonObject) -> LiveObject:
    annotations = meta.get("annotations")
    owner = owner_of(annotations)
    is_handover = handover.is_marked({"metadata": meta})
    return LiveObject(
        ref._replace(namespace=meta.get("namespace") or ""),
        Release(*owner) if owner else None,
        meta["uid"],
        meta.get("deletionTimestamp") or "",
        tuple(meta.get("finalizers") or ()),
        ref.keep or (kept_by_uninstall(annotations) and not is_handover),
        ref.kind == "Namespace" and namespaces.is_created_here(meta),
    )


def judge(
    live_objects: Iterable[LiveObject],
    claim: OwnershipClaim,
    existing_releases: Collection[Release] = (),
) -> list[LiveObject]:
    """What is taken over from others. `records_of`: releases of others that still are there. Raises
    Taken for the first that may not be.
    """
    foreign = [live for live in live_objects if live.owner != claim.release]
    refused_objects: list[LiveObject] = []
    for live in foreign:
        if live.deleting:
            raise OwnershipConflict(
                f"{live.ref} is being deleted; the agent creates it again afterwards",
                subject=str(live.ref),
                next_step="Wait.",
            )
        holder = claim.holders.get(live.owner) if live.owner else None
        if holder == claim.bundle or holder in claim.leaving:
            continue
        if holder is not None:
            step = f"Take it out of bundle {claim.bundle} or of bundle {holder}."
            raise OwnershipConflict(
                f"{live.ref} belongs to bundle {holder} already",
                subject=str(live.ref),
                next_step=step,
            )
        if not claim.may_take and not (live.created_here and live.owner not in existing_releases):
            refused_objects.append(live)
    if refused_objects:
        first, others_text = (
            refused_objects[0],
            count_others(len(refused_objects) - 1),
        )
        step = (
            f"Take it out of bundle {claim.bundle}, or let the bundle have it with"
            " helm.takeOwnership: true."
        )
        raise OwnershipConflict(
            f"{first.ref} {_describe_owner(first.owner, existing_releases)}{others_text}",
            subject=str(first.ref),
            next_step=step,
        )
    return foreign


def _describe_owner(owner: Release | None, existing_releases: Collection[Release]) -> str:
    if owner is None:
        return "exists already, and no release owns it"
    return f"belongs to {owner} already" + (
        "" if owner in existing_releases else ", which no longer exists"
    )


async def judge_manifest(kube: Kube, manifest: str, claim: OwnershipClaim) -> None:
    """Check that the claim may take every object of the manifest that the release does not own, and
    log those objects. Raises OwnershipConflict.
    """
    refs = records.refs_of(load_all(manifest, file="manifest"), claim.release.namespace)
    live_objects = await look(kube, refs)
    foreign = judge(live_objects, claim, await _find_existing(kube, live_objects, claim))
    for owner in dict.fromkeys(live.owner for live in foreign):
        objects_of_owner = [str(live.ref) for live in foreign if live.owner == owner]
        event(
            "objects taken over",
            bundle=claim.bundle,
            held_by=owner or "nobody",
            objects=len(objects_of_owner),
            first=objects_of_owner[0],
        )


async def refuse_foreign(kube: Kube, claim: OwnershipClaim) -> None:
    """A release of this name that somebody else made is theirs with all that it holds: an upgrade
    would prune it. Raises Taken.
    """
    holder = claim.holders.get(claim.release, claim.bundle)
    if claim.may_take or holder != claim.bundle:
        return
    release_records = await records.list_release(kube, claim.release)
    if (
        release_records
        and release_records[-1].bundle != claim.bundle
        and release_records[-1].status != "uninstalled"
    ):
        owner_text = (
            f"belongs to bundle {release_records[-1].bundle}"
            if release_records[-1].bundle
            else "was created by another program"
        )
        step = (
            "Give the bundle another helm.releaseName, or let it have the release with"
            " helm.takeOwnership: true."
        )
        raise OwnershipConflict(
            f"{claim.release} exists already and {owner_text}",
            subject=str(claim.release),
            next_step=step,
        )


async def _find_existing(
    kube: Kube, live_objects: Iterable[LiveObject], claim: OwnershipClaim
) -> list[Release]:
    """Of the releases of others, those that have records: it is only said, so a few are looked up
    and no more.
    """
    owners = [
        o
        for o in dict.fromkeys(live.owner for live in live_objects)
        if o and o != claim.release and o not in claim.holders
    ]
    existing: list[Release] = []
    for owner in owners[:_MOST_LOOKED_UP]:
        try:
            if await records.list_release(kube, owner):
                existing.append(owner)
        except ToolFailed:
            continue
    return existing
