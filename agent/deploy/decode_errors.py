"""Which object of a release helm could not decode: helm's message has the field and neither object
nor file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fleetctl.core.model.errors import FleetError, ToolFailed, UsageError
from fleetctl.core.text.listing import count_others
from fleetctl.tools.chart_builder.plugin import PreparedChart
from fleetctl.tools.crds import documents
from fleetctl.tools.helm import HelmCli, Release, TemplateFlags

if TYPE_CHECKING:
    from .context import ReleaseContext
    from .shape import ReleaseWork

_TEXTS = ("name", "namespace", "generateName")
_MAPS = ("labels", "annotations")


async def locate_mistake(
    context: ReleaseContext, work: ReleaseWork, helm_input: PreparedChart, error: ToolFailed
) -> FleetError:
    """The error with the object and the field; `why` itself where no object shows it."""
    try:
        text = await render_text(context, work, helm_input)
        mistakes_in_text = await asyncio.to_thread(find_mistakes, text)
    except FleetError:
        return error
    if not mistakes_in_text:
        return error
    subject, field = mistakes_in_text[0]
    others_text = count_others(len(mistakes_in_text) - 1)
    return UsageError(
        f"{subject}: {field}{others_text}", subject=subject, next_step="Put the value in quotes."
    )


async def render_text(
    context: ReleaseContext, work: ReleaseWork, helm_input: PreparedChart
) -> bytes:
    """What helm was given. Raises FleetError; empty where there is no helm to render it."""
    content = helm_input.chart / "manifests.yaml"
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
        release, helm_input.chart, helm_input.values, helm_input, flags, deadline=context.seconds
    )


def find_mistakes(text: bytes) -> list[tuple[str, str]]:
    """(object, what is wrong) for metadata of a wrong type. Raises InvalidFile."""
    result = []
    for item in documents(text):
        meta = item.get("metadata")
        if not isinstance(meta, dict):
            continue
        subject = f"{item.get('kind')} {meta.get('name')}"
        result += [
            (subject, f"metadata.{key} {_must_be_string(meta[key])}")
            for key in _TEXTS
            if not isinstance(meta.get(key, ""), str | None)
        ]
        for part in _MAPS:
            values = meta.get(part) or {}
            if not isinstance(values, dict):
                result.append((subject, f"metadata.{part} is {values!r} and must be a map"))
                continue
            result += [
                (subject, f"metadata.{part}.{key} {_must_be_string(value)}")
                for key, value in values.items()
                if not isinstance(value, str | None)
            ]
    return result


def _must_be_string(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return f"is {text[:60]} and must be a string"
