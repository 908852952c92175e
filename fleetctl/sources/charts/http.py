"""HTTP for charts: every address passes the egress policy, redirects one by one, and a login stays
with its origin.

Rule: what the policy allowed is what is connected to (the address is looked up once). A login goes
to the origin that it was given for, or to the mirror that an administrator put in its place, and
never again after a redirect that left it. https is never left for http.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import msgspec

from fleetctl.core.model.errors import LoginError, RefusedError, SourceError
from fleetctl.sources.egress import EgressPolicy, origin, printable_url
from fleetctl.sources.git.repository import Credential
from fleetctl.sources.mirrors import mirror_url
from fleetctl.sources.network_errors import explain

_REDIRECTS = 5
_TOKEN_BYTES = 64 * 1024
_CHALLENGE_BYTES = 4096
# bounds, so that no header takes quadratic time
_PARAMETER = re.compile(r'(\w{1,40})="([^"]{0,2000})"')
# msgspec reads whole numbers of up to 4,300 digits, in quadratic time.
_LONG_NUMBER = re.compile(rb"[0-9]{400}")
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
# The registry whose tokens come from another host than its charts; `docker login` knows it by heart
# too.
_TOKEN_HOSTS = {"registry-1.docker.io": "auth.docker.io"}


def decode_json(data: bytes) -> Any:
    """The JSON of a foreign server. Raises msgspec.DecodeError, also for very long numbers."""
    if _LONG_NUMBER.search(data):
        raise msgspec.DecodeError("a number is too long")
    return msgspec.json.decode(data)


@dataclass(frozen=True)
class ChartAnswer:
    """`link`: the absolute address of the next page, when there is one."""

    body: bytes
    link: str = ""


@dataclass
class _Step:
    """Where to go next: `url` as it is connected to, whether an administrator vouches for it, and
    whether the login goes along.
    """

    url: str
    trusted: bool
    login: bool
    token: str = ""


@dataclass
class Web:
    """`home`: an address of the origin that `credential` belongs to."""

    credential: Credential | None
    home: str
    mirrors: Mapping[str, str]
    egress: EgressPolicy
    _context: ssl.SSLContext = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._context = ssl.create_default_context()
        if self.credential is not None and self.credential.ca_pem:
            self._context.load_verify_locations(
                cadata=self.credential.ca_pem.decode("ascii", "replace")
            )

    async def get(
        self, url: str, limit: int, *, accept: str = "*/*", may_be_absent: bool = False
    ) -> ChartAnswer | None:
        """At most `limit` bytes of `url`; None where nothing is and that is no error. Raises
        SourceError, RefusedError, LoginError.
        """
        try:
            return await self._get(url, limit, accept, may_be_absent)
        except (ValueError, httpx.InvalidURL) as error:
            name = printable_url(url)
            summary = f"{name} is, or leads to, an address that cannot be read"
            raise SourceError(summary, subject=name, next_step="Correct the address.") from error

    async def _get(
        self, url: str, limit: int, accept: str, may_be_absent: bool
    ) -> ChartAnswer | None:
        step = self._first(url)
        for _ in range(_REDIRECTS + 1):
            answer, body = await self._once(step, url, limit, accept)
            challenge = answer.headers.get("www-authenticate", "")
            if (
                answer.status_code == 401
                and not step.token
                and challenge.lower().startswith("bearer")
            ):
                step.token = await self._bearer(challenge, step)
            elif answer.is_redirect and answer.headers.get("location"):
                step = self._follow_redirect(
                    step, urljoin(step.url, answer.headers["location"]), url
                )
            elif may_be_absent and answer.status_code == 404:
                return None
            else:
                self._check(answer, step, url)
                following = answer.links.get("next", {}).get("url", "")
                return ChartAnswer(body, urljoin(url, following) if following else "")
        raise SourceError(
            f"{printable_url(url)} redirects too often",
            subject=printable_url(url),
            next_step="Correct the address.",
        )

    def _first(self, url: str) -> _Step:
        real = mirror_url(url, self.mirrors)
        login = (
            self.credential is not None
            and bool(self.credential.username)
            and origin(url) == origin(self.home)
        )
        return _Step(real, trusted=real != url, login=login)

    def _follow_redirect(self, step: _Step, url: str, first: str) -> _Step:
        if origin(url) == origin(step.url):
            return _Step(url, step.trusted, step.login, step.token)
        real = mirror_url(url, self.mirrors)
        if urlsplit(step.url).scheme == "https" and urlsplit(real).scheme != "https":
            summary = f"{printable_url(first)} redirects from https to {printable_url(real)}"
            raise RefusedError(
                summary, subject=printable_url(first), next_step="Use another address."
            )
        return _Step(real, trusted=real != url, login=False)

    async def _once(
        self, step: _Step, first: str, limit: int, accept: str
    ) -> tuple[httpx.Response, bytes]:
        """Status and headers, and the body of a 200."""
        name = printable_url(first)
        if (
            httpx.URL(step.url).raw_host.decode("ascii") != origin(step.url)[1]
            and step.url.isascii()
        ):
            raise ValueError(f"two readings of {step.url!r}")
        try:
            async with httpx.AsyncClient(**self._route(step.url)) as client:
                answer = await self._send(client, step, accept)
                try:
                    return answer, await _body(
                        answer, limit, name
                    ) if answer.status_code == 200 else b""
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            summary, advice = explain(error, name)
            raise SourceError(summary, subject=name, next_step=advice) from error

    def _route(self, url: str) -> dict[str, Any]:
        proxy = _proxy(url)
        return {"timeout": _TIMEOUT, "verify": self._context, "trust_env": False} | (
            {"proxy": proxy} if proxy else {}
        )

    async def _send(self, client: httpx.AsyncClient, step: _Step, accept: str) -> httpx.Response:
        """One request, to the first address that takes it."""
        credential = self.credential
        auth = (
            httpx.BasicAuth(credential.username, credential.password)
            if credential is not None and step.login and not step.token
            else None
        )
        # A tarball that is also gzip-encoded on the way would not match its digest: none is asked
        # for.
        headers = {"accept": accept, "accept-encoding": "identity", "user-agent": "fleetctl"}
        headers |= {"authorization": f"Bearer {step.token}"} if step.token else {}
        if _proxy(step.url) or step.trusted:
            if not step.trusted:
                await self._by_proxy(step.url)
            return await client.send(
                client.build_request("GET", step.url, headers=headers), stream=True, auth=auth
            )
        url, last = httpx.URL(step.url), httpx.ConnectError("it has no address")
        for address in await self.egress.addresses(step.url):
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={"host": url.netloc.decode("ascii"), **headers},
                extensions={"sni_hostname": url.host} if url.scheme == "https" else {},
            )
            try:
                return await client.send(request, stream=True, auth=auth)
            except httpx.ConnectError as error:
                last = error
        raise last

    async def _by_proxy(self, url: str) -> None:
        """A proxy looks names up itself; one that is known here is checked all the same."""
        try:
            await self.egress.addresses(url)
        except SourceError:
            return

    def _check(self, answer: httpx.Response, step: _Step, first: str) -> None:
        name, status = printable_url(first), answer.status_code
        if status == 200:
            return
        if status in {401, 403} and step.login:
            step_text = "Correct the Secret that the GitRepo's helmSecretName names."
            raise LoginError(
                f"{name} refuses the user or the password", subject=name, next_step=step_text
            )
        if status in {401, 403}:
            step_text = (
                "Give a user and a password in a Secret that the GitRepo's helmSecretName names."
            )
            raise LoginError(f"{name} requires a login", subject=name, next_step=step_text)
        if status in {404, 410}:
            raise SourceError(
                f"{name} is not there",
                subject=name,
                next_step="Correct the address, the chart's name or its version.",
            )
        raise SourceError(
            f"{name} answered {status}",
            subject=name,
            next_step="Check the server; the manager tries again.",
        )

    async def _bearer(self, challenge: str, step: _Step) -> str:
        """A registry's token, anonymous or for the login, as the OCI distribution specification has
        it.
        """
        parameters = dict(_PARAMETER.findall(challenge[:_CHALLENGE_BYTES]))
        realm = parameters.get("realm", "")
        url = str(
            httpx.URL(
                realm,
                params={key: parameters[key] for key in ("service", "scope") if key in parameters},
            )
        )
        is_first = self._first(url)
        is_first.login = step.login and _may_have_login(origin(step.url), origin(is_first.url))
        answer, body = await self._once(is_first, url, _TOKEN_BYTES, "application/json")
        self._check(answer, is_first, url)
        try:
            document = decode_json(body)
            return str(document.get("token") or document["access_token"])
        except (msgspec.DecodeError, AttributeError, KeyError) as error:
            raise SourceError(
                f"{printable_url(url)} gives no token",
                subject=printable_url(url),
                next_step="Look at the registry.",
            ) from error


def _may_have_login(registry: tuple[str, str, int], realm: tuple[str, str, int]) -> bool:
    """Its own origin; over https also the domain that the registry is part of, and Docker Hub's."""
    if registry == realm:
        return True
    parent = registry[1].endswith("." + realm[1]) and realm[1].count(".") >= 1
    if realm[2] not in {443, registry[2]}:
        return False
    return registry[0] == realm[0] == "https" and (
        parent or _TOKEN_HOSTS.get(registry[1]) == realm[1]
    )


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc.rpartition("@")[2]) else getproxies().get(parts.scheme)


async def _body(answer: httpx.Response, limit: int, name: str) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > limit:
            raise SourceError(
                f"{name} is larger than {limit} bytes", subject=name, next_step="Use a smaller one."
            )
    return bytes(content)
