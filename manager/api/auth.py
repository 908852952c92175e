"""Who is calling: people by Bearer token or cookie, agents by a signature over each request.

A cookie session holds the token it came from and asks for it again at each request, so that a revoked token ends its sessions at
once. A cookie alone changes nothing: such a request must also carry the page's own header, which no other site can send.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from fleetctl.core import wire
from fleetctl.core.errors import LoginError, RefusedError
from fleetctl.core.ids import ClusterId

from ..live import NotEnrolled
from ..signing import Signer, verify
from . import port
from .problems import TooBusy

COOKIE = "fleet-session"
PAGE_HEADER = "fleet-page"
CODE_SECONDS, SESSION_SECONDS = 60, 12 * 3600
_MAX_CODES, _MAX_SESSIONS = 100, 1000
_NONCES_PER_AGENT, _NONCE_AGENTS = 600, 200_000
_READING = frozenset({"GET", "HEAD"})
_AGENT = re.compile(r"c-[0-9a-f]{20}")
_WORD = re.compile(r"[A-Za-z0-9_-]{8,64}")


class WrongClock(LoginError):
    """Carries the manager's signed time, so that the agent can sign with an offset."""

    code = "wrong-clock"

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__("the request's time is more than 5 minutes off", next_step="Sign with the manager's time.")
        self.headers = headers


@dataclass(frozen=True)
class _Held:
    token: str
    until: float


class Sessions:
    """One-time codes and cookies, by hash, in memory: a restart of the manager asks people to log in again."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._codes: OrderedDict[bytes, _Held] = OrderedDict()
        self._sessions: OrderedDict[bytes, _Held] = OrderedDict()

    def code(self, token: str) -> str:
        """A code for the page's login, good once and for 60 s."""
        return self._add(self._codes, token, CODE_SECONDS, _MAX_CODES)

    def redeem(self, code: str) -> str:
        """The cookie for a code. Raises LoginError when it was used, is old, or never was."""
        held = self._codes.pop(_hash(code), None)
        if held is None or held.until < self._clock():
            raise LoginError("this login link was used already or is older than a minute", next_step="Run `fleetctl ui` again.")
        return self._add(self._sessions, held.token, SESSION_SECONDS, _MAX_SESSIONS)

    def token(self, cookie: str) -> str | None:
        held = self._sessions.get(_hash(cookie))
        return held.token if held and held.until >= self._clock() else None

    def end(self, cookie: str) -> None:
        self._sessions.pop(_hash(cookie), None)

    def _add(self, kept: OrderedDict[bytes, _Held], token: str, seconds: int, most: int) -> str:
        value = secrets.token_urlsafe(32)
        kept[_hash(value)] = _Held(token, self._clock() + seconds)
        while len(kept) > most:
            kept.popitem(last=False)
        return value


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


class Gate:
    """Lets people in."""

    def __init__(self, service: port.People, sessions: Sessions) -> None:
        self._service, self.sessions = service, sessions

    async def person(self, request: Request, *, reading: bool = False) -> tuple[port.Person, str]:
        """The caller and the token behind. `reading`: the call changes nothing although it is a POST. Raises LoginError, RefusedError."""
        token, by_cookie = self._token(request)
        found = await self._service.check_token(token) if token else None
        if found is None:
            said = "the token is wrong, expired or revoked" if token else "this needs a login"
            raise LoginError(said, next_step="Run `fleetctl login` with a valid token.")
        changing = request.method not in _READING
        if by_cookie and changing and PAGE_HEADER not in request.headers:
            raise RefusedError("a cookie alone changes nothing", next_step="Use the page or a token.")
        if changing and not reading and found.role != "admin":
            summary = f"token {found.name} may read only"
            raise RefusedError(summary, subject=f"token {found.name}", next_step="Use a token with the role admin.")
        return found, token

    def _token(self, request: Request) -> tuple[str, bool]:
        header = request.headers.get("authorization", "")
        if header:
            kind, _, value = header.partition(" ")
            return (value.strip() if kind.lower() == "bearer" and len(value) < 512 else ""), False
        cookie = request.cookies.get(COOKIE, "")
        return (self.sessions.token(cookie) or "") if cookie else "", True


