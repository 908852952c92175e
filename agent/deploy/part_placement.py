"""What a cluster tells of a bundle's parts: which object is in which, and whether all of them are
ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleetctl.core.model.errors import ToolFailed
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.options import HelmOptions
from fleetctl.core.rendering.render import part_name
from fleetctl.tools import crds
from fleetctl.tools.field_substitution import Key, key_of
from fleetctl.tools.helm_marks import owner_text

from ..drift.health import NOT_READY, health
from ..kube.client import Kube
from ..release import handover, preserved_fields
from ..release.parts import Piece
from ..state.journal import Entry

if TYPE_CHECKING:
    from .context import ReleaseContext


async def find_parts(
    context: ReleaseContext, old: Entry, pieces: Sequence[Piece]
) -> tuple[dict[Key, int], list[JsonObject]]:
    """(the part that each object is in now, objects whose handover was cut off). After a crash only
    the cluster knows.
    """
    numbers = {f"{old.namespace}/{part_name(old.release, part)}": part for part in (1, *old.parts)}
    last_applied = None if old.began else context.last_applied.get(old.bundle)
    if last_applied is not None:
        releases_by_key = [
            (key_of(item, old.namespace), owner_text(item["metadata"].get("annotations")))
            for item in last_applied.objects
        ]
        return {key: numbers.get(release_name, 1) for key, release_name in releases_by_key}, []
    limit = asyncio.Semaphore(8)
    places: dict[Key, int] = {}
    cut_off_handovers: list[JsonObject] = []

    async def look_at(piece: Piece) -> None:
        for item in crds.documents(piece.text):
            async with limit:
                live = await preserved_fields.read_live(context.kube, item, old.namespace)
            release_name = owner_text(((live or {}).get("metadata") or {}).get("annotations"))
            if release_name in numbers:
                places.setdefault(piece.key, numbers[release_name])
            if live is not None and handover.is_marked(live):
                cut_off_handovers.append(item)

    await asyncio.gather(*(look_at(piece) for piece in pieces))
    return places, cut_off_handovers


async def wait_until_ready(
    kube: Kube, helm: HelmOptions, namespace: str, manifests: Sequence[str]
) -> None:
    """What `helm.timeoutSeconds` means for one release, for all parts together. Raises ToolFailed
    naming what is not ready.
    """
    end = time.monotonic() + max(0, helm.timeout_seconds or 0)
    waiting = (
        [item for text in manifests for item in crds.documents(text.encode())]
        if helm.timeout_seconds
        else []
    )
    while waiting:
        results = [
            (item, await _find_problem(kube, item, namespace, jobs=bool(helm.wait_for_jobs)))
            for item in waiting
        ]
        waiting = [item for item, reason in results if reason]
        if waiting and time.monotonic() > end:
            subject, reason = next(
                (f"{i['kind']} {key_of(i, namespace)[3]}", reason)
                for i, reason in results
                if reason
            )
            summary = f"not ready within {helm.timeout_seconds} s: {subject}: {reason}"
            raise ToolFailed(
                summary, subject=subject, next_step="Look at it, or raise helm.timeoutSeconds."
            )
        await asyncio.sleep(min(1.0, len(waiting)))


async def _find_problem(kube: Kube, item: JsonObject, namespace: str, *, jobs: bool) -> str:
    live = await preserved_fields.read_live(kube, item, namespace)
    if live is None:
        return "does not exist"
    if jobs and item.get("kind") == "Job":
        true_conditions = {
            c.get("type")
            for c in (live.get("status") or {}).get("conditions") or []
            if c.get("status") == "True"
        }
        return "" if "Complete" in true_conditions else "has not completed"
    state, message = health(live)
    return message or state if state == NOT_READY else ""
