"""`/api/v1/agent-releases` and `/api/v1/agent-wishes`: versions of the agent, and which cluster
should run which.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model import agent_release, wire
from fleetctl.core.model.errors import RefusedError, UsageError

from ...agents.agent_releases import AgentReleases
from ...agents.agent_upgrades import AgentUpgrades, UpgradeRequest
from ..auth import Gate
from ..request_parsing import body, mapping, query
from ..request_scope import path_name, scope
from ..responses import json_response

ADD = "/api/v1/agent-releases"
UPLOAD_SECONDS = 600.0
_SIGNATURE = "fleet-release"  # header: the signature file, as unpadded URL-safe base64
_MOST_NAMES = 10_000


class ReleaseApi:
    def __init__(self, releases: AgentReleases, upgrades: AgentUpgrades, gate: Gate) -> None:
        self._releases, self._upgrades, self._gate = releases, upgrades, gate

    def routes(self) -> list[Route]:
        return [
            Route(ADD, self.list, methods=["GET"]),
            Route(ADD, self.add, methods=["POST"]),
            Route(ADD + "/{version}", self.delete, methods=["DELETE"]),
            Route("/api/v1/agent-wishes", self.wish, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        await self._gate.person(request)
        query(request)
        return json_response({"items": await self._releases.list()})

    async def add(self, request: Request) -> Response:
        """The body is the file itself."""
        await self._unbound(request)
        query(request)
        release = agent_release.of_file(_signature(request), file=_SIGNATURE)
        data = await body(request, agent_release.MAX_BYTES, UPLOAD_SECONDS)
        return json_response(await self._releases.add(release, data), 201)

    async def delete(self, request: Request) -> Response:
        await self._unbound(request)
        query(request)
        documents = await self._releases.delete(path_name(request, "version"))
        return json_response({"result": "deleted", "items": documents})

    async def wish(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        query(request)
        fields = await mapping(request, ("workspace", "names", "selector", "version", "most"))
        names = fields.get("names", [])
        texts = [fields.get(key, "") for key in ("workspace", "selector", "version", "most")]
        good = isinstance(names, list) and all(isinstance(text, str) for text in [*names, *texts])
        if not good or not texts[0] or bool(names) == bool(texts[1]) or len(names) > _MOST_NAMES:
            step = "Give a workspace, names or a selector, and a version or none."
            raise UsageError(
                "a target version needs clusters of one workspace, by name or by label",
                next_step=step,
            )
        scope(person, texts[0])
        return json_response(
            await self._upgrades.request(UpgradeRequest(texts[0], names, *texts[1:]))
        )

    async def _unbound(self, request: Request) -> None:
        """A version concerns all workspaces. Raises RefusedError."""
        person, _ = await self._gate.person(request)
        if person.workspace:
            summary = f"token {person.name} is bound to workspace {person.workspace}"
            raise RefusedError(
                summary,
                subject=f"token {person.name}",
                next_step="Use an admin token without a workspace.",
            )


def _signature(request: Request) -> bytes:
    text = request.headers.get(_SIGNATURE, "")
    try:
        return wire.unb64(text) if len(text) <= 2 * agent_release.MAX_SIGNATURE_FILE else b""
    except ValueError as error:
        raise UsageError(
            f"the header {_SIGNATURE} is not base64", next_step="Use `fleetctl agent-release add`."
        ) from error
