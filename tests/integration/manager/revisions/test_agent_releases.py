"""Which cluster should run which agent: a real database, and agents that only speak the wire's
messages.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.model.ids import ClusterId, Digest
from manager.agents.agent_upgrades import UpgradeRequest
from manager.security.signing import Signer
from manager.service import Service, ServiceSettings, _archives_in_use
from manager.store.archives import GRACE_SECONDS

HERE, THERE = ("cpython-3.11", "x86_64-linux-gnu"), ("cpython-3.12", "aarch64-linux-gnu")
W = "fleet-default"
_NUMBERS = itertools.count(1)  # of one instance, a request with an old one changes nothing


def run(folder: Path, work: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        service = Service(folder, signer=Signer.load_or_create(folder), settings=ServiceSettings())
        await service.start()
        try:
            await work(service)
        finally:
            await service.stop()

    asyncio.run(main())


def release(
    version: str, runtime: tuple[str, str] = HERE, text: str = ""
) -> tuple[AgentRelease, bytes]:
    data = f"{version} {runtime} {text}".encode()
    digest = hashlib.sha256(data).hexdigest()
    words = {"version": version, "python": runtime[0], "platform": runtime[1]}
    return AgentRelease(
        **words, size=len(data), sha256=digest, key_id="00" * 8, signature="c2ln"
    ), data


async def cluster(
    service: Service, name: str, runtime: tuple[str, str] | None = HERE, **labels: str
) -> ClusterId:
    made = await service.agents.register(W, name, labels=labels, ttl_seconds=600, replace=False)
    key = Ed25519PrivateKey.generate()
    public = wire.b64(key.public_key().public_bytes_raw())
    proof = wire.b64(key.sign(wire.enrol_bytes(made.token, public)))
    answer = await service.agents.enrol(
        wire.EnrolRequest(token=made.token, public_key=public, proof=proof), address="a"
    )
    if runtime:
        await says(service, answer.cluster_id, runtime=" ".join(runtime))
    return answer.cluster_id


async def says(service: Service, cluster_id: ClusterId, **more: Any) -> None:
    request = wire.StatusRequest(instance="instance", seq=next(_NUMBERS), full=True, **more)
    await service.agents.report(cluster_id, request)


async def wished(service: Service, cluster_id: ClusterId) -> wire.AgentTarget | None:
    envelope = msgspec.json.decode(
        (await service.agents.get_document(cluster_id)).body, type=wire.Envelope
    )
    return msgspec.json.decode(envelope.payload, type=wire.Desired).agent


async def states(service: Service) -> dict[str, str]:
    found = await service.views.list_objects("Cluster", workspace=W)
    return {
        i["metadata"]["name"]: i["status"]["agent"].get("upgrade", {}).get("state", "")
        for i in found
    }


def test_a_wish_stands_in_the_document_and_lets_fetch_its_file_alone(tmp_path: Path) -> None:
    """For the cluster that it is meant for, with the statement as it was added, and after a restart
    as before.
    """
    one, data = release("2.0")
    ids: list[ClusterId] = []

    async def first(service: Service) -> None:
        ids.extend([await cluster(service, "paris"), await cluster(service, "rome")])
        await service.releases.add(one, data)
        before = (await service.agents.get_document(ids[1])).etag
        told = await service.upgrades.request(UpgradeRequest(W, ["paris"], version="2.0"))
        assert (told["wanted"], told["queued"]) == (["paris"], [])
        wish = await wished(service, ids[0])
        assert wish == wire.AgentTarget(number=told["number"], release=one)
        assert (
            await wished(service, ids[1]),
            (await service.agents.get_document(ids[1])).etag,
        ) == (
            None,
            before,
        )
        assert (await service.agents.archive_path(ids[0], Digest(one.sha256))).read_bytes() == data
        with pytest.raises(NotFound):
            await service.agents.archive_path(ids[1], Digest(one.sha256))

    async def second(service: Service) -> None:
        assert (await wished(service, ids[0])) is not None
        with pytest.raises(Conflict, match="1 cluster wants"):
            await service.releases.delete("2.0")
        await service.upgrades.request(UpgradeRequest(W, ["paris"]))
        assert await wished(service, ids[0]) is None
        with pytest.raises(NotFound):
            await service.agents.archive_path(ids[0], Digest(one.sha256))
        assert [item["version"] for item in await service.releases.delete("2.0")] == ["2.0"]
        assert await service.releases.list() == []

    run(tmp_path, first)
    run(tmp_path, second)


def test_what_is_added_must_be_what_was_signed(tmp_path: Path) -> None:
    """Size and SHA-256; one version has one file for a platform, and may be signed again."""
    one, data = release("2.0")

    async def work(service: Service) -> None:
        for wrong in (data + b"!", data[:-1] + b"!", b""):
            with pytest.raises(UsageError, match="not the one that was signed"):
                await service.releases.add(one, wrong)
        assert await service.releases.list() == []
        await service.releases.add(one, data)
        await service.releases.add(
            msgspec.structs.replace(one, replaces_newer=True, signature="b3RoZXI"), data
        )
        await service.releases.add(*release("2.0", THERE))
        with pytest.raises(Conflict, match="other content"):
            await service.releases.add(*release("2.0", HERE, "changed"))
        shown = await service.releases.list()
        assert [(i["platform"], i["replacesNewer"], i["wantedBy"]) for i in shown] == [
            (HERE[1], True, 0),
            (THERE[1], False, 0),
        ]
        assert "signature" not in shown[0]

    run(tmp_path, work)


def test_each_cluster_gets_the_file_for_what_it_runs_on(tmp_path: Path) -> None:
    """All of them or none: one that nothing fits stops the command before anything is stored."""

    async def work(service: Service) -> None:
        paris, rome = (
            await cluster(service, "paris", tier="edge"),
            await cluster(service, "rome", THERE, tier="edge"),
        )
        silent = await cluster(service, "silent", None)
        await service.releases.add(*release("2.0"))
        with pytest.raises(
            UsageError, match=r"cluster rome runs on cpython-3\.12 aarch64-linux-gnu"
        ):
            await service.upgrades.request(UpgradeRequest(W, selector="tier=edge", version="2.0"))
        assert await wished(service, paris) is None
        # there is only one that it can be
        await service.upgrades.request(UpgradeRequest(W, ["silent"], version="2.0"))
        assert await wished(service, silent) is not None
        await service.releases.add(*release("2.0", THERE))
        await service.upgrades.request(UpgradeRequest(W, selector="tier=edge", version="2.0"))
        wishes = [await wished(service, i) for i in (paris, rome)]
        assert [w.release.platform for w in wishes if w] == [HERE[1], THERE[1]]
        with pytest.raises(UsageError, match="has not reported"):
            await service.upgrades.request(UpgradeRequest(W, ["silent"], version="2.0"))
        with pytest.raises(NotFound, match=r"no agent version 9\.9"):
            await service.upgrades.request(UpgradeRequest(W, ["paris"], version="9.9"))
        with pytest.raises(NotFound, match="Cluster nobody"):
            await service.upgrades.request(UpgradeRequest(W, ["paris", "nobody"], version="2.0"))

    run(tmp_path, work)


def test_only_one_that_came_back_makes_room_for_the_next(tmp_path: Path) -> None:
    """Two at once of five: failed and refused ones keep their places, the same report twice counts
    once.
    """

    async def work(service: Service) -> None:
        ids = [await cluster(service, f"c{n}") for n in range(5)]
        await service.releases.add(*release("2.0"))
        told = await service.upgrades.request(
            UpgradeRequest(W, [f"c{n}" for n in range(5)], version="2.0", most="50%")
        )
        assert (told["most"], told["wanted"], told["queued"]) == (
            2,
            ["c0", "c1"],
            ["c2", "c3", "c4"],
        )

        async def report(
            at: int, state: str, message: str = "", number: int = told["number"]
        ) -> None:
            upgrade = wire.AgentUpgrade(
                target_number=number, version="2.0", state=state, message=message
            )
            await says(service, ids[at], upgrade=upgrade, runtime=" ".join(HERE))

        async def now() -> str:
            return " ".join((await states(service)).values())

        await report(0, "checking")
        assert await now() == "wanted wanted queued queued queued"
        await report(0, "done", number=told["number"] - 1)  # of an older wish
        assert await now() == "wanted wanted queued queued queued"
        assert await wished(service, ids[2]) is None
        for _ in range(3):
            await report(0, "done")
        assert await now() == "done wanted wanted queued queued"
        assert await wished(service, ids[2]) is not None
        await report(1, "failed", "it did not check in")
        await report(2, "refused", "upgrades are off")
        assert await now() == "done failed refused queued queued"
        found = await service.views.get_object("Cluster", W, "c1")
        assert found["status"]["agent"]["upgrade"]["message"] == "it did not check in"
        await report(2, "done")
        assert await now() == "done failed done wanted queued"
        await service.upgrades.request(UpgradeRequest(W, ["c1"]))
        assert await now() == "done  done wanted wanted"

    run(tmp_path, work)


@pytest.mark.parametrize("most", ["0", "-1", "0%", "101%", "x", "1.5", "%", "²"])
def test_how_many_at_once_is_a_number_or_a_percentage(tmp_path: Path, most: str) -> None:
    """Anything else is refused."""

    async def work(service: Service) -> None:
        await cluster(service, "paris")
        await service.releases.add(*release("2.0"))
        with pytest.raises(UsageError, match="percentage"):
            await service.upgrades.request(UpgradeRequest(W, ["paris"], version="2.0", most=most))

    run(tmp_path, work)


def test_a_file_that_is_offered_is_never_swept(tmp_path: Path) -> None:
    """However old it is; one that was deleted goes after the grace. The manager's own sweep is not
    running beside it.
    """
    one, data = release("2.0")

    async def main() -> None:
        service = Service(
            tmp_path, signer=Signer.load_or_create(tmp_path), settings=ServiceSettings()
        )
        await service._store.open()
        try:
            await work(service)
        finally:
            await service._store.close()

    async def work(service: Service) -> None:
        await service.releases.add(one, data)
        path = service._archives.path(Digest(one.sha256))
        os.utime(path, (0, 0))

        async def sweep() -> int:
            used = await service._store.read(_archives_in_use)
            return service._archives.sweep(used.__contains__, now=GRACE_SECONDS + 10)

        assert (await sweep(), path.exists()) == (0, True)
        await service.releases.delete("2.0")
        assert (await sweep(), path.exists()) == (1, False)

    asyncio.run(main())
