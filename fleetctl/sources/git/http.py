"""HTTP for the Git child: one origin only, one pool, each failure told apart.

Rule: nothing but the repository's own origin is asked, so a credential cannot go elsewhere. A
redirect inside it is followed; one that leads away is refused with the new address. dulwich would
also follow a server's `packfile-uris` and the dumb protocol: both are off.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from dulwich.client import AbstractHttpGitClient
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from fleetctl.sources.egress import origin, printable_url
from fleetctl.sources.network_errors import explain

_READ_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_REDIRECTS = 5
_ADVERTISEMENT_TYPE = "application/x-git-upload-pack-advertisement"
_WITH_PASSWORD = "Give the right ones with --username and --password-stdin."  # noqa: S105 - it is advice


class GitRefusal(Exception):
    """What the parent raises: the kind, one line, and the next step."""

    def __init__(self, kind: str, summary: str, next_step: str, *, is_probe: bool = False) -> None:
        """`is_probe`: it tells that something, or nothing, answers at an address that is no
        repository.
        """
        super().__init__(summary)
        self.answer = {"kind": kind, "error": summary, "next_step": next_step, "is_probe": is_probe}


class GitHttpClient(AbstractHttpGitClient):
    """dulwich's smart HTTP over a pool of ours. `shown` is the address as a person wrote it; `most`
    the bytes of one answer.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        parts = urlsplit(request["url"])
        host = parts.netloc.rpartition("@")[2]
        super().__init__(f"{parts.scheme}://{host}", quiet=True)
        self._fetch_capabilities.discard(b"packfile-uris")
        self.path = parts.path or "/"
        self._display_name, self._max_bytes, self._home = (
            request["shown"],
            request["pack"],
            origin(request["url"]),
        )
        user, password = (
            request["username"] or unquote(parts.username or ""),
            request["password"] or unquote(parts.password or ""),
        )
        self._has_login = bool(user or password)
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"} if self._has_login else {}
        # Only these may be connected to; the name is not looked up again, or it could change its
        # mind.
        self._addresses: list[str] = request.get("addresses") or []
        self._pool = _pool(
            parts.scheme,
            host,
            request["ca"],
            pinned_address=parts.hostname if self._addresses else None,
        )

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        """dulwich's hook. Raises Refusal."""
        first = url
        for _ in range(_REDIRECTS):
            if origin(url) != self._home:
                summary = f"{self._display_name} redirects to {printable_url(url)}"
                raise GitRefusal(
                    "refused", summary, "Use that address, if it is the right one.", is_probe=True
                )
            answer = self._send(url, headers or {}, data)
            if data is not None or not answer.get_redirect_location():
                break
            url = urljoin(url, str(answer.get_redirect_location()))
            answer.close()
        else:
            raise GitRefusal(
                "source",
                f"{self._display_name} redirects too often",
                "Correct the address.",
                is_probe=True,
            )
        self._check(answer, is_advertisement=data is None)
        answer.content_type = answer.headers.get("Content-Type")  # type: ignore[attr-defined]
        answer.redirect_location = url if url != first else ""  # type: ignore[attr-defined]
        return answer, self._reader(answer)

    def _send(self, url: str, headers: dict[str, str], data: Any) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        all_headers = {"User-Agent": "git/fleetctl", "Pragma": "no-cache"} | headers | self._headers
        method = "GET" if data is None else "POST"
        places = self._places(url, all_headers)
        for at, place in enumerate(places):
            try:
                return self._pool.request(
                    method,
                    place,
                    body=data,
                    headers=all_headers,
                    timeout=timeout,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
            except (NewConnectionError, ConnectTimeoutError) as error:
                if at == len(places) - 1:
                    raise _no_answer(error, self._display_name) from error
            except (HTTPError, OSError) as error:
                raise _no_answer(error, self._display_name) from error
        raise AssertionError

    def _places(self, url: str, headers: dict[str, str]) -> list[str]:
        """The URL at each address that it may be read from, with the host in `headers`."""
        parts = urlsplit(url)
        if not self._addresses or _proxy(parts.scheme, parts.netloc):
            return [url]
        headers["Host"] = parts.netloc.rpartition("@")[2]
        port = f":{parts.port}" if parts.port else ""
        hosts = [f"[{address}]" if ":" in address else address for address in self._addresses]
        return [urlunsplit(parts._replace(netloc=host + port)) for host in hosts]

    def _check(self, answer: urllib3.BaseHTTPResponse, *, is_advertisement: bool) -> None:
        status, name = answer.status, self._display_name
        if status == 401 and self._has_login:
            raise GitRefusal("login", f"{name} refuses the user or the password", _WITH_PASSWORD)
        if status == 401:
            raise GitRefusal(
                "login",
                f"{name} needs a user and a password",
                "Give them with --username and --password-stdin.",
            )
        if status == 403:
            raise GitRefusal(
                "login", f"{name} forbids this user to read it", "Use a user with this right."
            )
        if status in {404, 410}:
            step = "Correct the address; a private one may need a password."
            raise GitRefusal("not-found", f"{name} is not a Git repository", step, is_probe=True)
        if status == 407:
            raise GitRefusal(
                "source", f"the proxy to {name} requires a login", "Correct HTTPS_PROXY."
            )
        if status != 200:
            raise GitRefusal(
                "source",
                f"{name} answered {status}",
                "Check the server; the manager tries again.",
                is_probe=True,
            )
        kind = str(answer.headers.get("Content-Type"))
        if is_advertisement and kind.partition(";")[0].strip() != _ADVERTISEMENT_TYPE:
            summary = f"{name} is not a Git repository: it answers with {kind[:60]}"
            raise GitRefusal("not-found", summary, "Correct the address.", is_probe=True)

    def _reader(self, answer: urllib3.BaseHTTPResponse) -> Callable[[int], bytes]:
        """Reads at most `_most` bytes in all."""
        bytes_left = self._max_bytes

        def read(size: int = -1) -> bytes:
            nonlocal bytes_left
            try:
                data = answer.read(size if size >= 0 else bytes_left + 1)
            except (HTTPError, OSError) as error:
                raise _no_answer(error, self._display_name) from error
            bytes_left -= len(data)
            if bytes_left < 0:
                raise too_large(self._display_name, self._max_bytes)
            return data

        return read


def too_large(name: str, limit: int) -> GitRefusal:
    """A pack, or what it unpacks to, is past the limit."""
    return GitRefusal(
        "source",
        f"{name} is larger than the {limit // 1024 // 1024} MiB that may be fetched",
        "Make the repository smaller.",
    )


def _pool(scheme: str, host: str, ca: str, *, pinned_address: str | None) -> urllib3.PoolManager:
    """`pinned_address`: the name that the certificate is for, when connections go to addresses."""
    context = ssl.create_default_context(cadata=ca or None)
    proxy = _proxy(scheme, host)
    if proxy:
        return urllib3.ProxyManager(proxy, ssl_context=context)
    if pinned_address and scheme == "https":
        return urllib3.PoolManager(
            ssl_context=context, server_hostname=pinned_address, assert_hostname=pinned_address
        )
    return urllib3.PoolManager(ssl_context=context)


def _proxy(scheme: str, host: str) -> str | None:
    return None if proxy_bypass(host.rpartition("@")[2]) else getproxies().get(scheme)


def _no_answer(error: Exception, name: str) -> GitRefusal:
    return GitRefusal("source", *explain(error, name), is_probe=True)
