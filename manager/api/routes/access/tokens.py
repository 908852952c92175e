"""`/api/v1/tokens`, `/whoami` and `/ui-code`: people's tokens and the login of the page."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import is_name

from ....security.tokens import Tokens
from ...auth import CODE_SECONDS, Gate
from ...request_parsing import mapping, query
from ...request_scope import path_name, unbound_person
from ...responses import json_response

_MAX_TTL = 10 * 365 * 86400


class TokenApi:
    def __init__(self, tokens: Tokens, gate: Gate, public_url: str) -> None:
        self._tokens, self._gate, self._public_url = tokens, gate, public_url

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/whoami", self.whoami, methods=["GET"]),
            Route("/api/v1/tokens", self.list_tokens, methods=["GET"]),
            Route("/api/v1/tokens", self.create_token, methods=["POST"]),
            Route("/api/v1/tokens/{name}", self.revoke_token, methods=["DELETE"]),
            Route("/api/v1/ui-code", self.ui_code, methods=["POST"]),
        ]

    async def whoami(self, request: Request) -> Response:
        person, _ = await self._gate.person(request)
        query(request)
        return json_response(
            {
                "name": person.name,
                "role": person.role,
                "workspace": person.workspace,
                "expires": person.expires or "",
            }
        )

    async def list_tokens(self, request: Request) -> Response:
        await unbound_person(self._gate, request, admin=True)
        query(request)
        return json_response({"items": await self._tokens.list()})

    async def create_token(self, request: Request) -> Response:
        await unbound_person(self._gate, request, admin=True)
        query(request)
        fields = await mapping(request, ("name", "role", "workspace", "ttlSeconds"))
        name, role, workspace = (
            fields.get("name", ""),
            fields.get("role", "read"),
            fields.get("workspace", ""),
        )
        if not (isinstance(name, str) and is_name(name, limit=63)):
            raise UsageError(
                "a token needs a name of small letters, digits and -",
                next_step="Give a name like ci-reader.",
            )
        if role not in ("admin", "read") or not (
            isinstance(workspace, str) and (not workspace or is_name(workspace, limit=63))
        ):
            raise UsageError(
                "role is admin or read, workspace a name or empty",
                next_step="Correct the role or the workspace.",
            )
        token, expires = await self._tokens.create(
            name, role, workspace, token_ttl(fields.get("ttlSeconds", 30 * 86400))
        )
        return json_response({"name": name, "token": token, "expires": expires}, 201)

    async def revoke_token(self, request: Request) -> Response:
        await unbound_person(self._gate, request, admin=True)
        query(request)
        await self._tokens.revoke(path_name(request, "name"))
        return json_response({"result": "revoked"})

    async def ui_code(self, request: Request) -> Response:
        """A login for the page with the caller's own rights: a reader may ask for it."""
        _, token = await self._gate.person(request, reading=True)
        query(request)
        code = self._gate.sessions.code(token)
        return json_response(
            {"code": code, "url": f"{self._public_url}/login#{code}", "seconds": CODE_SECONDS}
        )


def token_ttl(value: Any) -> int:
    """Seconds from a request. Raises UsageError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_TTL:
        raise UsageError(
            "ttlSeconds is not a number of seconds from 1 to ten years",
            next_step="Write for example 3600.",
        )
    return value
