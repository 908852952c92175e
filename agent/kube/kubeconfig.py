"""Where the cluster is and how to log in there, from a kubeconfig or from inside a Pod.

Rule: what others renew is read again. The kubelet writes a new service account token every hour,
distributions renew the certificates in their kubeconfig, and an agent runs for years: a token file
is looked at before each request, the kubeconfig and the CA when the API server no longer takes what
they said. In a Pod both the agent and helm read one small kubeconfig that names the kubelet's
files.
"""

from __future__ import annotations

import base64
import errno
import ssl
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.formats.yaml import load
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.json_object import JsonObject

from ..controlplane.http import httpx
from ..controlplane.tls import without_dates


@dataclass(frozen=True)
class Access:
    """`namespace`: of the current context, "default" when it names none. `stamp` changes with the
    files that this was read from.
    """

    server: str
    verify: ssl.SSLContext | bool
    auth: httpx.Auth | None
    namespace: str
    stamp: tuple[object, ...]


class TokenFile(httpx.Auth):
    """Bearer token from a file that somebody renews: read again when the file is another one, which
    costs one stat.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._token = path, ""
        self._stamp: tuple[int, ...] | None = None
        self._read()

    def _read(self) -> bool:
        """Whether it was another one. Raises OSError when it is not there and never was."""
        stamp = _file_stamp(self._path)
        if stamp == self._stamp:
            return False
        try:
            self._token = self._path.read_text().strip()
        except OSError:
            if not self._token:
                raise
            return False
        self._stamp = stamp
        return True

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._read()
        request.headers["authorization"] = f"Bearer {self._token}"
        answer = yield request
        if answer.status_code == 401 and self._read():
            request.headers["authorization"] = f"Bearer {self._token}"
            yield request


class BearerToken(httpx.Auth):
    """Bearer token that stands in the kubeconfig."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = self._header
        yield request


def pod_kubeconfig(account: Path, host: str, port: str) -> bytes:
    """A kubeconfig that names the files of the kubelet in `account` (token, ca.crt, namespace).
    Raises UsageError outside of a Pod.

    The same as client-go's InClusterConfig, in a form that helm takes.
    """
    if not host or not port:
        step = (
            "Leave enableServiceLinks and the Pod's environment as Kubernetes makes them, or give"
            " --kubeconfig."
        )
        raise UsageError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
            subject="cluster",
            next_step=step,
        )
    host_text = f"[{host}]" if ":" in host else host
    try:
        namespace = (account / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "pod",
                "cluster": {
                    "server": f"https://{host_text}:{port}",
                    "certificate-authority": str(account / "ca.crt"),
                },
            }
        ],
        "users": [{"name": "pod", "user": {"tokenFile": str(account / "token")}}],
        "contexts": [
            {"name": "pod", "context": {"cluster": "pod", "user": "pod", "namespace": namespace}}
        ],
        "current-context": "pod",
    }
    return msgspec.json.encode(document)


def read(kubeconfig: Path) -> Access:
    """Server, TLS, login. Raises UsageError when the file says nothing usable."""
    try:
        doc = load(kubeconfig.read_bytes(), file=str(kubeconfig))
        current = next(
            c["context"] for c in doc["contexts"] if c["name"] == doc.get("current-context")
        )
        cluster = next(c["cluster"] for c in doc["clusters"] if c["name"] == current["cluster"])
        user: JsonObject = (
            next(
                (u["user"] for u in doc.get("users") or [] if u["name"] == current.get("user")), {}
            )
            or {}
        )
        server = str(cluster["server"])
    except (OSError, StopIteration, KeyError, TypeError) as error:
        step = "Give a kubeconfig with a current context."
        raise UsageError(
            f"{kubeconfig} names no cluster", subject=str(kubeconfig), next_step=step
        ) from error
    try:
        verify, auth = _tls(cluster, user, kubeconfig), _login(user, kubeconfig)
    except (OSError, ValueError, KeyError) as error:
        cause = (
            f"{error.strerror}: {error.filename}"
            if isinstance(error, OSError) and error.filename
            else str(error) or type(error).__name__
        )
        step = "Look at the files and certificates that it names."
        raise UsageError(
            f"the login of {kubeconfig} cannot be read: {cause}",
            subject=str(kubeconfig),
            next_step=step,
        ) from error
    return Access(
        server,
        verify,
        auth,
        str(current.get("namespace") or "default"),
        stamp(kubeconfig, cluster, user),
    )


def stamp(
    kubeconfig: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]
) -> tuple[object, ...]:
    """Differs when one of the files does that are read only once."""
    files = (
        cluster.get("certificate-authority"),
        user.get("client-certificate"),
        user.get("client-key"),
    )
    return (
        _file_stamp(kubeconfig),
        *(_file_stamp(kubeconfig.parent / str(name)) for name in files if name),
    )


def _file_stamp(path: Path) -> tuple[int, ...]:
    """Which file it is now; () when it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _login(user: JsonObject, kubeconfig: Path) -> httpx.Auth | None:
    """As client-go: a token file goes before a token."""
    if user.get("tokenFile"):
        return TokenFile(kubeconfig.parent / str(user["tokenFile"]))
    if user.get("token"):
        return BearerToken(str(user["token"]))
    if user.get("exec") or user.get("auth-provider"):
        step = "Give a kubeconfig with a certificate or a token."
        raise UsageError(
            "a kubeconfig that runs a program to log in is not supported",
            subject=str(kubeconfig),
            next_step=step,
        )
    return (
        httpx.BasicAuth(user["username"], user.get("password", ""))
        if user.get("username")
        else None
    )


def _tls(cluster: JsonObject, user: JsonObject, kubeconfig: Path) -> ssl.SSLContext | bool:
    if not str(cluster["server"]).startswith("https"):
        return True
    authority = cluster.get("certificate-authority-data")
    file = None if authority else cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cadata=base64.b64decode(authority).decode() if authority else None,
        cafile=_resolve(kubeconfig, file) if file else None,
    )
    # Some distributions issue CAs without an authority key identifier, which newer Pythons refuse
    # in strict mode.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if authority or file:
        # Pinned by the kubeconfig as the manager's is by enrolment: a node whose clock is wrong
        # must still see what runs.
        without_dates(context)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if user.get("client-certificate-data"):
        _load_chain(
            context,
            base64.b64decode(user["client-certificate-data"]),
            base64.b64decode(user["client-key-data"]),
        )
    elif user.get("client-certificate"):
        context.load_cert_chain(
            _resolve(kubeconfig, user["client-certificate"]),
            _resolve(kubeconfig, user["client-key"]),
        )
    return context


def _resolve(kubeconfig: Path, name: str) -> str:
    """A file that the kubeconfig names; the ssl module would not say which one is missing."""
    path = kubeconfig.parent / name
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    return str(path)


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python reads these from a file only: one of mode 0600 that is gone at once."""
    with tempfile.NamedTemporaryFile(prefix="fleet-agent-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def read_if_changed(kubeconfig: Path, old: Access) -> Access | None:
    """What the files say now when they are others than those of `old`; None when they are the same
    or cannot be used.
    """
    try:
        access = read(kubeconfig)
    except UsageError:
        return None
    return access if access.stamp != old.stamp else None
