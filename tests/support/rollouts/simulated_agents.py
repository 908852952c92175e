"""Some clusters under the real service, and the commits that they roll out: agents that answer as a
test says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleetctl.core.model import wire
from fleetctl.core.model.ids import ClusterId
from fleetctl.core.model.status import Report, State
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired, enrol, scanned, serving
from tests.support.waiting import until

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{a: '{value}'}}\n"
BUNDLE = "apps-web"
ONE = "{maxUnavailable: 1}"
CANARY = (
    "{partitions: [{name: canary, clusterSelector: {matchLabels: {canary: 'yes'}}}], approval:"
    " first}"
)
Answer = Callable[[wire.DesiredBundle], Report]


def plain(value: int) -> dict[str, str]:
    """Of a bundle that is handed out at once."""
    return {"web/m.yaml": MAP.format(value=value)}


def files(value: int, strategy: str) -> dict[str, str]:
    return plain(value) | {"web/fleet.yaml": f"rolloutStrategy: {strategy}\n"}


def works(bundle: wire.DesiredBundle) -> Report:
    return Report(
        bundle=bundle.name,
        generation=bundle.generation,
        applied=bundle.generation,
        state=State.READY,
        ready=True,
    )


def breaks(bundle: wire.DesiredBundle) -> Report:
    return Report(
        bundle=bundle.name,
        generation=bundle.generation,
        state=State.ERR_APPLIED,
        message="it does not start",
    )


class Agents:
    """Some clusters, each with an agent that applies its document when `poll` is called."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ids: dict[str, ClusterId] = {}
        self._seq = 0

    async def join(self, *names: str, **labels: str) -> None:
        for name in names:
            self.ids[name] = await enrol(self.service, name, **labels)

    async def versions(self) -> dict[str, str]:
        """The commit that each cluster was told, "" for none."""
        found = {}
        for name, cluster in self.ids.items():
            bundles = (await desired(self.service, cluster)).bundles
            found[name] = bundles[0].commit if bundles else ""
        return found

    async def told(self, commit: str) -> set[str]:
        return {name for name, version in (await self.versions()).items() if version == commit}

    async def poll(self, *names: str, answer: Answer = works) -> None:
        for name in names or tuple(self.ids):
            cluster = self.ids[name]
            document = await desired(self.service, cluster)
            self._seq += 1
            reports = [answer(bundle) for bundle in document.bundles]
            request = wire.StatusRequest(
                instance=f"i-{name}", seq=self._seq, full=True, deployments=reports
            )
            await self.service.agents.note_contact(
                cluster, instance=f"i-{name}", address="::1", stamp=int(self.service._clock())
            )
            await self.service.agents.report(cluster, request)

    async def until_told(self, commit: str, count: int) -> set[str]:
        return await until(lambda: self.told(commit), lambda names: len(names) == count)

    async def states(self) -> dict[str, str]:
        items = await self.service.views.list_objects("BundleDeployment")
        return {i["spec"]["cluster"]: i["status"]["display"]["state"] for i in items}


async def generations(service: Service, agents: Agents) -> dict[str, int]:
    return {
        name: (await desired(service, cluster)).bundles[0].generation
        for name, cluster in agents.ids.items()
    }


async def rollout(service: Service) -> dict[str, Any]:
    return (await service.views.list_rollouts("fleet-default", BUNDLE))[0]


async def message(service: Service) -> str:
    return str((await rollout(service))["status"]["display"]["message"])


async def settled(service: Service) -> None:
    """Every rollout has been looked at since the last news: who has not been told by now waits for
    more news.
    """
    await service._rollout_loop.look()


def phase_is(service: Service, phase: str) -> Any:
    return until(lambda: rollout(service), lambda r: r["status"]["display"]["state"] == phase)


def run(
    folder: Path, work: Callable[[Service, Agents], Any], clock: Callable[[], float] = time.time
) -> None:
    async def main() -> None:
        async with serving(folder, clock) as service:
            await work(service, Agents(service))

    asyncio.run(main())


async def first_commit(
    service: Service, clone: Clone, content: Mapping[str, str | bytes | None], **spec: Any
) -> str:
    """Pushed, and scanned for the repository that is added with it."""
    first = clone.push(content)
    await add(service, clone.url, paths=["web"], **spec)
    await scanned(service, first)
    return first


async def next_commit(
    service: Service, clone: Clone, content: Mapping[str, str | bytes | None]
) -> str:
    commit = clone.push(content)
    await scanned(service, commit)
    return commit


async def everywhere(agents: Agents, commit: str) -> None:
    """Everybody answers until all have it, and say so."""

    async def turn() -> set[str]:
        await agents.poll()
        return await agents.told(commit)

    await until(turn, lambda names: names == set(agents.ids))
    await agents.poll()


async def completed(service: Service, agents: Agents, commit: str) -> None:
    await everywhere(agents, commit)
    await phase_is(service, "Completed")


async def scanned_first(service: Service, agents: Agents, clone: Clone, strategy: str) -> str:
    """The first commit, with which a rollout has come to its end: nothing runs there yet, so nobody
    waits for anybody.
    """
    first = await first_commit(service, clone, files(1, strategy))
    await agents.until_told(first, len(agents.ids))
    await agents.poll()
    await phase_is(service, "Completed")
    return first


async def canary_first(service: Service, agents: Agents, clone: Clone) -> str:
    """The first commit, of which only the canary, a, has been told; b and c wait for it."""
    await agents.join("a", canary="yes")
    await agents.join("b", "c")
    first = await first_commit(service, clone, files(1, CANARY))
    assert await agents.until_told(first, 1) == {"a"}
    return first
