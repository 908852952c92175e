"""The one door to the manager: dials out, trusts the pinned CA alone, signs every request, and ends each within its deadline."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.disk import put_in_place
from agent.failpoints import failpoint
from agent.identity import Identity, verified
from agent.web import httpx
from fleetctl.core import wire
from fleetctl.core.errors import Conflict, FleetError, LoginError, RefusedError, UnavailableError, every_error
from fleetctl.core.ids import Digest, Epoch

_SECONDS = 30.0
_SLOW_SECONDS, _SLOW_BYTES = 120.0, 60_000
_MOST_DOCUMENT = 64 * 1024 * 1024


class Duplicate(Conflict):
    """Another agent has this identity: stop applying."""

    code = "duplicate-agent"


class SendAll(Conflict):
    code = "send-all"


class TryLater(UnavailableError):
    """The manager does not answer, or asks for patience: `after` seconds, 0 unknown."""

    code = "try-later"
    after = 0.0


class Uplink:
    """`clock`: Unix seconds of this machine; the manager's time may be another, and is what we sign with."""

    def __init__(self, identity: Identity, key: Ed25519PrivateKey, clock: Callable[[], float]) -> None:
        self._identity, self._key, self._clock = identity, key, clock
        self.url = identity.url
        self.instance = secrets.token_urlsafe(12)
        self.next_poll = 15.0
        self.offset = 0
        self._client = httpx.AsyncClient(
            base_url=identity.url,
            verify=_context(identity.ca_pem),
            timeout=wire.MAX_WAIT_SECONDS + 20,
            limits=httpx.Limits(keepalive_expiry=900),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def desired(self, etag: str, wait: int, newest: Epoch) -> tuple[str, wire.Envelope] | None:
        """(ETag, document as it was signed) of one that `opened` believes, or None when it is the one that we hold."""
        headers = ({"if-none-match": etag} if etag else {}) | ({"prefer": f"wait={wait}"} if wait else {})
        answer = await self._call("GET", "/agent/v1/desired", headers=headers, seconds=wait + 10 if wait else _SECONDS)
        if answer.status_code == 304:
            return None
        try:
            envelope = msgspec.json.decode(answer.content, type=wire.Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError) as why:
            raise TryLater("what answers is no manager", subject="manager", next_step="Look at what stands between.") from why
        if self.opened(envelope).epoch < newest:
            step = "Look at the manager: a restored one must raise its epoch."
            raise RefusedError("the desired state is from an older manager", subject="manager", next_step=step)
        return answer.headers.get("etag", ""), envelope

    def opened(self, envelope: wire.Envelope) -> wire.Desired:
        """The document, when a pinned key signed it for this cluster. Raises RefusedError."""
        payload = envelope.payload.encode()
        if not verified(self._identity, envelope.key_id, envelope.signature, wire.desired_bytes(payload)):
            step = "Check that the manager was not replaced; enrol again if it was."
            raise RefusedError("the desired state is not signed by a key that this agent knows", subject="manager", next_step=step)
        try:
            document = msgspec.json.decode(payload, type=wire.Desired)
        except msgspec.DecodeError as why:
            step = "Bring the agent to the manager's version."
            raise RefusedError(f"the desired state cannot be read: {why}", subject="manager", next_step=step) from why
        if document.cluster_id != self._identity.cluster_id:
            raise RefusedError("the desired state is for another cluster", subject="manager", next_step="Look at the manager.")
        return document

    async def archive(self, digest: Digest, size: int, path: Path) -> None:
        """Fetch an archive to `path`, going on where a broken download ended; kept only when its hash is its name (I3)."""
        part = path.with_name(f".{path.name}.part")
        failpoint("archive-before-write")
        have = await asyncio.to_thread(lambda: part.stat().st_size if part.exists() else 0)
        if have < size:
            await self._download(digest, part, have)
        failpoint("archive-written")
        await asyncio.to_thread(_kept, part, path, digest, size)
        failpoint("archive-kept")

    async def _download(self, digest: Digest, part: Path, have: int) -> None:
        target = f"/agent/v1/archives/{digest}"
        headers = self._signed("GET", target, b"") | ({"range": f"bytes={have}-"} if have else {})
        try:
            async with self._client.stream("GET", target, headers=headers) as answer:
                if answer.status_code not in {200, 206}:
                    await answer.aread()
                    raise _problem(answer)
                mode = "ab" if answer.status_code == 206 else "wb"
                chunks = answer.aiter_raw(_SLOW_BYTES)
                with part.open(mode) as out:
                    while True:
                        async with asyncio.timeout(_SLOW_SECONDS):
                            chunk = await anext(chunks, b"")
                        if not chunk:
                            return
                        out.write(chunk)
        except (httpx.HTTPError, TimeoutError) as why:
            raise _away(why) from why

    async def report(self, request: wire.StatusRequest) -> None:
        """Returns after the manager has it on its disk. Raises SendAll, Duplicate, TryLater."""
        await self._call("POST", "/agent/v1/status", body=msgspec.json.encode(request))

    async def _call(self, method: str, target: str, *, body: bytes = b"", headers: Any = None, seconds: float = _SECONDS) -> httpx.Response:
        for last in (False, True):
            signed = self._signed(method, target, body) | (headers or {})
            try:
                async with asyncio.timeout(seconds):
                    answer = await self._client.request(method, target, content=body, headers=signed)
            except (httpx.HTTPError, TimeoutError) as why:
                raise _away(why) from why
            if answer.status_code == 401 and not last and self._took_time(answer, signed[wire.H_NONCE]):
                continue
            if answer.status_code >= 400:
                raise _problem(answer)
            self.next_poll = float(answer.headers.get(wire.H_NEXT_POLL, self.next_poll))
            return answer
        raise AssertionError("the second answer is always taken")

    def _signed(self, method: str, target: str, body: bytes) -> dict[str, str]:
        agent, nonce, stamp = self._identity.cluster_id, secrets.token_urlsafe(12), int(self._clock()) + self.offset
        said = wire.request_bytes(method, target, body, agent=agent, time=stamp, nonce=nonce, instance=self.instance)
        signature = wire.b64(self._key.sign(said))
        return {
            wire.H_AGENT: agent,
            wire.H_TIME: str(stamp),
            wire.H_NONCE: nonce,
            wire.H_INSTANCE: self.instance,
            wire.H_SIGNATURE: signature,
        }

    def _took_time(self, answer: httpx.Response, nonce: str) -> bool:
        """Our clock is wrong: sign with the manager's time from now on, and leave the clock alone."""
        said, signature = answer.headers.get(wire.H_MANAGER_TIME, ""), answer.headers.get(wire.H_MANAGER_TIME_SIGNATURE, "")
        if not said.isdigit():
            return False
        data = wire.time_bytes(int(said), nonce)
        if not any(verified(self._identity, key, signature, data) for key in self._identity.keys):
            return False
        self.offset = int(said) - int(self._clock())
        return True


def _kept(part: Path, path: Path, digest: Digest, size: int) -> None:
    data = part.read_bytes() if part.exists() else b""
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        part.unlink(missing_ok=True)
        raise TryLater("an archive arrived broken and is fetched again", subject=f"archive {digest[:12]}", next_step="Wait.")
    put_in_place(part, path)


def _away(why: Exception) -> TryLater:
    said = "it did not answer in time" if isinstance(why, TimeoutError) else str(why) or type(why).__name__
    return TryLater(f"the manager cannot be reached: {said}", subject="manager", next_step="What runs goes on; the agent tries again.")


def _problem(answer: httpx.Response) -> FleetError:
    """The manager's refusal as one of our errors."""
    try:
        said = msgspec.json.decode(answer.content, type=wire.Problem)
    except msgspec.DecodeError:
        said = wire.Problem(code="", summary=f"the manager answered {answer.status_code}")
    text = {"subject": said.subject or "manager", "next_step": said.next_step}
    if said.code in {Duplicate.code, SendAll.code}:
        return (Duplicate if said.code == Duplicate.code else SendAll)(said.summary, **text)
    if answer.status_code in {429, 503} or answer.status_code >= 500:
        later = TryLater(said.summary, **text)
        after = answer.headers.get("retry-after", "")
        later.after = float(after) if after.isdigit() else 0.0
        return later
    kind = next((k for k in every_error() if k.code == said.code), LoginError if answer.status_code == 401 else FleetError)
    try:
        return kind(said.summary, **text)
    except TypeError:
        return FleetError(said.summary, **text)


def _context(ca_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    else:
        context.load_default_certs()
    return context


async def enrol(url: str, ca_pin: str, token: str, key: Ed25519PrivateKey, version: str) -> Identity:
    """Join the manager at `url`. With a pin its CA is fetched and checked against it. Raises LoginError, TryLater, RefusedError."""
    ca_pem = await _fetch_ca(url, ca_pin) if ca_pin else ""
    public = wire.b64(key.public_key().public_bytes_raw())
    proof = wire.b64(key.sign(wire.enrol_bytes(token, public)))
    request = wire.EnrolRequest(token=token, public_key=public, proof=proof, agent_version=version)
    try:
        async with httpx.AsyncClient(verify=_context(ca_pem), timeout=_SECONDS) as client:
            answer = await client.post(f"{url}/agent/v1/enrol", content=msgspec.json.encode(request))
    except httpx.HTTPError as why:
        raise _away(why) from why
    if answer.status_code != 200:
        raise _problem(answer)
    told = msgspec.json.decode(answer.content, type=wire.EnrolAnswer)
    keys = {k.id: k.public_key for k in told.keys if wire.key_id(wire.unb64(k.public_key)) == k.id}
    return Identity(url=url, ca_pem=ca_pem, cluster_id=told.cluster_id, cluster=told.cluster, workspace=told.workspace, keys=keys)


async def _fetch_ca(url: str, pin: str) -> str:
    """The CA that the pin names; what came over an unverified connection is used only when its hash is the pin."""
    # Only enrolment needs these, and a running agent should not hold them.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        async with httpx.AsyncClient(verify=False, timeout=_SECONDS) as client:
            answer = await client.get(f"{url}/install/ca.pem")
    except (httpx.HTTPError, httpx.InvalidURL) as why:
        raise _away(why) from why
    try:
        for found in x509.load_pem_x509_certificates(answer.content):
            if hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest() == pin.removeprefix("sha256:").lower():
                return found.public_bytes(Encoding.PEM).decode()
    except ValueError:
        pass
    step = "Compare the address and --ca-pin with what `fleetctl cluster register` printed."
    raise RefusedError(f"the manager at {url} is not the one that the CA pin names", subject="--ca-pin", next_step=step)
