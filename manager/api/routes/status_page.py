"""The status page: files of our own, nothing from elsewhere, a policy that allows no inline script.
Login by a one-time code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fleetctl.core.model.errors import FleetError, LoginError, NotFound, RefusedError, UsageError

from ..auth import COOKIE, PAGE_HEADER, SESSION_SECONDS, STRANGER_FAILURES, Bucket, Gate
from ..request_parsing import mapping, query
from ..server.etags import client_tags, has_tag
from ..server.limits import STRANGERS

MAX_LOGIN_BYTES = 4 * 1024
_STATIC = Path(__file__).parents[1] / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src"
        " 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=31536000",
    "cache-control": "no-cache",
}


class PageApi:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._strangers = Bucket(per_minute=STRANGER_FAILURES)
        self._files = {
            path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _TYPES
        }

    def routes(self) -> list[Route]:
        return [
            Route("/", self.home, methods=["GET"]),
            Route("/login", self.login_page, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/static/{name}", self.static, methods=["GET"]),
            Route("/favicon.ico", self.icon, methods=["GET"]),
        ]

    async def home(self, request: Request) -> Response:
        """The page itself holds no data; without a login it leads to the login page."""
        try:
            await self._gate.person(request)
        except LoginError:
            return RedirectResponse("/login", status_code=303, headers=PAGE_HEADERS)
        return self._file("index.html", request)

    async def login_page(self, request: Request) -> Response:
        return self._file("login.html", request)

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"], request)

    async def icon(self, request: Request) -> Response:
        return self._file("icon.svg", request)

    async def login(self, request: Request) -> Response:
        """204 and the cookie. Only JSON from the page's own origin: no other site can log a browser
        in.
        """
        query(request)
        _same_origin(request)
        address = request.client.host if request.client else ""
        try:
            code = (await mapping(request, ("code",), MAX_LOGIN_BYTES, STRANGERS)).get("code")
            if not isinstance(code, str):
                raise UsageError("a login needs its code", next_step="Run `fleetctl ui`.")
            cookie = self._gate.sessions.redeem(code)
        except FleetError as error:
            raise self._strangers.count_failure(address, error) from error
        response = Response(status_code=204, headers={"cache-control": "no-store"})
        response.set_cookie(
            COOKIE, cookie, max_age=SESSION_SECONDS, secure=True, httponly=True, samesite="strict"
        )
        return response

    async def logout(self, request: Request) -> Response:
        if PAGE_HEADER not in request.headers:
            raise RefusedError("only the page logs out", next_step="Use the page.")
        self._gate.sessions.end(request.cookies.get(COOKIE, ""))
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
        return response

    def _file(self, name: str, request: Request) -> Response:
        data = self._files.get(name)
        if data is None:
            raise NotFound(
                "there is nothing at this address",
                subject=f"/static/{name[:80]}",
                next_step="Open / for the status page.",
            )
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {**PAGE_HEADERS, "etag": tag}
        if has_tag(tag, client_tags(request)):
            return Response(status_code=304, headers=headers)
        return Response(data, headers={**headers, "content-type": _TYPES[Path(name).suffix]})


def _same_origin(request: Request) -> None:
    origin, kind = request.headers.get("origin", ""), request.headers.get("content-type", "")
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise RefusedError(
            "the login comes from another site", next_step="Open the manager's own page."
        )
    if not kind.startswith("application/json"):
        raise UsageError("a login is JSON", next_step="Run `fleetctl ui`.")
