"""What `fleet-agent check` finds on the way to the manager: name, connection, TLS, the manager
itself, and the clocks.

Rule: each step says what it has shown, so that the first that fails is where it ends. Only an agent
that does not run is asked for by its key: a second program with one identity would stop both.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model.errors import DuplicateAgent, FleetError, NotEnrolled, UsageError
from fleetctl.core.model.wire import CLOCK_SKEW_SECONDS

from ..controlplane import tls
from ..controlplane.client import Uplink
from ..controlplane.http import httpx
from ..controlplane.identity import Identity
from ..controlplane.pinned_ca import fetch_ca
from ..loops.clock_skew import span
from .finding import CheckFinding, failure

_SECONDS = 10.0
# OpenSSL's X509_V_ERR numbers: what is no certificate of that CA, of another name, out of its
# dates.
_OTHER_CA, _OTHER_NAME, _DATES = (
    frozenset({18, 19, 20, 21}),
    frozenset({62, 63, 64}),
    frozenset({9, 10}),
)


async def before(url: str, pin: str, proxy: str) -> list[CheckFinding]:
    """Before the enrolment: whether `enrol URL --ca-pin PIN` would reach the manager that is
    meant.
    """
    if not url.startswith("https://"):
        raise UsageError(
            f"{url} is not an https address",
            subject="--url",
            next_step="Write it as https://HOST:PORT.",
        )
    findings = await network(url, proxy)
    if any(item.ok is False for item in findings):
        return findings
    ca_pem = ""
    if pin:
        try:
            ca_pem = await fetch_ca(url.rstrip("/"), pin)
        except FleetError as error:
            return [*findings, failure("CA pin", error)]
        findings.append(CheckFinding("CA pin", ok=True, text="is that of the manager's own CA"))
    findings += await check_tls(url, ca_pem, is_pinned=bool(pin), proxy=proxy)
    if not any(item.ok is False for item in findings):
        findings += await check_answer(url, ca_pem)
    return findings


async def after(
    identity: Identity, key: Ed25519PrivateKey | None, proxy: str
) -> list[CheckFinding]:
    """Of an enrolled agent; `key` None: one runs, so the manager is not asked in its name."""
    findings = await network(identity.url, proxy)
    if not any(item.ok is False for item in findings):
        findings += await check_tls(
            identity.url, identity.ca_pem, is_pinned=bool(identity.ca_pem), proxy=proxy
        )
    if not any(item.ok is False for item in findings):
        if key is None:
            findings += await check_answer(identity.url, identity.ca_pem)
        else:
            findings += await check_identity(identity, key, proxy)
    return findings


async def network(url: str, proxy: str) -> list[CheckFinding]:
    """Name and connection; only that a proxy is used where there is one."""
    host, port = place(url)
    if proxy:
        return [CheckFinding("network", ok=True, text=f"by the proxy {urlsplit(proxy).hostname}")]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SECONDS):
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        cause = (
            error.strerror if isinstance(error, OSError) and error.strerror else "no answer in time"
        )
        step = "Look at this machine's DNS (/etc/resolv.conf), or correct the address."
        return [
            CheckFinding(
                "network",
                ok=False,
                text=f"the name {host} does not resolve: {cause}",
                next_step=step,
            )
        ]
    address = addresses[0][4][0]
    began = time.monotonic()
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        cause = (
            "no answer in time"
            if isinstance(error, TimeoutError)
            else (os.strerror(error.errno) if error.errno else str(error))
        )
        step = (
            "Check the firewalls between this machine and the manager, and whether the"
            " manager listens on this address."
        )
        return [
            CheckFinding(
                "network",
                ok=False,
                text=f"{host} ({address}) accepts no connection on port {port}: {cause}",
                next_step=step,
            )
        ]
    took = time.monotonic() - began
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return [
        CheckFinding(
            "network",
            ok=True,
            text=f"{host} is {address} and accepts connections on port {port} ({took * 1000:.0f}"
            " ms)",
        )
    ]


async def check_tls(url: str, ca_pem: str, *, is_pinned: bool, proxy: str) -> list[CheckFinding]:
    """The handshake, with the CA that the agent trusts."""
    if proxy:
        return []
    host, port = place(url)
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=tls.context(ca_pem))
    except ssl.SSLCertVerificationError as error:
        return [_not_trusted(error, host, is_pinned=is_pinned)]
    except (OSError, TimeoutError) as error:
        cause = (
            "no answer in time"
            if isinstance(error, TimeoutError)
            else (getattr(error, "reason", "") or error.strerror or str(error))
        )
        step = f"Is it the manager that listens on port {port}? A proxy may also break TLS."
        return [
            CheckFinding(
                "TLS", ok=False, text=f"the handshake with {host} fails: {cause}", next_step=step
            )
        ]
    version = writer.get_extra_info("ssl_object").version()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return [
        CheckFinding(
            "TLS",
            ok=True,
            text=(
                f"{version}, certificate of"
                f" {'the pinned CA' if is_pinned else 'a CA that this machine trusts'}"
            ),
        )
    ]


def _not_trusted(
    error: ssl.SSLCertVerificationError, host: str, *, is_pinned: bool
) -> CheckFinding:
    number = error.verify_code
    if number in _OTHER_NAME:
        step = (
            "Start the manager with --public-url for this address, or use the address that its"
            " certificate names."
        )
        return CheckFinding(
            "TLS", ok=False, text=f"the certificate is not for {host}", next_step=step
        )
    if number in _DATES:
        step = "Set this machine's clock, or renew the manager's certificate."
        return CheckFinding(
            "TLS",
            ok=False,
            text=f"the certificate is not valid now: {error.verify_message}",
            next_step=step,
        )
    if number in _OTHER_CA and is_pinned:
        step = (
            "This is another server, a new CA of the manager, or a proxy that intercepts"
            " TLS. Find out which one before you continue."
        )
        return CheckFinding(
            "TLS",
            ok=False,
            text=f"the certificate of {host} is not of the pinned CA",
            next_step=step,
        )
    step = (
        "Give --ca-pin as `fleetctl cluster register` prints it, or a certificate of a public CA to"
        " the manager."
    )
    return CheckFinding(
        "TLS",
        ok=False,
        text=f"the certificate of {host} is not trusted on this machine: {error.verify_message}",
        next_step=step,
    )


async def check_answer(url: str, ca_pem: str) -> list[CheckFinding]:
    """Whether a manager answers, without a name."""
    try:
        async with (
            asyncio.timeout(_SECONDS),
            httpx.AsyncClient(verify=tls.context(ca_pem), timeout=_SECONDS) as client,
        ):
            answer = await client.get(f"{url.rstrip('/')}/healthz")
    except (httpx.HTTPError, TimeoutError) as error:
        step = "Look at proxies and firewalls that speak HTTP."
        return [
            CheckFinding(
                "manager",
                ok=False,
                text=f"does not answer: {error or type(error).__name__}",
                next_step=step,
            )
        ]
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if answer.status_code not in {200, 503} or kind == "text/html":
        step = (
            "Check proxies, captive portals and the address: the server that answers is not a"
            " manager."
        )
        return [
            CheckFinding(
                "manager",
                ok=False,
                text=f"another server answers (HTTP {answer.status_code}, {kind})",
                next_step=step,
            )
        ]
    return [
        CheckFinding("manager", ok=True, text="answers"),
        *_check_date(answer.headers.get("date", "")),
    ]


def _check_date(date: str) -> list[CheckFinding]:
    try:
        return clock(parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return []


def clock(offset: float) -> list[CheckFinding]:
    """`offset`: seconds to add to this machine's clock to have the manager's."""
    if abs(offset) <= CLOCK_SKEW_SECONDS:
        return []
    step = "Set the clock (NTP). The agent signs with the manager's time meanwhile."
    text = f"is {span(int(abs(offset)))} {'behind' if offset > 0 else 'ahead of'} the manager's"
    return [CheckFinding("clock", ok=None, text=text, next_step=step)]


async def check_identity(
    identity: Identity, key: Ed25519PrivateKey, proxy: str
) -> list[CheckFinding]:
    """As the agent would ask: is its key known, is its document signed?"""
    uplink = Uplink(identity, key, time.time, proxy=proxy)
    try:
        answer = await uplink.fetch_desired("", 0)
        text = "accepts this agent's key"
        if answer:
            document = uplink.verify(answer[1])
            text += (
                f"; its document names {len(document.bundles)} bundles and is signed by the key"
                " that was pinned"
            )
        return [CheckFinding("manager", ok=True, text=text), *clock(uplink.offset)]
    except NotEnrolled as error:
        step = (
            "Run `fleetctl cluster register NAME --replace`, and enrol with the line that it"
            " prints."
        )
        return [
            CheckFinding(
                "manager",
                ok=False,
                text=f"does not know this agent's key: {error.summary}",
                next_step=step,
            )
        ]
    except DuplicateAgent as error:
        step = (
            "Find the other agent (a copied disk?), and enrol one of them with another name"
            " and key: `cluster register`."
        )
        return [CheckFinding("manager", ok=False, text=error.summary, next_step=step)]
    except (FleetError, OSError) as error:
        return [failure("manager", error), *clock(uplink.offset)]
    finally:
        await uplink.close()


def place(url: str) -> tuple[str, int]:
    """Raises UsageError for what is no address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError as error:
        raise UsageError(
            f"{url} is no address: {error}",
            subject="--url",
            next_step="Write it as https://HOST:PORT.",
        ) from error
    if not host:
        raise UsageError(
            f"{url} names no host", subject="--url", next_step="Write it as https://HOST:PORT."
        )
    return host, port
