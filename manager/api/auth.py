"""Authenticates people by Bearer token or cookie, and counts failed attempts.

A cookie session holds the token it came from and asks for it again at each request, so that a
revoked token ends its sessions at once. A cookie alone changes nothing: such a request must also
carry the page's own header, which no other site can send.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from fleetctl.core.model.errors import FleetError, LoginError, RefusedError, TooBusy

from ..security.tokens import Person, Tokens
from .server.http_protocol import mark_authenticated

COOKIE = "fleet-session"
PAGE_HEADER = "fleet-page"
CODE_SECONDS, SESSION_SECONDS = 60, 12 * 3600
_CODES_PER_TOKEN, _SESSIONS_PER_TOKEN = 10, 20
STRANGER_FAILURES = 300  # per address and minute: many agents and people may share one address
_BUCKET_KEYS = 10_000
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class _Grant:
    token: str
    until: float


class Sessions:
    """One-time codes and cookies, by hash, in memory: a restart of the manager asks people to log
    in again.

    Each token has its own few codes and sessions, so that no person can push out the sessions of
    another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._codes = _Grants(CODE_SECONDS, _CODES_PER_TOKEN, clock)
        self._sessions = _Grants(SESSION_SECONDS, _SESSIONS_PER_TOKEN, clock)

    def code(self, token: str) -> str:
        """A code for the page's login, good once and for 60 s."""
        return self._codes.add(token)

    def redeem(self, code: str) -> str:
        """The cookie for a code. Raises LoginError when it was used, is old, or never was."""
        token = self._codes.take(code)
        if token is None:
            raise LoginError(
                "this login link was used already or is older than a minute",
                next_step="Run `fleetctl ui` again.",
            )
        return self._sessions.add(token)

    def token(self, cookie: str) -> str | None:
        return self._sessions.token(cookie)

    def end(self, cookie: str) -> None:
        self._sessions.take(cookie)


class _Grants:
    """Random values that stand for a token for `seconds`; the oldest of a token goes when it has
    more than `most`.
    """

    def __init__(self, seconds: float, limit: int, clock: Callable[[], float]) -> None:
        self._seconds, self._limit, self._clock = seconds, limit, clock
        self._grants: dict[bytes, _Grant] = {}
        self._by_token: dict[str, deque[bytes]] = {}

    def add(self, token: str) -> str:
        value = secrets.token_urlsafe(32)
        grants = self._by_token.setdefault(token, deque())
        while grants and (len(grants) >= self._limit or self._live(grants[0]) is None):
            self._grants.pop(grants.popleft(), None)
        grants.append(_hash(value))
        self._grants[_hash(value)] = _Grant(token, self._clock() + self._seconds)
        return value

    def token(self, value: str) -> str | None:
        grant = self._live(_hash(value))
        return grant.token if grant else None

    def take(self, value: str) -> str | None:
        """The token, and the value is worthless from now on."""
        token = self.token(value)
        grant = self._grants.pop(_hash(value), None)
        if grant is not None:
            grants = self._by_token[grant.token]
            grants.remove(_hash(value))
            if not grants:
                del self._by_token[grant.token]
        return token

    def _live(self, key: bytes) -> _Grant | None:
        grant = self._grants.get(key)
        return grant if grant and grant.until >= self._clock() else None


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


class Gate:
    """Admits people by their tokens."""

    def __init__(self, tokens: Tokens, sessions: Sessions) -> None:
        self._tokens, self.sessions = tokens, sessions

    async def person(self, request: Request, *, reading: bool = False) -> tuple[Person, str]:
        """The caller and the token behind. `reading`: the call changes nothing although it is a
        POST. Raises LoginError, RefusedError.
        """
        token, by_cookie = self._token(request)
        person = await self._tokens.check(token) if token else None
        if person is None:
            problem = "the token is wrong, expired or revoked" if token else "this needs a login"
            raise LoginError(problem, next_step="Run `fleetctl login` with a valid token.")
        mark_authenticated(request.scope, "person", person.name)
        changing = request.method not in _READING
        if by_cookie and changing and PAGE_HEADER not in request.headers:
            raise RefusedError(
                "a cookie alone changes nothing", next_step="Use the page or a token."
            )
        if changing and not reading and person.role != "admin":
            summary = f"token {person.name} may read only"
            raise RefusedError(
                summary,
                subject=f"token {person.name}",
                next_step="Use a token with the role admin.",
            )
        return person, token

    def _token(self, request: Request) -> tuple[str, bool]:
        header = request.headers.get("authorization", "")
        if header:
            kind, _, value = header.partition(" ")
            return (value.strip() if kind.lower() == "bearer" and len(value) < 512 else ""), False
        cookie = request.cookies.get(COOKIE, "")
        return (self.sessions.token(cookie) or "") if cookie else "", True


class Bucket:
    """So many failures per key (a token, an address) and minute. Bounded: the oldest key is
    forgotten.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = per_minute, clock
        self._times: OrderedDict[bytes, deque[float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises TooBusy when the key has failed too often."""
        times, now = self._times.get(_hash(key)), self._clock()
        if times is not None and len(times) >= self._limit and times[0] > now - 60:
            raise TooBusy("too many failed attempts", retry_after=max(1, int(times[0] + 60 - now)))

    def fail(self, key: str) -> None:
        times = self._times.setdefault(_hash(key), deque(maxlen=self._limit))
        times.append(self._clock())
        self._times.move_to_end(_hash(key))
        while len(self._times) > _BUCKET_KEYS:
            self._times.popitem(last=False)

    def count_failure(self, key: str, error: FleetError) -> FleetError:
        """Counts `error`; what to answer in its place. A request that succeeds is never refused for
        failures of others.
        """
        try:
            self.check(key)
        except TooBusy as busy:
            return busy
        self.fail(key)
        return error
