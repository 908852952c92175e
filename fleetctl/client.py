"""The CLI's one door to the manager: JSON over HTTPS, the manager's own CA pinned, every refusal as
one of our errors.
"""

from __future__ import annotations

import hashlib
import math
import re
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec

# httpx loads its own command line, with rich and pygments, when it finds them. This program never
# uses it, and it costs 0.15 s.
_modules = cast("dict[str, Any]", sys.modules)
_modules.setdefault("httpx._main", None)
import httpx  # noqa: E402

if _modules["httpx._main"] is None:
    del _modules["httpx._main"]

from fleetctl.core.formats.url_path import relative  # noqa: E402
from fleetctl.core.model.errors import (  # noqa: E402
    FleetError,
    LoginError,
    UnavailableError,
    UntrustedCertificate,
    UsageError,
    error_of,
)
from fleetctl.core.model.wire import Problem  # noqa: E402

PAGE_SIZE = 500
_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_UPLOAD_SECONDS = 600.0
_MOST_BYTES, _MOST_CA_BYTES = 512 * 1024 * 1024, 256 * 1024
_PIN = re.compile(r"[0-9a-f]{64}")
# What JSON cannot be and an address may not hold.
_BAD_ADDRESS = (httpx.InvalidURL, UnicodeError, ValueError)


class ItemPage(NamedTuple):
    """A part of a list. `has_next`: more follow; `remaining`: how many, if the manager knows."""

    items: list[dict[str, Any]]
    has_next: bool
    remaining: int | None


class Client:
    """`ca_pem` "" trusts the system's authorities. Close it, or use it as a context manager.

    `deadline`, when set, is the moment (by time.monotonic) until which every call has its answer or
    fails.
    """

    def __init__(self, url: str, token: str, ca_pem: str = "") -> None:
        self.url = url
        self.deadline = math.inf
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        try:
            self._client = httpx.Client(base_url=url, headers=headers, verify=_context(ca_pem))
        except (ssl.SSLError, *_BAD_ADDRESS) as error:
            step = "Log in again with `fleetctl login`."
            raise LoginError(
                f"this login cannot be used: {error}", subject=url, next_step=step
            ) from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, str] | None = None,
        seconds: float = _SECONDS,
    ) -> Any:
        """The answer's JSON, whole within `seconds`. `path` below /api/v1/. Raises the manager's
        own error, or UnavailableError.
        """
        seconds = min(seconds, max(0.1, self.deadline - time.monotonic()))
        query = {key: value for key, value in (params or {}).items() if value}
        content = msgspec.json.encode(body) if body is not None else None
        request = self._client.build_request(
            method, f"/api/v1/{path}", content=content, params=query, timeout=_timeout(seconds)
        )
        status, data = _answer(self._client, request, seconds, _MOST_BYTES)
        if status >= 400:
            raise problem(status, data)
        try:
            return msgspec.json.decode(data) if data else {}
        except msgspec.DecodeError as error:
            step = "Check the address: this does not answer like a manager."
            raise UnavailableError(
                "the answer is not JSON", subject=self.url, next_step=step
            ) from error

    def upload(
        self, path: str, data: bytes, headers: dict[str, str], *, seconds: float = _UPLOAD_SECONDS
    ) -> Any:
        """POST a file's bytes. Raises the manager's own error, or UnavailableError."""
        all_headers = {**headers, "content-type": "application/octet-stream"}
        request = self._client.build_request(
            "POST", f"/api/v1/{path}", content=data, headers=all_headers, timeout=_timeout(seconds)
        )
        status, answer = _answer(self._client, request, seconds, _MOST_BYTES)
        if status >= 400:
            raise problem(status, answer)
        return msgspec.json.decode(answer)

    def download(self, path: str, *, seconds: float = _UPLOAD_SECONDS) -> bytes:
        """The bytes at `path`. Raises the manager's own error, or UnavailableError."""
        request = self._client.build_request("GET", f"/api/v1/{path}", timeout=_timeout(seconds))
        status, data = _answer(self._client, request, seconds, _MOST_BYTES)
        if status >= 400:
            raise problem(status, data)
        return data

    def list(self, plural: str, **query: str) -> list[dict[str, Any]]:
        """All objects that the query selects, requested in pages."""
        return [item for page in self.pages(plural, PAGE_SIZE, **query) for item in page.items]

    def pages(self, plural: str, size: int, **query: str) -> Iterator[ItemPage]:
        """The pages of a list, each of at most `size` objects (0: one page with all), requested
        when they are needed. There is at least one page.
        """
        path, token = relative("objects", plural), ""
        while True:
            limit = str(size) if size else ""
            answer = self.call("GET", path, params={**query, "limit": limit, "continue": token})
            metadata = answer.get("metadata") or {}
            token = str(metadata.get("continue") or "")
            yield ItemPage(answer["items"], token != "", metadata.get("remainingItemCount"))
            if not token:
                return

    def get(self, plural: str, workspace: str, name: str) -> dict[str, Any]:
        document: dict[str, Any] = self.call("GET", place(plural, workspace, name))
        return document


