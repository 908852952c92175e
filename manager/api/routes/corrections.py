"""`/api/v1/bundles/…/correct`: put drift right without a commit (docs/api.md)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from ...commands.corrections import Corrector
from ..auth import Gate
from ..request_parsing import mapping, query
from ..request_scope import object_place
from ..responses import json_response

_MOST_NAMES = 10_000


class CorrectionApi:
    def __init__(self, corrections: Corrector, gate: Gate) -> None:
        self._corrections, self._gate = corrections, gate

    def routes(self) -> list[Route]:
        path = "/api/v1/bundles/{workspace}/{name}/correct"
        return [Route(path, self.correct, methods=["POST"])]

    async def correct(self, request: Request) -> Response:
        _, workspace, name = await object_place(self._gate, request)
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
        answer = await self._corrections.correct(workspace, name, names, selector)
        return json_response(answer)
