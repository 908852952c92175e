"""`/api/v1/bundles/…/correct`: put drift right without a commit (docs/api.md)."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from .. import ports
from ..auth import Gate
from ..request_parsing import mapping, query
from .objects import path_name, scope

_MOST_NAMES = 10_000


class CorrectionApi:
    def __init__(self, service: ports.Corrections, gate: Gate) -> None:
        self._service, self._gate = service, gate

    def routes(self) -> list[Route]:
        path = "/api/v1/bundles/{workspace}/{name}/correct"
        return [Route(path, self.correct, methods=["POST"])]

    async def correct(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        workspace, name = path_name(request, "workspace"), path_name(request, "name")
        scope(person, workspace)
        query(request)
        body = await mapping(request, ("clusters", "selector"))
        names, selector = body.get("clusters", []), body.get("selector", "")
        if (
            not isinstance(names, list)
            or any(not isinstance(n, str) for n in names)
            or len(names) > _MOST_NAMES
        ):
            raise UsageError("clusters must be a list of names", next_step="Correct the request.")
        if not isinstance(selector, str):
            raise UsageError("selector must be a text", next_step="Correct the request.")
        answer = await self._service.correct_drift(workspace, name, names, selector)
        return Response(
            msgspec.json.encode(answer),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )
