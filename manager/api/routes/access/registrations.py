"""`/api/v1/clusters/…/register`: creates registration tokens."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError

from ....agents.requests import AgentRequests
from ...auth import Gate
from ...request_parsing import mapping, query
from ...request_scope import object_place
from ...responses import json_response
from ..fleet import ManagerInfo
from ..install import AgentFile
from .tokens import token_ttl


class RegistrationApi:
    def __init__(
        self, agents: AgentRequests, gate: Gate, about: ManagerInfo, agent_file: AgentFile
    ) -> None:
        self._agents, self._gate, self._about = agents, gate, about
        self._agent_file = agent_file

    def routes(self) -> list[Route]:
        path = "/api/v1/clusters/{workspace}/{name}/register"
        return [Route(path, self.register, methods=["POST"])]

    async def register(self, request: Request) -> Response:
        _, workspace, name = await object_place(self._gate, request)
        query(request)
        fields = await mapping(request, ("labels", "ttlSeconds", "replace"))
        labels, replace = fields.get("labels", {}), fields.get("replace", False)
        if (
            not isinstance(labels, dict)
            or any(not isinstance(v, str) for v in labels.values())
            or not isinstance(replace, bool)
        ):
            raise UsageError(
                "labels must be texts and replace true or false", next_step="Correct the request."
            )
        ttl = token_ttl(fields.get("ttlSeconds", 3600))
        registration = await self._agents.register(
            workspace, name, labels=labels, ttl_seconds=ttl, replace=replace
        )
        answer = {
            "token": registration.token,
            "expires": registration.expires,
            "caPin": self._about.ca_pin,
            "url": self._about.public_url,
        }
        return json_response(
            {
                **answer,
                "agentSha256": await self._agent_file.digest(),
                "agentPath": "/install/fleet-agent.pyz",
            },
            201,
        )
