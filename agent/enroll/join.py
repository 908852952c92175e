"""How a `run` comes to its identity: from the state directory, from a Secret of the agent's own
namespace, or by enrolling now.

Rule: a registration token works once, and a Pod's disk lives as long as the Pod. So the key is in
the Secret before it is sent to the manager, the identity after; a second try with the same key and
token is answered like the first. What is in the Secret wins over the directory when both are whole,
since the directory was made from it. Once enrolled, the token is not looked at.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl import jitter
from fleetctl.core.formats.url_path import below, in_namespace
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    Conflict,
    LoginError,
    NotFound,
    TryLater,
    UsageError,
    WriteConflict,
)
from fleetctl.durable import write_whole

from ..controlplane import identity
from ..controlplane.backoff import pause_seconds
from ..controlplane.identity import Identity
from ..host import log
from ..kube.client import Kube
from .request import enrol

FILES = ("identity.key", "identity.json")
_ENROL_SECONDS = 90.0
_MERGE = {"content-type": "application/merge-patch+json"}
_JSON = {"content-type": "application/json"}


class IdentitySecret:
    """The Secret `namespace/name`. The agent needs get and patch on it, and create in its namespace
    only where nobody has made it.
    """

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self._kube, self._name = kube, name
        self._folder = in_namespace(namespace, "secrets")
        self.description = f"Secret {namespace}/{name}"

    async def restore(self, state_dir: Path) -> None:
        """Write what it holds into the directory, which stays as it is when the Secret holds
        nothing. Raises FleetError, OSError.
        """
        content, _ = await self._read()
        whole = all(content.values())
        for file, data in content.items():
            path = state_dir / file
            if (
                data
                and (whole or not path.exists())
                and (not path.exists() or path.read_bytes() != data)
            ):
                write_whole(path, data)

    async def keep(self, state_dir: Path) -> None:
        """Write the directory's key and, when there is one, its identity into the Secret. Raises
        FleetError, Conflict.
        """
        secret_files, version = await self._read()
        local_files = {
            file: (state_dir / file).read_bytes() for file in FILES if (state_dir / file).exists()
        }
        if all(secret_files[file] == data for file, data in local_files.items()):
            return
        if secret_files["identity.key"] not in {b"", local_files["identity.key"]}:
            step = (
                "Run one agent for this Secret; a Deployment of it has one replica and the strategy"
                " Recreate."
            )
            raise Conflict(
                f"{self.description} contains the key of another agent",
                subject=self.description,
                next_step=step,
            )
        data = {file: base64.b64encode(content).decode() for file, content in local_files.items()}
        if version is None:
            body = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": self._name},
                "data": data,
            }
            await self._kube.call("POST", self._folder, msgspec.json.encode(body), _JSON)
        else:
            # The version makes a second writer fail instead of winning.
            body = {"metadata": {"resourceVersion": version}, "data": data}
            await self._kube.call(
                "PATCH", below(self._folder, self._name), msgspec.json.encode(body), _MERGE
            )

    async def _read(self) -> tuple[dict[str, bytes], str | None]:
        """(content by file, empty where there is none; resource version, None when the Secret does
        not exist).
        """
        try:
            secret = await self._kube.call("GET", below(self._folder, self._name))
        except NotFound:
            return dict.fromkeys(FILES, b""), None
        data = secret.get("data") or {}
        return {file: base64.b64decode(data.get(file, "")) for file in FILES}, str(
            secret["metadata"]["resourceVersion"]
        )


@dataclass(frozen=True)
class Joining:
    """`url` "" : this run does not enrol. `kubeconfig` and `target_dir` go into the identity, as
    with `fleet-agent enrol`.
    """

    state_dir: Path
    version: str
    secret: IdentitySecret | None = None
    url: str = ""
    ca_pin: str = ""
    token_file: Path | None = None
    kubeconfig: str = ""
    target_dir: str = ""


async def join(
    joining: Joining, on_wait: Callable[[str], None]
) -> tuple[Identity, Ed25519PrivateKey]:
    """The identity and its key. While the manager or the API server is away it waits, and `told`
    hears why every few seconds; what a person must mend is raised: UsageError, LoginError,
    RefusedError, ForbiddenRequest.
    """
    failures = 0
    while True:
        try:
            credentials = await _join_once(joining)
            log.over("enrolment")
            return credentials
        except (TryLater, ClusterUnreachable) as error:
            failures += 1
            log.trouble("enrolment", error.summary)
            pause = pause_seconds(failures, jitter.fraction(), error)
            await _pause(pause, error.summary, on_wait)
        except WriteConflict as error:
            failures += 1  # somebody else wrote the Secret at the same time: look again
            await _pause(1.0, error.summary, on_wait)


async def _pause(seconds: float, reason: str, on_wait: Callable[[str], None]) -> None:
    while seconds > 0:
        on_wait(reason)
        await asyncio.sleep(min(5.0, seconds))
        seconds -= 5.0


async def _join_once(joining: Joining) -> tuple[Identity, Ed25519PrivateKey]:
    folder = joining.state_dir
    if joining.secret:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await joining.secret.restore(folder)
    if not joining.url or (folder / "identity.json").exists():
        credentials = identity.load(folder)
        if joining.secret:
            await joining.secret.keep(folder)
        return credentials
    token = _token(joining.token_file)
    key = identity.key_of(folder)
    if joining.secret:
        await joining.secret.keep(folder)
    try:
        async with asyncio.timeout(_ENROL_SECONDS):
            agent = await enrol(
                joining.url.rstrip("/"), joining.ca_pin, token, key, joining.version
            )
    except TimeoutError as error:
        raise TryLater(
            f"the manager at {joining.url} did not answer in time", subject="manager"
        ) from error
    except LoginError as error:
        step = (
            "Make another one: `fleetctl cluster register NAME --replace`, and put it into the file"
            " or Secret."
        )
        raise LoginError(
            f"the registration token is refused: {error.summary}",
            subject=str(joining.token_file),
            next_step=step,
        ) from error
    identity.save(
        folder,
        msgspec.structs.replace(
            agent, kubeconfig=joining.kubeconfig, target_dir=joining.target_dir
        ),
    )
    if joining.secret:
        await joining.secret.keep(folder)
    log.event(
        "enrolled",
        cluster=f"{agent.workspace}/{agent.cluster}",
        id=agent.cluster_id,
        manager=agent.url,
    )
    return identity.load(folder)


def _token(path: Path | None) -> str:
    """Raises UsageError."""
    try:
        token = path.read_text().strip() if path else ""
    except FileNotFoundError:
        token = ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}",
            subject="--token-file",
            next_step="Correct its rights.",
        ) from error
    if not token:
        step = (
            "Write the token from `fleetctl cluster register NAME` into the file; in a Pod,"
            " into the Secret that is mounted there."
        )
        raise UsageError(
            f"not enrolled yet, and there is no token in {path}",
            subject="--token-file",
            next_step=step,
        )
    return token
