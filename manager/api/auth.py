"""Who is calling: people by Bearer token or cookie, agents by a signature over each request.

A cookie session holds the token it came from and asks for it again at each request, so that a
revoked token ends its sessions at once. A cookie alone changes nothing: such a request must also
carry the page's own header, which no other site can send.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from fleetctl.core.model import wire
from fleetctl.core.model.errors import (
    FleetError,
    LoginError,
    NotEnrolled,
    RefusedError,
    TooBusy,
    WrongClock,
)
from fleetctl.core.model.ids import ClusterId

from ..agents.requests import AgentRequests
from ..security.signing import Signer, verify
from ..security.tokens import Person, Tokens
from .server.http_protocol import mark_authenticated

COOKIE = "fleet-session"
PAGE_HEADER = "fleet-page"
CODE_SECONDS, SESSION_SECONDS = 60, 12 * 3600
_CODES_PER_TOKEN, _SESSIONS_PER_TOKEN = 10, 20
STRANGER_FAILURES = 300  # per address and minute: many agents and people may share one address
_BUCKET_KEYS = 10_000
_NONCES_PER_AGENT, _NONCE_AGENTS = 600, 200_000
_READING = frozenset({"GET", "HEAD"})
_AGENT = re.compile(r"c-[0-9a-f]{20}")
_WORD = re.compile(r"[A-Za-z0-9_-]{8,64}")


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


@dataclass(frozen=True)
class RequestClaim:
    """What the headers of an agent's request state, with the key that its signature must hold
    for.
    """

    agent: ClusterId
    key: bytes
    instance: str
    nonce: str
    stamp: int
    signature: str


class Signatures:
    """Admits agents. `claim` judges the headers before a body is read; `verify` the signature and
    the nonce after it.

    `clock` is the wall clock, which signatures state. `uptime` is a monotonic clock: how long a
    nonce is kept, and what the wall clock shows for the start of this process, do not change when
    somebody sets the wall clock.
    """

    def __init__(
        self,
        agents: AgentRequests,
        signer: Signer,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agents, self._signer, self._clock, self._uptime = agents, signer, clock, uptime
        self._start_time = uptime()
        self._nonces: OrderedDict[str, dict[str, float]] = OrderedDict()

    async def agent(self, request: Request, body: bytes) -> tuple[ClusterId, str]:
        """(cluster id, instance). Raises LoginError, WrongClock (with the signed time), TooBusy."""
        claim = await self.claim(request)
        self.verify(request, claim, body)
        return claim.agent, claim.instance

    async def claim(self, request: Request) -> RequestClaim:
        """The headers, checked. Raises LoginError, NotEnrolled."""
        head = request.headers
        agent, nonce, instance = (
            head.get(name, "") for name in (wire.H_AGENT, wire.H_NONCE, wire.H_INSTANCE)
        )
        stamp, signature = head.get(wire.H_TIME, ""), head.get(wire.H_SIGNATURE, "")
        is_well_formed = (
            _AGENT.fullmatch(agent) and _WORD.fullmatch(nonce) and _WORD.fullmatch(instance)
        )
        if not (
            is_well_formed
            and stamp.isascii()
            and stamp.isdigit()
            and len(stamp) < 16
            and 0 < len(signature) < 128
        ):
            raise _signature_error("the request is not signed as wire v1 says")
        key = self._agents.key_of(ClusterId(agent))
        if key is None:
            raise NotEnrolled
        return RequestClaim(ClusterId(agent), key, instance, nonce, int(stamp), signature)

    def check_clock(self, claim: RequestClaim) -> None:
        """Raises WrongClock. The nonces of an earlier run are not known, so a request that was
        signed before this run is refused.
        """
        now = self._clock()
        start_time = now - (self._uptime() - self._start_time)
        if abs(int(now) - claim.stamp) > wire.CLOCK_SKEW_SECONDS or claim.stamp < int(start_time):
            signature = wire.b64(self._signer.sign(wire.time_bytes(int(now), claim.nonce)))
            raise WrongClock(
                headers={
                    wire.H_MANAGER_TIME: str(int(now)),
                    wire.H_MANAGER_TIME_SIGNATURE: signature,
                }
            )

    def verify(self, request: Request, claim: RequestClaim, body: bytes) -> None:
        """Raises NotEnrolled, WrongClock, LoginError, TooBusy."""
        message = wire.request_bytes(
            request.method,
            _target(request),
            body,
            agent=claim.agent,
            time=claim.stamp,
            nonce=claim.nonce,
            instance=claim.instance,
        )
        if not _is_valid_signature(claim.key, claim.signature, message):
            raise NotEnrolled
        self.check_clock(claim)
        self._check_nonce(claim.agent, claim.nonce)
        mark_authenticated(request.scope, "agent", claim.agent)

    def _check_nonce(self, agent: str, nonce: str) -> None:
        """Each agent has its own room: no other agent can push its nonces out and replay them."""
        now = self._uptime()
        nonces = self._nonces.setdefault(agent, {})
        self._nonces.move_to_end(agent)
        if nonce in nonces:
            raise _signature_error("this request was sent before")
        if len(nonces) >= _NONCES_PER_AGENT:
            for old in [n for n, until in nonces.items() if until < now]:
                del nonces[old]
            if len(nonces) >= _NONCES_PER_AGENT:
                raise TooBusy("this agent asks too often", retry_after=30)
        nonces[nonce] = now + 2 * wire.CLOCK_SKEW_SECONDS + 1
        while len(self._nonces) > _NONCE_AGENTS:
            self._nonces.popitem(last=False)


def _is_valid_signature(key: bytes, signature: str, problem: bytes) -> bool:
    try:
        return verify(key, wire.unb64(signature), problem)
    except ValueError:
        return False


def _target(request: Request) -> str:
    """Path and query exactly as sent: signatures are over bytes, not over a reading of them."""
    path: bytes = request.scope["raw_path"]
    text: bytes = request.scope["query_string"]
    return (path + (b"?" + text if text else b"")).decode("latin-1")


def _signature_error(summary: str) -> LoginError:
    return LoginError(
        summary, next_step="Enrol this agent again with `fleetctl cluster register NAME --replace`."
    )


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
