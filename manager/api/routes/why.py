"""`GET /api/v1/why`: why something is as it is, and what comes next."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from ...fleet_views import FleetViews
from ..auth import Gate
from ..request_parsing import query
from ..request_scope import scope
from ..responses import json_response

_MOST_NAME = 253


class WhyApi:
    def __init__(self, views: FleetViews, gate: Gate) -> None:
        self._views, self._gate = views, gate

    def routes(self) -> list[Route]:
        return [Route("/api/v1/why", self.explain, methods=["GET"])]

    async def explain(self, request: Request) -> Response:
        """Of `cluster` and `bundle`, of one of them, or of `name`, which may be either."""
        person, _ = await self._gate.person(request)
        parameters = query(request, "workspace", "cluster", "bundle", "name")
        workspace = scope(person, parameters.get("workspace"))
        cluster, bundle, name = (
            parameters.get(key, "")[:_MOST_NAME] for key in ("cluster", "bundle", "name")
        )
        if not workspace or not (cluster or bundle or name) or (name and (cluster or bundle)):
            step = "Ask with workspace, and with cluster, bundle or both; or with name alone."
            raise UsageError(
                "the request names no cluster and no bundle", subject="/api/v1/why", next_step=step
            )
        explanation = await self._views.explain(
            workspace, cluster=cluster, bundle=bundle, name=name
        )
        return json_response(explanation)
