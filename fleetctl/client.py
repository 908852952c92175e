"""The CLI's one door to the manager: JSON over HTTPS, the manager's own CA pinned, every refusal as one of our errors."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from fleetctl.core.errors import FleetError, LoginError, UnavailableError, every_error
from fleetctl.core.wire import Problem

_SECONDS = 30.0


class Client:
    """`ca_pem` "" trusts the system's authorities. Close it, or use it as a context manager."""

    def __init__(self, url: str, token: str, ca_pem: str = "") -> None:
        self.url = url
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._client = httpx.Client(base_url=url, headers=headers, verify=_context(ca_pem), timeout=_SECONDS)

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, path: str, body: Any = None, *, params: dict[str, str] | None = None, seconds: float = _SECONDS) -> Any:
        """The answer's JSON. `path` below /api/v1/. Raises FleetErrors: the manager's own, or that it cannot be reached."""
        asked = {key: value for key, value in (params or {}).items() if value}
        content = msgspec.json.encode(body) if body is not None else None
        try:
            answer = self._client.request(method, f"/api/v1/{path}", content=content, params=asked, timeout=seconds)
        except httpx.HTTPError as why:
            raise unreachable(self.url, why) from why
        if answer.status_code >= 400:
            raise problem(answer)
        return msgspec.json.decode(answer.content) if answer.content else {}

    def list(self, plural: str, **asked: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"objects/{plural}", params=asked)["items"]
        return found

    def get(self, plural: str, workspace: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", place(plural, workspace, name))
        return found


def place(plural: str, workspace: str, name: str) -> str:
    return f"objects/{plural}/{quote(workspace, safe='')}/{quote(name, safe='')}"


def unreachable(url: str, why: Exception) -> UnavailableError:
    said = str(why) or type(why).__name__
    if "CERTIFICATE_VERIFY_FAILED" in said:
        step = "Log in again with the --ca-pin that the manager printed."
        return UnavailableError(f"the certificate of {url} is not the one that this login trusts", subject=url, next_step=step)
    step = "Start the manager, or correct the address with `fleetctl login`."
    return UnavailableError(f"the manager does not answer: {said}", subject=url, next_step=step)


def problem(answer: httpx.Response) -> FleetError:
    """The manager's refusal, with the exit status that it says."""
    try:
        said = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.DecodeError:
        said = Problem(code="", summary=f"the manager answered {answer.status_code}")
    kinds = {kind.code: kind for kind in every_error()}
    kind = kinds.get(said.code) or (LoginError if answer.status_code == 401 else FleetError)
    try:
        error = kind(said.summary, subject=said.subject, next_step=said.next_step)
    except TypeError:  # it wants a file's place, which stands in the summary already
        error = FleetError(said.summary, subject=said.subject, next_step=said.next_step)
    error.status = said.exit_status or kind.exit_status
    return error


def fetch_ca(url: str, pin: str) -> str:
    """The manager's CA in PEM, when its SHA-256 is `pin`. Raises LoginError, UnavailableError."""
    try:
        answer = httpx.get(f"{url}/install/ca.pem", verify=False, timeout=_SECONDS)  # noqa: S501 - checked against the pin below
    except (httpx.HTTPError, httpx.InvalidURL) as why:
        raise unreachable(url, why) from why
    blocks = answer.text.split("-----END CERTIFICATE-----")
    for block in blocks[:-1]:
        pem = block[block.find("-----BEGIN") :] + "-----END CERTIFICATE-----\n"
        try:
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        except ValueError:
            continue
        if digest == pin.removeprefix("sha256:").lower():
            return pem
    step = "Compare the address and --ca-pin with the line that the manager printed."
    raise LoginError(f"the manager at {url} is not the one that the CA pin names", subject="--ca-pin", next_step=step)


def _context(ca_pem: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca_pem) if ca_pem else ssl.create_default_context()
