"""A thousand status writes a second do not stop one commit from rolling out, one cluster after the
other.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import Report, State
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired, scanned
from tests.support.rollouts.simulated_agents import MAP, Agents, run
from tests.support.waiting import until

NOISY, A_SECOND = 25, 1000
DEADLINE = 60.0


def files(value: int) -> dict[str, str]:
    found = {}
    for name in ("web", "noise"):
        found[f"{name}/m.yaml"] = MAP.format(value=value if name == "web" else 0)
        targets = f"overrideTargets: [{{clusterSelector: {{matchLabels: {{role: {name}}}}}}}]\n"
        found[f"{name}/fleet.yaml"] = targets + "rolloutStrategy: {maxUnavailable: 1}\n"
    return found


class Noise:
    """Agents that report one change after the other, of a bundle that has a rollout too, as fast as
    they are answered and no faster than `A_SECOND` together.
    """

    def __init__(self, service: Service, clusters: list[ClusterId]) -> None:
        self._service, self._clusters, self.sent = service, clusters, 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Noise:
        self._tasks = [asyncio.create_task(self._talk(cluster)) for cluster in self._clusters]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome

    async def _talk(self, cluster: ClusterId) -> None:
        [bundle] = (await desired(self._service, cluster)).bundles
        for seq in range(1, 10**9):
            state = State.READY if seq % 2 else State.NOT_READY
            report = Report(
                bundle=bundle.name,
                generation=bundle.generation,
                applied=bundle.generation,
                state=state,
                ready=seq % 2 == 1,
            )
            request = wire.StatusRequest(
                instance=f"i-{cluster}", seq=seq, full=True, deployments=[report]
            )
            await asyncio.gather(
                self._service.agents.report(cluster, request),
                asyncio.sleep(len(self._clusters) / A_SECOND),
            )
            self.sent += 1


def test_a_commit_rolls_out_while_everybody_else_reports(tmp_path: Path, clone: Clone) -> None:
    """Three clusters, one at a time, beside agents whose every report changes a state and makes a
    rollout be looked at.
    """

    async def work(service: Service, agents: Agents) -> None:
        crowd = Agents(service)
        await crowd.join(*(f"n{n}" for n in range(NOISY)), role="noise")
        await agents.join("a", "b", "c", role="web")
        first = clone.push(files(1))
        await add(service, clone.url, paths=["web", "noise"])
        await scanned(service, first)
        await agents.until_told(first, 3)
        await crowd.until_told(first, NOISY)
        await agents.poll()
        async with Noise(service, list(crowd.ids.values())) as noise:
            second = clone.push(files(2))
            await service.gitrepos.sync("fleet-default", "apps")
            done: set[str] = set()
            for count in (1, 2, 3):
                told = await until(
                    lambda: agents.told(second),
                    lambda names, count=count: len(names) >= count,
                    seconds=DEADLINE,
                )
                assert len(told) == count, "more than one at a time"
                before = noise.sent
                await until(
                    lambda: _sent(noise),
                    lambda sent, before=before: sent > before + 100,
                    seconds=DEADLINE,
                )
                await agents.poll(*told - done)
                done |= told
            rollout = (await service.views.list_rollouts("fleet-default", "apps-web"))[0]
            assert rollout["status"]["display"]["clusters"] == "3/3"

    run(tmp_path / "m", work)


async def _sent(noise: Noise) -> int:
    return noise.sent