def place(plural: str, workspace: str, name: str) -> str:
    """Path of one object. Raises UsageError for what cannot be a name."""
    return relative("objects", plural, workspace, name)


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))


def _answer(
    client: httpx.Client, request: httpx.Request, seconds: float, max_bytes: int
) -> tuple[int, bytes]:
    """(status, body). httpx's timeout is per read and never fires on a slow drip, so the whole has
    a deadline too.
    """
    end = time.monotonic() + seconds
    content = bytearray()
    try:
        answer = client.send(request, stream=True)
        try:
            for part in answer.iter_bytes():
                content += part
                if len(content) > max_bytes:
                    raise httpx.DecodingError(f"the answer is larger than {max_bytes} bytes")
                if time.monotonic() > end:
                    raise httpx.ReadTimeout(f"no whole answer within {seconds:.0f} s")
        finally:
            answer.close()
    except (httpx.HTTPError, *_BAD_ADDRESS) as error:
        raise unreachable(str(request.url.copy_with(raw_path=b"/")).rstrip("/"), error) from error
    return answer.status_code, bytes(content)


def unreachable(url: str, error: Exception) -> UnavailableError:
    """In words that a person can use: refused, unknown name, silence, or somebody else's
    certificate.
    """
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        detail = (
            "is made out for another name"
            if "mismatch" in text
            else "is not one that this login trusts"
        )
        step = "Log in again with the address and the --ca-pin that the manager printed."
        return UntrustedCertificate(
            f"the manager's certificate {detail}", subject=url, next_step=step
        )
    if isinstance(error, httpx.TimeoutException):
        text = "no answer in time"
    elif "Connection refused" in text:
        text = "no program listens on this address"
    elif (
        "Name or service not known" in text
        or "getaddrinfo" in text
        or "nodename nor servname" in text
    ):
        text = "the name of the host is not known"
    elif "WRONG_VERSION_NUMBER" in text or "record layer" in text:
        text = "it does not speak TLS"
    step = "Start the manager, or correct the address with `fleetctl login`."
    return UnavailableError(f"the manager cannot be reached: {text}", subject=url, next_step=step)


def problem(status: int, data: bytes) -> FleetError:
    """The manager's refusal, with the exit status that it says."""
    try:
        document = msgspec.json.decode(data, type=Problem)
    except msgspec.DecodeError:
        document = Problem(
            code="", summary=f"the manager answered {status}", exit_status=5 if status >= 500 else 0
        )
    error = error_of(
        document.code,
        document.summary,
        subject=document.subject,
        next_step=document.next_step,
        default=LoginError if status == 401 else FleetError,
    )
    error.status = document.exit_status or error.exit_status
    return error


def fetch_ca(url: str, pin: str) -> str:
    """The manager's CA in PEM, when its SHA-256 is `pin` (hex). Raises UsageError, LoginError,
    UnavailableError.
    """
    fingerprint = pin.strip().lower().removeprefix("sha256:").replace(":", "")
    if not _PIN.fullmatch(fingerprint):
        raise UsageError(
            "a CA pin is 64 hex digits",
            subject="--ca-pin",
            next_step="Copy it from the line that the manager printed.",
        )
    # Nothing is believed before the pin has been compared, and nothing secret is sent.
    with httpx.Client(verify=False, timeout=_timeout(_SECONDS)) as client:  # noqa: S501
        try:
            request = client.build_request("GET", f"{url}/install/ca.pem")
        except _BAD_ADDRESS as error:
            raise unreachable(url, error) from error
        status, data = _answer(client, request, _SECONDS, _MOST_CA_BYTES)
    step = "Compare the address and --ca-pin with the line that the manager printed."
    if status != 200:
        raise LoginError(f"{url} answered {status} instead of its CA", subject=url, next_step=step)
    for pem in certificates(data.decode("ascii", "replace")):
        if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == fingerprint:
            return pem
    raise LoginError(
        f"the manager at {url} is not the one that the CA pin names",
        subject="--ca-pin",
        next_step=step,
    )


def certificates(text: str) -> list[str]:
    """The readable PEM certificates of `text`."""
    result = []
    for block in text.split("-----END CERTIFICATE-----")[:-1]:
        pem = block[block.find("-----BEGIN") :] + "-----END CERTIFICATE-----\n"
        try:
            ssl.PEM_cert_to_DER_cert(pem)
        except ValueError:
            continue
        result.append(pem)
    return result


def _context(ca_pem: str) -> ssl.SSLContext:
    """With a pinned certificate nothing else is trusted; it may be an authority in the middle of a
    chain.
    """
    if not ca_pem:
        return ssl.create_default_context()
    context = ssl.create_default_context(cadata=ca_pem)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
