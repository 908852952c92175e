"""What is reported of a bundle was read after its last apply, and is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from agent.drift.observer import Observation, Observer, Subject
from agent.kube.client import Kube
from fleetctl.core.model.ids import BundleName
from tests.support.agent.observer import Looking
from tests.support.network.fake_kube import FakeKube

WEB = BundleName("web")


def maps(*names: str) -> str:
    return "---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n" for name in names
    )


class SlowObserver:
    """Reads as `Observer` does; while `gate` is closed, its results wait."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.gate, self.has_read = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def places(self, bundle: BundleName) -> Any:
        return await self._observer.places(bundle)

    def accept(self, bundle: BundleName, accepted: dict[str, list[str]]) -> None:
        self._observer.accept(bundle, accepted)

    async def look(self, subjects: Sequence[Subject]) -> dict[BundleName, Observation]:
        results = await self._observer.look(subjects)
        self.has_read.set()
        await self.gate.wait()
        return results

    def hold(self) -> None:
        self.gate.clear()
        self.has_read.clear()


class Reported:
    """In the teller's place: the objects of the bundle at each refresh, None before its first
    look.
    """

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        self.objects: list[set[str] | None] = []

    def refresh(self, names: list[BundleName] | None = None) -> None:
        resources = self._looking.at.resources.get(WEB)
        self.objects.append(None if resources is None else {r.name for r in resources})


@pytest.mark.parametrize("change", ["apply", "apply again", "forget"])
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_look_that_an_apply_overtakes_is_not_reported(
    tmp_path: Path, change: str, is_whole: bool
) -> None:
    """A report of Ready for a new version must not rest on objects that were read before it was
    applied, nor on a few of them.
    """

    async def work() -> None:
        async with FakeKube() as server:
            for name in "ab":
                server.put("configmaps", "n", name, {}, release="web")
            async with Looking(tmp_path / "agent", Kube(server.kubeconfig(tmp_path))) as looking:
                looking.at.observer = cast(
                    "Any", observer := SlowObserver(cast("Observer", looking.at.observer))
                )
                looking.watcher._teller = cast("Any", reported := Reported(looking))
                looking.know("web", maps("a", "b"), namespace="n")
                await looking.reach(
                    lambda: len(looking.objects("web")) == 2 and server.watched == 1
                )
                observer.hold()
                if is_whole:
                    looking.at.to_observe.add(WEB)
                    looking.at.look.set()
                else:
                    server.put("configmaps", "n", "a", {}, release="web")
                await observer.has_read.wait()
                begin = len(reported.objects)
                if change == "forget":
                    looking.at.resources.pop(WEB)
                    looking.at.look.set()
                else:
                    server.put(
                        "configmaps",
                        "n",
                        "c",
                        {},
                        release="web" if change == "apply" else "another",
                    )
                    looking.know(
                        "web",
                        maps("a", "b", "c") if change == "apply" else maps("a", "b"),
                        namespace="n",
                    )
                observer.gate.set()
                complete = {"a", "b", "c"} if change == "apply" else {"a", "b"}
                await looking.reach(lambda: complete in reported.objects[begin:])
                assert [
                    names for names in reported.objects[begin:] if names not in (None, complete)
                ] == []

    asyncio.run(work())
