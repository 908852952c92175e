"""What a cluster tells of a bundle's parts: which object is in which, and whether all of them are
ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fleetctl.core.model.errors import ToolFailed
from fleetctl.core.model.options import HelmOptions
from fleetctl.core.rendering.render import part_name
from fleetctl.tools import crds
from fleetctl.tools.field_substitution import Key, key_of

from ..deploy import preserved_fields
from ..drift.health import NOT_READY, health
from ..kube.client import Kube
from ..state.journal import Entry
from ..state.last_applied import release_on
from . import handover
from .parts import Piece

if TYPE_CHECKING:
    from ..deploy.context import ReleaseContext


async def where(
    context: ReleaseContext, old: Entry, found: Sequence[Piece]
) -> tuple[dict[Key, int], list[dict[str, Any]]]:
    """(the part that each object is in now, objects whose handover was cut off). After a crash only
    the cluster knows.
    """
    numbers = {f"{old.namespace}/{part_name(old.release, part)}": part for part in (1, *old.parts)}
    kept = None if old.began else context.last_applied.get(old.bundle)
    if kept is not None:
        marks = [
            (key_of(item, old.namespace), release_on(item["metadata"].get("annotations")))
            for item in kept.objects
        ]
        return {key: numbers.get(mark, 1) for key, mark in marks}, []
    limit = asyncio.Semaphore(8)
    places: dict[Key, int] = {}
    left: list[dict[str, Any]] = []

    async def one(piece: Piece) -> None:
        for item in crds.documents(piece.text):
            async with limit:
                seen = await preserved_fields.live(context.kube, item, old.namespace)
            mark = release_on(((seen or {}).get("metadata") or {}).get("annotations"))
            if mark in numbers:
                places.setdefault(piece.key, numbers[mark])
            if seen is not None and handover.is_marked(seen):
                left.append(item)

    await asyncio.gather(*(one(piece) for piece in found))
    return places, left


async def ready(kube: Kube, helm: HelmOptions, namespace: str, manifests: Sequence[str]) -> None:
    """What `helm.timeoutSeconds` means for one release, for all parts together. Raises ToolFailed
    naming what is not ready.
    """
    end = time.monotonic() + max(0, helm.timeout_seconds or 0)
    left = (
        [item for text in manifests for item in crds.documents(text.encode())]
        if helm.timeout_seconds
        else []
    )
    while left:
        said = [
            (item, await _unready(kube, item, namespace, jobs=bool(helm.wait_for_jobs)))
            for item in left
        ]
        left = [item for item, why in said if why]
        if left and time.monotonic() > end:
            shown, why = next(
                (f"{i['kind']} {key_of(i, namespace)[3]}", why) for i, why in said if why
            )
            summary = f"not ready within {helm.timeout_seconds} s: {shown}: {why}"
            raise ToolFailed(
                summary, subject=shown, next_step="Look at it, or raise helm.timeoutSeconds."
            )
        await asyncio.sleep(min(1.0, len(left)))


async def _unready(kube: Kube, item: dict[str, Any], namespace: str, *, jobs: bool) -> str:
    seen = await preserved_fields.live(kube, item, namespace)
    if seen is None:
        return "does not exist"
    if jobs and item.get("kind") == "Job":
        done = {
            c.get("type")
            for c in (seen.get("status") or {}).get("conditions") or []
            if c.get("status") == "True"
        }
        return "" if "Complete" in done else "has not completed"
    state, message = health(seen)
    return message or state if state == NOT_READY else ""
