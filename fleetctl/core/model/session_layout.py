"""A session of one agent with the manager: the bytes that both sides agree on. Pure; the ciphers
are in `manager/security/agent_sessions.py` and `agent/controlplane/session.py`.

An agent that sends `fleet-session: new` with a signed request may get an offer in the answer
(header `fleet-session-offer`): the id of a session and its key, sealed to the agent's key as
`sealed_layout.py` says, and the manager's signature over both. Until the session ends, a request
may name the session in `fleet-session`, and then its `fleet-signature` is an HMAC-SHA-256 under the
session's key over the bytes that the agent would sign (`wire.request_bytes`). The key does not
travel in the clear: a proxy that ends TLS cannot authenticate as the agent.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from .ids import ClusterId
from .wire import b64

SESSION_DOMAIN = b"fleet-session-v1\n"
SESSION_SECONDS = 3600
KEY_BYTES = 32
NEW_SESSION = "new"  # in `fleet-session`: the agent has none and would use one


class SessionOffer(NamedTuple):
    """The parts of `fleet-session-offer`, which are joined by dots. `sealed_key` and `signature`
    are base64; `signer` is the id of the manager's key.
    """

    session: str
    sealed_key: str
    signer: str
    signature: str


def format_offer(offer: SessionOffer) -> str:
    return ".".join(offer)


def parse_offer(text: str) -> SessionOffer | None:
    """None when the text is no offer."""
    parts = text.split(".")
    return SessionOffer(*parts) if len(parts) == len(SessionOffer._fields) else None


def seal_context(cluster: ClusterId, session: str) -> bytes:
    """What the sealed key is bound to: it opens for no other cluster and no other session."""
    return SESSION_DOMAIN + f"{cluster}\n{session}".encode()


def offer_bytes(cluster: ClusterId, session: str, sealed_key: str) -> bytes:
    """What the manager signs."""
    return SESSION_DOMAIN + f"{cluster}\n{session}\n{sealed_key}".encode()


def request_mac(key: bytes, message: bytes) -> str:
    """The `fleet-signature` of a request with a session, as base64."""
    return b64(hmac.digest(key, message, "sha256"))
