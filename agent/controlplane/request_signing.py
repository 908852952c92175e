"""Authenticates the agent's requests: by its key, or by its session with the manager."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from fleetctl.core.model.session_layout import NEW_SESSION

from .identity import Identity, is_signed
from .session import ManagerSession

_SMALL_SKEW = 30
# A session saves the manager nothing when an agent polls it only a few times.
_SESSION_POLL_SECONDS = 600.0


class RequestSigner:
    """`clock`: Unix seconds of this machine. `offset`: how many seconds the manager's clock is
    ahead of it. `instance`: the id of this run of the agent.
    """

    def __init__(
        self, identity: Identity, key: Ed25519PrivateKey, clock: Callable[[], float]
    ) -> None:
        self._identity, self._key, self._clock = identity, key, clock
        self.session = ManagerSession(identity, key)
        self.instance = secrets.token_urlsafe(12)
        self.offset = 0

    def now(self) -> float:
        """Unix seconds by the manager's clock, as far as the manager has sent it."""
        return self._clock() + self.offset

    def sign(
        self, method: str, target: str, body: bytes, *, session: str, next_poll: float
    ) -> dict[str, str]:
        """The headers that authenticate a request: by the session with this id, or "" by the
        agent's key. `next_poll`: seconds between polls; an agent that polls often asks for a
        session.
        """
        agent, nonce, stamp = self._identity.cluster_id, secrets.token_urlsafe(12), int(self.now())
        message = wire.request_bytes(
            method, target, body, agent=agent, time=stamp, nonce=nonce, instance=self.instance
        )
        headers = {
            wire.H_AGENT: agent,
            wire.H_TIME: str(stamp),
            wire.H_NONCE: nonce,
            wire.H_INSTANCE: self.instance,
        }
        if session:
            headers[wire.H_SESSION] = session
            headers[wire.H_SIGNATURE] = self.session.authenticate(message)
            return headers
        headers[wire.H_SIGNATURE] = wire.b64(self._key.sign(message))
        if next_poll <= _SESSION_POLL_SECONDS:
            headers[wire.H_SESSION] = NEW_SESSION
        return headers

    def take_time(self, headers: Mapping[str, str], nonce: str) -> bool:
        """Sign with the manager's time from now on, if the manager sent it with a refusal of the
        request with this nonce. The machine's clock stays as it is. Returns whether it was sent.
        """
        message = headers.get(wire.H_MANAGER_TIME, "")
        signature = headers.get(wire.H_MANAGER_TIME_SIGNATURE, "")
        if not (message.isascii() and message.isdigit() and len(message) < 16):
            return False
        data = wire.time_bytes(int(message), nonce)
        if not any(is_signed(self._identity, key, signature, data) for key in self._identity.keys):
            return False
        offset = int(message) - int(self._clock())
        # The manager refuses what was signed before it started: a clock that is a little behind
        # must be corrected too.
        self.offset = offset if offset > 0 or offset < -_SMALL_SKEW else 0
        return True
