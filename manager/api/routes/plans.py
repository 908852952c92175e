"""`/api/v1/plan` and `/api/v1/archives`: what a commit would change, and the archives to show it
with.

Rule: a plan changes nothing, so who may read may ask for one; but a GitRepo that is described in
the request makes the manager send a Secret's login to the address in it, and that is an
administrator's word.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.documents.bundle_check import check_bundle
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import NotFound, RefusedError, UsageError
from fleetctl.core.model.ids import Digest, is_digest, is_name
from fleetctl.core.scan.problems import ScanProblem

from ...plans.planner import Planner, PlanQuery
from ...security.tokens import Person
from ...slots import FairSlots
from ..auth import Gate
from ..request_parsing import body, decode_message, parse_body, query
from ..request_scope import scope
from ..server.limits import Slots
from ..server.workers import PLANS
from .agents import ArchiveAnswer
from .egress import mark_plan

PLAN = "/api/v1/plan"
ARCHIVES = "/api/v1/archives/"
# A fetch of 120 s, charts, and the plan itself.
PLAN_SECONDS = 240.0
_AT_ONCE, _PER_TOKEN = 4, 2
_MOST_BYTES = 8 * 1024 * 1024


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bundles` null: the manager scans; else what was scanned elsewhere, with the `problems`,
    `warnings` and `unread` paths of that scan (as in core.scan.Scan).
    """

    workspace: str
    gitrepo: str
    branch: str = ""
    commit: str = ""
    document: dict[str, Any] | None = None
    bundles: list[BundleSpec] | None = None
    problems: list[ScanProblem] = []
    warnings: list[ScanProblem] = []
    unread: list[str] = []


class PlanApi:
    def __init__(self, plans: Planner, gate: Gate) -> None:
        self._plans, self._gate = plans, gate
        self._waiting = Slots("too many plans are waiting", each=16, total=64, retry_after=30)
        self._running = FairSlots(_AT_ONCE, _PER_TOKEN)

    def routes(self) -> list[Route]:
        return [
            Route(PLAN, self.plan, methods=["POST"]),
            Route(ARCHIVES + "{digest}", self.archive, methods=["GET"]),
        ]

    async def plan(self, request: Request) -> Response:
        """A body is read only in a slot: neither the bodies of a token nor those of all together
        can fill the memory.
        """
        person, _ = await self._gate.person(request, reading=True)
        query(request)
        with self._waiting.slot(person.name):
            async with self._running.hold(person.name):
                return await self._plan(request, person)

    async def _plan(self, request: Request, person: Person) -> Response:
        fields = await parse_body(await body(request, _MOST_BYTES), _read, PLANS)
        if not is_name(fields.workspace, limit=63) or not is_name(fields.gitrepo):
            raise UsageError(
                "a plan names a workspace and a GitRepo",
                subject="plan",
                next_step="Give workspace and gitrepo.",
            )
        if fields.branch and fields.commit:
            raise UsageError(
                "a plan is of a branch or of a commit",
                subject="plan",
                next_step="Give one of them.",
            )
        scope(person, fields.workspace)
        if fields.document is not None and fields.bundles is None and person.role != "admin":
            step = "Use a token with the role admin, or plan a folder with --local."
            raise RefusedError(
                f"token {person.name} may read only",
                subject="plan of a GitRepo's document",
                next_step=step,
            )
        document = mark_plan(person, fields.document) if fields.document is not None else None
        plan_request = PlanQuery(
            fields.workspace,
            fields.gitrepo,
            branch=fields.branch,
            commit=fields.commit,
            document=document,
            specs=fields.bundles,
            problems=fields.problems,
            warnings=fields.warnings,
            unread=fields.unread,
        )
        plan = await self._plans.plan(plan_request)
        data = await PLANS.run(msgspec.json.encode, plan)
        return Response(data, media_type="application/json", headers={"cache-control": "no-store"})

    async def archive(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        query(request)
        digest = request.path_params["digest"]
        if not is_digest(digest):
            raise NotFound(
                "no such archive", subject=digest[:80], next_step="Name it by its SHA-256."
            )
        path = await self._plans.archive_path(person.workspace or None, Digest(digest))
        headers = {"etag": f'"{digest}"', "cache-control": "no-store"}
        return ArchiveAnswer(path, 0, path.stat().st_size, status_code=200, headers=headers)


def _read(data: bytes) -> _Request:
    """Raises UsageError naming the field, InvalidFile naming the bundle and the key."""
    plan_request = decode_message(data, _Request)
    if plan_request.bundles is None:
        return plan_request
    return msgspec.structs.replace(
        plan_request, bundles=[check_bundle(spec) for spec in plan_request.bundles]
    )
