"""Bounds what an agent reports before it is stored: numbers, names, times and the length of each
text.
"""

from __future__ import annotations

import re

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import Digest, is_name
from fleetctl.core.model.status import Report, ResourceStatus

MOST_PAGES = 10_000
MOST_BUNDLES = 100_000
_MOST_NUMBER = 2**53
_MOST_TOOLS, _MOST_WORD = 20, 128
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_TEXTS = {"code": 64, "message": 4096, "object": 512, "hint": 1024, "commit": 64}
_RESOURCE_TEXTS = {
    "api_version": 253,
    "kind": 63,
    "name": 253,
    "namespace": 253,
    "state": 32,
    "message": 1024,
    "patch": 4096,
    "owner": 253,
}


def limit_report(request: wire.StatusRequest) -> wire.StatusRequest:
    """The report with long texts cut; of two entries for one bundle the last. Raises UsageError
    naming the field.

    Numbers and names of bundles are refused, not cut: a report about another generation or bundle
    would be false.
    """
    _check_number("seq", request.seq)
    if not 1 <= request.page <= request.pages <= MOST_PAGES:
        raise _wrong(f"page {request.page} of {request.pages} is not between 1 and {MOST_PAGES}")
    if request.upgrade is not None:
        _check_number("upgrade.wish", request.upgrade.target_number)
    tools = {
        name[:_MOST_WORD]: version[:_MOST_WORD]
        for name, version in list(request.tools.items())[:_MOST_TOOLS]
    }
    last = {
        report.bundle: _limit_report(index, report)
        for index, report in enumerate(request.deployments)
    }
    return msgspec.structs.replace(
        request,
        agent_version=request.agent_version[:_MOST_WORD],
        kube_version=request.kube_version[:_MOST_WORD],
        runtime=request.runtime[:_MOST_WORD],
        tools=tools,
        deployments=list(last.values()),
    )


def _limit_report(index: int, report: Report) -> Report:
    place = f"deployments[{index}]"
    if not is_name(report.bundle):
        raise _wrong(f"{place}.bundle {report.bundle[:80]!r} is not a name")
    for name in ("epoch", "generation", "applied"):
        _check_number(f"{place}.{name}", getattr(report, name))
    if report.release is not None:
        _check_number(f"{place}.release.revision", report.release.revision)
    changes: dict[str, object] = {
        name: getattr(report, name)[:limit]
        for name, limit in _TEXTS.items()
        if len(getattr(report, name)) > limit
    }
    if len(report.options_digest) > 64:
        changes["options_digest"] = Digest("")
    if report.at and not _TIME.fullmatch(report.at):
        changes["at"] = ""
    if any(_is_long(resource) for resource in report.resources):
        changes["resources"] = [_cut_resource(resource) for resource in report.resources]
    if (
        report.release is not None
        and len(report.release.name) + len(report.release.namespace) > 320
    ):
        changes["release"] = None
    return msgspec.structs.replace(report, **changes) if changes else report


def _is_long(resource: ResourceStatus) -> bool:
    return any(len(getattr(resource, name)) > limit for name, limit in _RESOURCE_TEXTS.items())


def _cut_resource(resource: ResourceStatus) -> ResourceStatus:
    return msgspec.structs.replace(
        resource,
        **{name: getattr(resource, name)[:limit] for name, limit in _RESOURCE_TEXTS.items()},
    )


def _check_number(place: str, value: int) -> None:
    if not 0 <= value <= _MOST_NUMBER:
        raise _wrong(f"{place} is not between 0 and 2^53")


def _wrong(summary: str) -> UsageError:
    return UsageError(
        f"the report is wrong: {summary}", subject="report", next_step="Update the agent."
    )
