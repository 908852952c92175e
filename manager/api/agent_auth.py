"""Authenticates agents by a signature over each request, or by a MAC with the key of a session.

Rule: a request counts once. Its time must be near the manager's, and its nonce is remembered for as
long as that time is accepted.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request

from fleetctl.core.model import wire
from fleetctl.core.model.errors import (
    FleetError,
    LoginError,
    NotEnrolled,
    SessionEnded,
    TooBusy,
    WrongClock,
)
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.session_layout import NEW_SESSION

from ..agents.requests import AgentRequests
from ..security.agent_sessions import AgentSessions
from ..security.signing import Signer, verify
from .server.http_protocol import mark_authenticated

_NONCES_PER_AGENT, _NONCE_AGENTS = 600, 200_000
_AGENT = re.compile(r"c-[0-9a-f]{20}")
_WORD = re.compile(r"[A-Za-z0-9_-]{8,64}")


class RequestClaim(msgspec.Struct, frozen=True):
    """What the headers of an agent's request state, with the key that its signature must hold
    for. `session`: the id of the session whose key made `signature`, "new" when the agent would use
    one, or "".
    """

    agent: ClusterId
    key: bytes
    instance: str
    nonce: str
    stamp: int
    signature: str
    session: str


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
        self._sessions = AgentSessions(signer, uptime)

    async def agent(self, request: Request, body: bytes) -> RequestClaim:
        """The verified claim. Raises LoginError, WrongClock (with the signed time), TooBusy."""
        claim = await self.claim(request)
        self.verify(request, claim, body)
        return claim

    async def claim(self, request: Request) -> RequestClaim:
        """The headers, checked. Raises LoginError, NotEnrolled."""
        agent = request.headers.get(wire.H_AGENT, "")
        if _AGENT.fullmatch(agent):
            await self._agents.prepare(ClusterId(agent))
        return self.read_claim(request.headers)

    def read_claim(self, headers: Mapping[str, str]) -> RequestClaim:
        """The headers, checked. Raises LoginError, NotEnrolled."""
        agent, nonce = headers.get(wire.H_AGENT, ""), headers.get(wire.H_NONCE, "")
        instance = headers.get(wire.H_INSTANCE, "")
        stamp, signature = headers.get(wire.H_TIME, ""), headers.get(wire.H_SIGNATURE, "")
        session = headers.get(wire.H_SESSION, "")
        is_well_formed = (
            _AGENT.fullmatch(agent) and _WORD.fullmatch(nonce) and _WORD.fullmatch(instance)
        )
        if not (
            is_well_formed
            and stamp.isascii()
            and stamp.isdigit()
            and len(stamp) < 16
            and 0 < len(signature) < 128
            and len(session) < 64
        ):
            raise _signature_error("the request is not signed as in wire v1")
        key = self._agents.key_of(ClusterId(agent))
        if key is None:
            raise NotEnrolled
        return RequestClaim(ClusterId(agent), key, instance, nonce, int(stamp), signature, session)

    def check_clock(self, claim: RequestClaim) -> None:
        """Raises WrongClock. The nonces of an earlier run are not known, so a request that was
        signed before this run is refused.
        """
        now = self._clock()
        if not self._is_current(claim.stamp, now):
            signature = wire.b64(self._signer.sign(wire.time_bytes(int(now), claim.nonce)))
            raise WrongClock(
                headers={
                    wire.H_MANAGER_TIME: str(int(now)),
                    wire.H_MANAGER_TIME_SIGNATURE: signature,
                }
            )

    def _is_current(self, stamp: int, now: float) -> bool:
        start_time = now - (self._uptime() - self._start_time)
        return abs(int(now) - stamp) <= wire.CLOCK_SKEW_SECONDS and stamp >= int(start_time)

    def admit(self, claim: RequestClaim, method: str, target: str) -> bool:
        """Whether a request without a body is authentic, current and new; then its nonce is used
        up. A request that is refused here may be checked again with `verify`, which says why.
        """
        if not self._is_current(claim.stamp, self._clock()):
            return False
        if not self._is_authentic(claim, _request_bytes(claim, method, target, b"")):
            return False
        try:
            self._check_nonce(claim.agent, claim.nonce)
        except FleetError:
            return False
        return True

    def _is_authentic(self, claim: RequestClaim, message: bytes) -> bool:
        if _has_session(claim):
            return self._sessions.is_authentic(
                claim.agent, claim.key, claim.session, claim.signature, message
            )
        return _is_signed(claim, message)

    def session_offer(self, claim: RequestClaim) -> str:
        """The value of the header `fleet-session-offer` for a request that asks for a session and
        was verified, else "".
        """
        if claim.session != NEW_SESSION:
            return ""
        return self._sessions.offer(claim.agent, claim.key)

    def verify(self, request: Request, claim: RequestClaim, body: bytes) -> None:
        """Raises NotEnrolled, SessionEnded, WrongClock, LoginError, TooBusy."""
        message = _request_bytes(claim, request.method, _target(request), body)
        if not self._is_authentic(claim, message):
            raise SessionEnded if _has_session(claim) else NotEnrolled
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
                raise TooBusy("this agent sends too many requests", retry_after=30)
        nonces[nonce] = now + 2 * wire.CLOCK_SKEW_SECONDS + 1
        while len(self._nonces) > _NONCE_AGENTS:
            self._nonces.popitem(last=False)


def _request_bytes(claim: RequestClaim, method: str, target: str, body: bytes) -> bytes:
    return wire.request_bytes(
        method,
        target,
        body,
        agent=claim.agent,
        time=claim.stamp,
        nonce=claim.nonce,
        instance=claim.instance,
    )


def _has_session(claim: RequestClaim) -> bool:
    return claim.session not in {"", NEW_SESSION}


def _is_signed(claim: RequestClaim, message: bytes) -> bool:
    try:
        return verify(claim.key, wire.unb64(claim.signature), message)
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
