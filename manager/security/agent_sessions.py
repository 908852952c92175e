"""Session keys of agents. Layout: `fleetctl/core/model/session_layout.py`.

Rule: no key is stored. Each is derived from a secret of this run of the manager, the session's id
(which has its end), the cluster and the agent's public key. So a million sessions take no memory,
and a session ends by itself: after its time, at a restart, and when the cluster is enrolled again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.session_layout import (
    KEY_BYTES,
    SESSION_DOMAIN,
    SESSION_SECONDS,
    SessionOffer,
    format_offer,
    offer_bytes,
    request_mac,
    seal_context,
)
from fleetctl.core.model.wire import b64

from .secret_sealing import seal
from .signing import Signer

_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,10})")


class AgentSessions:
    """`uptime` is a monotonic clock in seconds: sessions do not change their end when somebody sets
    the wall clock.
    """

    def __init__(self, signer: Signer, uptime: Callable[[], float] = time.monotonic) -> None:
        self._signer, self._uptime, self._start_time = signer, uptime, uptime()
        self._secret, self._seal_secret = secrets.token_bytes(32), secrets.token_bytes(32)
        self._run_id = secrets.token_hex(4)

    def offer(self, cluster: ClusterId, public_key: bytes) -> str:
        """The header of a new session, or "" for a public key that nothing can be sealed to."""
        session = f"{self._run_id}-{int(self._seconds() + SESSION_SECONDS)}"
        key = self._derive(cluster, public_key, session)
        try:
            data = seal(self._seal_secret, public_key, seal_context(cluster, session), key)
        except ValueError:
            return ""
        sealed_key = b64(data)
        signature = b64(self._signer.sign(offer_bytes(cluster, session, sealed_key)))
        return format_offer(SessionOffer(session, sealed_key, self._signer.key_id, signature))

    def is_authentic(
        self, cluster: ClusterId, public_key: bytes, session: str, mac: str, message: bytes
    ) -> bool:
        """Whether the session has not ended and `mac` over `message` was made with its key."""
        match = _ID.fullmatch(session)
        if match is None or match[1] != self._run_id or int(match[2]) < self._seconds():
            return False
        expected_mac = request_mac(self._derive(cluster, public_key, session), message)
        return hmac.compare_digest(expected_mac.encode(), mac.encode())

    def _derive(self, cluster: ClusterId, public_key: bytes, session: str) -> bytes:
        """BLAKE2 is a keyed hash by itself, and takes a third of the time of HMAC here."""
        data = SESSION_DOMAIN + public_key + f"{cluster}\n{session}".encode()
        return hashlib.blake2b(data, key=self._secret, digest_size=KEY_BYTES).digest()

    def _seconds(self) -> float:
        return self._uptime() - self._start_time
