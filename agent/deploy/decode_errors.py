"""Which object of a release helm could not decode: helm's message has the field and neither object
nor file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fleetctl.core.model.errors import FleetError, ToolFailed, UsageError
from fleetctl.tools.chart_builder import Prepared
from fleetctl.tools.crds import documents
from fleetctl.tools.helm import HelmCli, Release, TemplateFlags
from fleetctl.tools.helm_errors import HelmFailed

if TYPE_CHECKING:
    from .apply import ReleaseWork
    from .context import ReleaseContext

_TEXTS = ("name", "namespace", "generateName")
_MAPS = ("labels", "annotations")


def is_undecodable(why: ToolFailed) -> bool:
    """Whether helm failed to decode an object of the manifest."""
    return isinstance(why, HelmFailed) and "unable to decode" in why.said


async def undecodable(
    context: ReleaseContext, work: ReleaseWork, prepared: Prepared, why: ToolFailed
) -> FleetError:
    """The error with the object and the field; `why` itself where no object shows it."""
    try:
        text = await rendered(context, work, prepared)
        found = await asyncio.to_thread(mistakes, text)
    except FleetError:
        return why
    if not found:
        return why
    about, field = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return UsageError(
        f"{about}: {field}{more}", subject=about, next_step="Put the value in quotes."
    )


async def rendered(context: ReleaseContext, work: ReleaseWork, prepared: Prepared) -> bytes:
    """What helm was given. Raises FleetError; empty where there is no helm to render it."""
    content = prepared.chart / "manifests.yaml"
    if content.exists():
        return await asyncio.to_thread(content.read_bytes)
    if not isinstance(context.helm, HelmCli):
        return b""
    plan = work.plan
    flags = TemplateFlags(
        skip_schema=plan.skip_schema, disable_dns=plan.disable_dns, include_crds=False
    )
    release = Release(plan.release, plan.namespace)
    return await context.helm.template(
        release, prepared.chart, prepared.values, prepared, flags, deadline=context.seconds
    )


def mistakes(text: bytes) -> list[tuple[str, str]]:
    """(object, what is wrong) for metadata of a wrong type. Raises InvalidFile."""
    found = []
    for item in documents(text):
        meta = item.get("metadata")
        if not isinstance(meta, dict):
            continue
        about = f"{item.get('kind')} {meta.get('name')}"
        found += [
            (about, f"metadata.{key} {_is(meta[key])}")
            for key in _TEXTS
            if not isinstance(meta.get(key, ""), str | None)
        ]
        for part in _MAPS:
            values = meta.get(part) or {}
            if not isinstance(values, dict):
                found.append((about, f"metadata.{part} is {values!r} and must be a map"))
                continue
            found += [
                (about, f"metadata.{part}.{key} {_is(value)}")
                for key, value in values.items()
                if not isinstance(value, str | None)
            ]
    return found


def _is(value: Any) -> str:
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return f"is {shown[:60]} and must be a string"
