"""The session of this agent with the manager. Layout: `fleetctl/core/model/session_layout.py`.

Rule: the agent's signature stays the root. A session is used only when a pinned key of the manager
signed its offer, and a request that is refused with it is sent again with a signature.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.session_layout import (
    KEY_BYTES,
    SESSION_SECONDS,
    offer_bytes,
    parse_offer,
    request_mac,
    seal_context,
)

from .identity import Identity, is_signed
from .sealed import open_sealed

_SPARE_SECONDS = 120.0  # a session is given up this long before the manager ends it


class ManagerSession:
    """`clock`: monotonic seconds. A session that the manager ended earlier is ended by `end`."""

    def __init__(
        self,
        identity: Identity,
        key: Ed25519PrivateKey,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity, self._private_key, self._clock = identity, key, clock
        self._session, self._key, self._until = "", b"", 0.0

    @property
    def id(self) -> str:
        """The id of the session, or "" when there is none."""
        return self._session if self._clock() < self._until else ""

    def authenticate(self, message: bytes) -> str:
        """The MAC over the message, as base64."""
        return request_mac(self._key, message)

    def accept(self, offer_text: str) -> None:
        """Use the session that the manager offers from now on. An offer that a pinned key did not
        sign for this agent is ignored.
        """
        offer, cluster = parse_offer(offer_text), self._identity.cluster_id
        if offer is None:
            return
        data = offer_bytes(cluster, offer.session, offer.sealed_key)
        if not is_signed(self._identity, offer.signer, offer.signature, data):
            return
        try:
            context = seal_context(cluster, offer.session)
            key = open_sealed(self._private_key, context, wire.unb64(offer.sealed_key))
        except (RefusedError, ValueError):
            return
        if len(key) == KEY_BYTES:
            self._session, self._key = offer.session, key
            self._until = self._clock() + SESSION_SECONDS - _SPARE_SECONDS

    def end(self) -> None:
        self._session, self._key, self._until = "", b"", 0.0
