"""One agent at a time, decided by a Lease in a real API server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.host import process_identity
from agent.kube.client import Kube
from agent.kube.lease import Lease
from fleetctl.core.model.errors import LeaseTaken, NotFound
from tests.localkube.kubeapi import LocalKube

pytestmark = pytest.mark.cluster
FAST = {"renew": 0.2, "patience": 1.0}


def elsewhere(instance: str) -> process_identity.Holder:
    """A process of another machine."""
    return process_identity.Holder("other", instance, f"boot-{instance}", "1", "1", "1")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"c-{abs(hash(request.node.name)) % 10**8}-{time.monotonic_ns() % 10**8}"


@asynccontextmanager
async def leases(
    kube: LocalKube, name: str, *who: process_identity.Holder
) -> AsyncIterator[list[Lease]]:
    async with Kube(kube["test"].kubeconfig).open() as door:
        yield [Lease(door, name, me, **FAST) for me in who]


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(play())


async def holder(kube: LocalKube, name: str) -> str:
    async with Kube(kube["test"].kubeconfig).open() as door:
        try:
            found = await door.call(
                "GET", f"/apis/coordination.k8s.io/v1/namespaces/default/leases/fleet-agent-{name}"
            )
        except NotFound:
            return "nobody"
        return str(found["spec"].get("holderIdentity", ""))


def test_it_is_made_renewed_while_something_changes_and_given_back(
    kube: LocalKube, name: str
) -> None:
    """Idle it stays as it was; a second change finds it ours; who comes after the stop need not
    wait.
    """

    async def work() -> None:
        async with leases(kube, name, elsewhere("a"), elsewhere("b")) as (a, b):
            assert await holder(kube, name) == "nobody"
            async with a.hold():
                assert await holder(kube, name) == elsewhere("a").text()
            async with a.hold(), a.hold():
                pass
            await a.give_back()
            assert await holder(kube, name) == ""
            began = time.monotonic()
            await b.take()
            assert time.monotonic() - began < 0.9
            assert await holder(kube, name) == elsewhere("b").text()

    run(work)


def test_a_holder_at_work_is_not_disturbed_and_one_that_does_nothing_is_replaced(
    kube: LocalKube, name: str
) -> None:
    """Judged by what changes; and who was replaced while it lived waits for longer from then on."""

    async def work() -> None:
        async with leases(kube, name, elsewhere("a"), elsewhere("b")) as (a, b):
            async with a.hold():
                with pytest.raises(LeaseTaken, match="process 1 on other"):
                    await b.take()
            await b.take()
            assert await holder(kube, name) == elsewhere("b").text()
            began = time.monotonic()
            await a.take()
            assert time.monotonic() - began > 7
            assert await holder(kube, name) == elsewhere("a").text()

    run(work)


def test_what_is_being_changed_ends_when_another_took_over(kube: LocalKube, name: str) -> None:
    """An agent that stood still, whose lease was taken meanwhile, ends its own work as soon as it
    sees that.
    """

    async def work() -> None:
        async with leases(kube, name, elsewhere("a"), elsewhere("b")) as (a, b):
            loop = asyncio.get_running_loop()

            async def stands_still() -> None:
                async with a.hold():
                    a._renewer.cancel()
                    await b.take()
                    a._renewer = loop.create_task(a._keep_renewing())
                    await asyncio.sleep(30)

            with pytest.raises(LeaseTaken, match="taken over"):
                await stands_still()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            assert await holder(kube, name) == elsewhere("b").text()

    run(work)


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_of_a_process_on_this_machine_the_kernel_is_asked(
    kube: LocalKube, name: str, other_process: subprocess.Popen[bytes]
) -> None:
    """Alive it is refused at once, even if it does nothing; killed it is replaced at once."""
    mine = process_identity.this_process("mine")
    theirs = mine._replace(
        instance="theirs",
        pid=str(other_process.pid),
        start_time=process_identity.start_time_of(other_process.pid),
    )

    async def work() -> None:
        async with leases(kube, name, theirs, mine) as (a, b):
            await a.take()
            began = time.monotonic()
            with pytest.raises(LeaseTaken, match="on this machine"):
                await b.take()
            other_process.kill()
            other_process.wait()
            await b.take()
            assert time.monotonic() - began < 0.9
            assert await holder(kube, name) == mine.text()

    run(work)


def test_without_the_right_it_goes_on_alone(
    kube: LocalKube, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Said once."""

    async def work() -> None:
        async with Kube(kube["test"].kubeconfig).open() as door:
            lease = Lease(
                door.acting_as("system:serviceaccount:default:nobody"), name, elsewhere("a"), **FAST
            )
            for _ in range(3):
                async with lease.hold():
                    pass
        assert await holder(kube, name) == "nobody"

    run(work)
    assert capsys.readouterr().err.count("may not use leases") == 1
