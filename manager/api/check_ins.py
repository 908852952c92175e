"""Answers the check-in of an agent whose document has not changed, before the web framework.

Rule: only the plain case is answered here, and exactly as `routes/agents.py` answers it. A request
with anything unusual (a wait, a body, a header that comes twice, another entity tag, a signature,
time or nonce that does not count) is left to the framework, which answers or refuses it.
"""

from __future__ import annotations

from fleetctl.core.model import wire
from fleetctl.core.model.errors import FleetError

from ..agents.requests import AgentRequests
from ..metrics import Counters
from .agent_auth import RequestClaim, Signatures
from .server.http_protocol import EarlyAnswer

PATH = "/agent/v1/desired"
_RAW_PATH = PATH.encode()
# Headers that make the request more than a plain check-in.
_UNUSUAL = frozenset(
    {b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"prefer", b"range"}
)
_CLAIM = {
    name.encode(): name
    for name in (
        wire.H_AGENT,
        wire.H_TIME,
        wire.H_NONCE,
        wire.H_INSTANCE,
        wire.H_SIGNATURE,
        wire.H_SESSION,
    )
}


class CheckIns:
    """Answers from memory; nothing here waits."""

    def __init__(self, agents: AgentRequests, signatures: Signatures, counters: Counters) -> None:
        self._agents, self._signatures, self.counters = agents, signatures, counters

    def answer(
        self, target: bytes, headers: list[tuple[bytes, bytes]], address: str
    ) -> EarlyAnswer | None:
        """The 304 for a GET of `target`, or None when the framework must answer. `headers`: names
        in lower case.
        """
        if target != _RAW_PATH:
            return None
        fields = dict(headers)
        if len(fields) != len(headers) or not _UNUSUAL.isdisjoint(fields):
            return None
        claim = self._claim(fields)
        if claim is None:
            return None
        etag = self._agents.find_unchanged(claim.agent, claim.instance)
        if not etag or fields.get(b"if-none-match") != etag.encode():
            return None
        if not self._signatures.admit(claim, "GET", PATH):
            return None
        self._agents.note_unchanged(
            claim.agent, instance=claim.instance, address=address, stamp=claim.stamp
        )
        self.counters.count("agent", 304)
        offer = self._signatures.session_offer(claim)
        return EarlyAnswer(_not_modified(etag, self._agents.poll_seconds(), offer), claim.agent)

    def _claim(self, fields: dict[bytes, bytes]) -> RequestClaim | None:
        claim_fields = {}
        for raw, name in _CLAIM.items():
            value = fields.get(raw)
            if value is not None:
                claim_fields[name] = value.decode("latin-1")
        try:
            return self._signatures.read_claim(claim_fields)
        except FleetError:
            return None


def _not_modified(etag: str, poll_seconds: int, offer: str) -> bytes:
    head = f"HTTP/1.1 304 Not Modified\r\netag: {etag}\r\n{wire.H_NEXT_POLL}: {poll_seconds}\r\n"
    if offer:
        head += f"{wire.H_SESSION_OFFER}: {offer}\r\n"
    return head.encode() + b"\r\n"
