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
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import Conflict, NotFound, ToolFailed
from fleetctl.core.model.ids import BundleName
from fleetctl.tools.helm import Release, Revision, UpgradeFlags
from fleetctl.tools.helm_errors import NotOurs

from ..deploy import namespaces
from ..host.failpoints import failpoint
from ..host.log import event
from ..kube.client import Kube
from . import handover, records
from .records import ObjectRef

_NAME, _NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_KEEP = "helm.sh/resource-policy"
_META = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
_AT_ONCE = 8
_MOST_LOOKED_UP = 10


class OwnershipConflict(Conflict):
    """An object, or a release, that belongs to somebody else."""

    code = "taken"


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
    bundles; `leaving`: bundles that are to be removed; `asked`: helm.takeOwnership.
    """

    bundle: BundleName
    release: Release
    holders: Mapping[Release, BundleName]
    leaving: Collection[BundleName] = ()
    asked: bool = False


async def look(kube: Kube, refs: Iterable[ObjectRef]) -> list[LiveObject]:
    """Those of `refs` that exist. A kind that the cluster has not got has no objects. Raises
    ClusterUnreachable, ToolFailed.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(ref: ObjectRef) -> LiveObject | None:
        async with slots:
            try:
                path = await kube.object_path(ref.api_version, ref.kind, ref.namespace, ref.name)
                meta = (await kube.call("GET", path, headers=_META))["metadata"]
            except NotFound:
                return None
        notes = meta.get("annotations") or {}
        owner = Release(notes[_NAME], notes.get(_NAMESPACE, "")) if notes.get(_NAME) else None
        where = ref._replace(namespace=meta.get("namespace") or "")
        kept = ref.keep or (
            str(notes.get(_KEEP, "")).strip().lower() == "keep"
            and not handover.is_marked({"metadata": meta})
        )
        created = ref.kind == "Namespace" and namespaces.is_created_here(meta)
        return LiveObject(
            where,
            owner,
            meta["uid"],
            meta.get("deletionTimestamp") or "",
            tuple(meta.get("finalizers") or ()),
            kept,
            created,
        )

    found = await asyncio.gather(*(one(ref) for ref in dict.fromkeys(refs)))
    return [live for live in found if live is not None]


def judge(
    found: Iterable[LiveObject], claim: OwnershipClaim, records_of: Collection[Release] = ()
) -> list[LiveObject]:
    """What is taken over from others. `records_of`: releases of others that still are there. Raises
    Taken for the first that may not be.
    """
    taken = [live for live in found if live.owner != claim.release]
    refused: list[LiveObject] = []
    for live in taken:
        if live.deleting:
            raise OwnershipConflict(
                f"{live.ref} is being deleted, and is made anew when it is gone",
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
        if not claim.asked and not (live.created_here and live.owner not in records_of):
            refused.append(live)
    if refused:
        first, more = refused[0], f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        step = (
            f"Take it out of bundle {claim.bundle}, or let the bundle have it with"
            " helm.takeOwnership: true."
        )
        raise OwnershipConflict(
            f"{first.ref} {_whose(first.owner, records_of)}{more}",
            subject=str(first.ref),
            next_step=step,
        )
    return taken


def _whose(owner: Release | None, records_of: Collection[Release]) -> str:
    if owner is None:
        return "exists already, and no release holds it"
    return f"belongs to {owner} already" + (
        "" if owner in records_of else ", which is not there any more"
    )


async def upgrade(
    run: Callable[[UpgradeFlags], Awaitable[Revision]],
    kube: Kube,
    flags: UpgradeFlags,
    claim: OwnershipClaim,
    *,
    is_new: bool,
) -> Revision:
    """Upgrade by `run`, taking over what the claim allows. `is_new`: nothing of ours says yet that
    the release is this bundle's. Raises Taken, and what `run` raises.
    """
    if is_new:
        await refuse_foreign(kube, claim)
    try:
        return await run(replace(flags, take_ownership=False))
    except NotOurs as why:
        try:
            asked = await run(replace(flags, dry_run=True, take_ownership=True))
        except ToolFailed:
            raise why from None
        refs = records.refs_of(load_all(asked.manifest, file="manifest"), claim.release.namespace)
        found = await look(kube, refs)
        taken = judge(found, claim, await _there(kube, found, claim))
    for owner in dict.fromkeys(live.owner for live in taken):
        mine = [str(live.ref) for live in taken if live.owner == owner]
        event(
            "objects taken over",
            bundle=claim.bundle,
            held_by=owner or "nobody",
            objects=len(mine),
            first=mine[0],
        )
    failpoint("before-taking-over")
    return await run(replace(flags, take_ownership=True))


async def refuse_foreign(kube: Kube, claim: OwnershipClaim) -> None:
    """A release of this name that somebody else made is theirs with all that it holds: an upgrade
    would prune it. Raises Taken.
    """
    holder = claim.holders.get(claim.release, claim.bundle)
    if claim.asked or holder != claim.bundle:
        return
    held = await records.heads(kube, claim.release)
    if held and held[-1].bundle != claim.bundle and held[-1].status != "uninstalled":
        whose = (
            f"belongs to bundle {held[-1].bundle}"
            if held[-1].bundle
            else "was made by somebody else"
        )
        step = (
            "Give the bundle another helm.releaseName, or let it have the release with"
            " helm.takeOwnership: true."
        )
        raise OwnershipConflict(
            f"{claim.release} exists already and {whose}",
            subject=str(claim.release),
            next_step=step,
        )


async def _there(kube: Kube, found: Iterable[LiveObject], claim: OwnershipClaim) -> list[Release]:
    """Of the releases of others, those that have records: it is only said, so a few are looked up
    and no more.
    """
    owners = [
        o
        for o in dict.fromkeys(live.owner for live in found)
        if o and o != claim.release and o not in claim.holders
    ]
    there: list[Release] = []
    for owner in owners[:_MOST_LOOKED_UP]:
        try:
            if await records.heads(kube, owner):
                there.append(owner)
        except ToolFailed:
            continue
    return there