class Signatures:
    """Lets agents in: signature first, then the clock, then the nonce, so that a stranger learns and fills nothing."""

    def __init__(self, service: port.Agents, signer: Signer, clock: Callable[[], float] = time.time) -> None:
        self._service, self._signer, self._clock = service, signer, clock
        self._nonces: OrderedDict[str, dict[str, float]] = OrderedDict()

    async def agent(self, request: Request, body: bytes) -> tuple[ClusterId, str]:
        """(cluster id, instance). Raises LoginError, WrongClock (with the signed time), TooBusy."""
        head = request.headers
        agent, nonce, instance = (head.get(name, "") for name in (wire.H_AGENT, wire.H_NONCE, wire.H_INSTANCE))
        stamp, signature = head.get(wire.H_TIME, ""), head.get(wire.H_SIGNATURE, "")
        shaped = _AGENT.fullmatch(agent) and _WORD.fullmatch(nonce) and _WORD.fullmatch(instance)
        if not (shaped and stamp.isascii() and stamp.isdigit() and len(stamp) < 16 and 0 < len(signature) < 128):
            raise _unsigned("the request is not signed as wire v1 says")
        key = await self._service.agent_key(ClusterId(agent))
        if key is None:
            raise NotEnrolled
        said = wire.request_bytes(request.method, _target(request), body, agent=agent, time=int(stamp), nonce=nonce, instance=instance)
        if not _verified(key, signature, said):
            raise NotEnrolled
        self._check_clock(int(stamp), nonce)
        self._check_nonce(agent, nonce)
        return ClusterId(agent), instance

    def _check_clock(self, stamp: int, nonce: str) -> None:
        now = int(self._clock())
        if abs(now - stamp) > wire.CLOCK_SKEW_SECONDS:
            signature = wire.b64(self._signer.sign(wire.time_bytes(now, nonce)))
            raise WrongClock({wire.H_MANAGER_TIME: str(now), wire.H_MANAGER_TIME_SIGNATURE: signature})

    def _check_nonce(self, agent: str, nonce: str) -> None:
        """Each agent has room of its own: nobody can push another's nonces out and replay them."""
        now = self._clock()
        used = self._nonces.setdefault(agent, {})
        self._nonces.move_to_end(agent)
        if nonce in used:
            raise _unsigned("this request was sent before")
        if len(used) >= _NONCES_PER_AGENT:
            for old in [n for n, until in used.items() if until < now]:
                del used[old]
            if len(used) >= _NONCES_PER_AGENT:
                raise TooBusy("this agent asks too often", retry_after=30)
        used[nonce] = now + 2 * wire.CLOCK_SKEW_SECONDS + 1
        while len(self._nonces) > _NONCE_AGENTS:
            self._nonces.popitem(last=False)


def _verified(key: bytes, signature: str, said: bytes) -> bool:
    try:
        return verify(key, wire.unb64(signature), said)
    except ValueError:
        return False


def _target(request: Request) -> str:
    """Path and query exactly as sent: signatures are over bytes, not over a reading of them."""
    path: bytes = request.scope["raw_path"]
    text: bytes = request.scope["query_string"]
    return (path + (b"?" + text if text else b"")).decode("latin-1")


def _unsigned(summary: str) -> LoginError:
    return LoginError(summary, next_step="Enrol this agent again with `fleetctl cluster register NAME --replace`.")


class Bucket:
    """So many failures per address and minute; then 429. Bounded: the oldest address is forgotten."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.time) -> None:
        self._limit, self._clock = per_minute, clock
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str) -> None:
        now = self._clock()
        recent = [t for t in self._seen.get(address, []) if t > now - 60]
        if len(recent) >= self._limit:
            raise TooBusy("too many failed attempts from this address", retry_after=max(1, int(recent[0] + 60 - now)))

    def fail(self, address: str) -> None:
        now = self._clock()
        recent = [t for t in self._seen.get(address, []) if t > now - 60]
        self._seen[address] = [*recent[-self._limit :], now]
        self._seen.move_to_end(address)
        while len(self._seen) > 10_000:
            self._seen.popitem(last=False)
