"""The whole service without HTTP, on a real database and a real Git server, and agents that only
speak the wire's messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import Report, State
from manager.security.signing import Signer
from manager.service import Service, ServiceSettings
from tests.support.waiting import until

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '1'\n"
ALL = [{"name": "all", "clusterSelector": {}}]


@asynccontextmanager
async def serving(folder: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[Service]:
    folder.mkdir(exist_ok=True)
    service = Service(
        folder,
        signer=Signer.load_or_create(folder),
        clock=clock,
        settings=ServiceSettings(poll_seconds=1),
    )
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def run(folder: Path, work: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(folder) as service:
            await work(service)

    asyncio.run(main())


def gitrepo(url: str, name: str = "apps", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "fleet-default"}
    return {
        "apiVersion": "fleet.cattle.io/v1alpha1",
        "kind": "GitRepo",
        "metadata": meta,
        "spec": {"repo": url, "targets": ALL, **spec},
    }


async def add(service: Service, url: str, name: str = "apps", **spec: Any) -> None:
    await service.objects.put("GitRepo", "fleet-default", name, gitrepo(url, name, **spec))


async def scanned(service: Service, commit: str, name: str = "apps") -> dict[str, Any]:
    return await until(
        lambda: service.views.get_object("GitRepo", "fleet-default", name),
        lambda r: r["status"]["commit"] == commit,
    )


async def enrol(service: Service, name: str, **labels: str) -> ClusterId:
    made = await service.agents.register(
        "fleet-default", name, labels=labels, ttl_seconds=600, replace=False
    )
    return (await answer(service, made.token, Ed25519PrivateKey.generate())).cluster_id


async def answer(service: Service, token: str, key: Ed25519PrivateKey) -> wire.EnrolAnswer:
    public = wire.b64(key.public_key().public_bytes_raw())
    proof = wire.b64(key.sign(wire.enrol_bytes(token, public)))
    return await service.agents.enrol(
        wire.EnrolRequest(token=token, public_key=public, proof=proof), address="::1"
    )


async def desired(service: Service, cluster: ClusterId) -> wire.Desired:
    document = await service.agents.get_document(cluster)
    return msgspec.json.decode(
        msgspec.json.decode(document.body, type=wire.Envelope).payload, type=wire.Desired
    )


def ready(bundle: wire.DesiredBundle) -> Report:
    generation = bundle.generation
    return Report(
        bundle=bundle.name, generation=generation, applied=generation, state=State.READY, ready=True
    )
