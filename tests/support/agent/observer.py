"""The part of an agent that looks at what runs, alone in this process: real helm and a real (or
fake) API server, no manager.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from agent.deploy.context import ReleaseContext
from agent.drift.observer import Observer
from agent.kube.client import Kube
from agent.kube.impersonation import NAMESPACE, Rights
from agent.loops.observe import Watcher
from agent.loops.report import Teller
from agent.loops.state import LoopState
from agent.release.helm_lock import HelmLock
from agent.release.repair import ReleaseRepair
from agent.state.journal import Entry, Journal
from agent.state.last_applied import LastApplied
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    ClusterName,
    Digest,
    Epoch,
    Generation,
    Workspace,
)
from fleetctl.core.model.options import Options
from fleetctl.core.model.status import ResourceStatus
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.tools.helm import Helm, Release, UpgradeFlags
from tests.support.waiting import until


class _Listener:
    """In the teller's place: counts what it is asked to make anew."""

    def __init__(self) -> None:
        self.refreshed = 0

    def refresh(self, names: list[BundleName] | None = None) -> None:
        self.refreshed += 1


class Looking:
    """An async context manager: while it is open, what was applied through it is looked at.
    `accounts`: namespace of service accounts.
    """

    def __init__(
        self, folder: Path, kube: Kube, helm: Helm | None = None, *, accounts: str = NAMESPACE
    ) -> None:
        self.folder, self.kube, self.helm = folder, kube, helm
        self.teller = _Listener()
        uplink = SimpleNamespace(verify=None, now=time.time, instance="looking", cluster_id="c")
        folder.mkdir(parents=True, exist_ok=True)
        wanted, rights = LastApplied(folder / "objects"), Rights(kube, accounts)
        context = ReleaseContext(
            cast("Any", uplink),
            Journal(folder / "journal"),
            wanted,
            cast("Helm", helm),
            kube,
            None,
            folder,
            rights,
            ReleaseRepair(folder / "settling"),
            HelmLock(folder / "fence"),
        )
        self.at = LoopState(context, Observer(kube, wanted))
        self.watcher = Watcher(self.at, cast("Teller", self.teller), 3600)
        self._options: dict[str, Options] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Looking:
        self._task = asyncio.create_task(self.watcher.watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.at.context.journal.close()
        await self.kube.close()

    async def apply(
        self, name: str, manifest: str, *, namespace: str, options: Options | None = None
    ) -> None:
        """By helm, as a release of this name whose objects are exactly these."""
        chart = self.folder / "charts" / name
        (chart / "templates").mkdir(parents=True, exist_ok=True)
        (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: 0.0.1\n")
        (chart / "templates" / "m.yaml").write_text(manifest)
        assert self.helm is not None
        flags = UpgradeFlags(create_namespace=True)
        done = await self.helm.upgrade(Release(name, namespace), chart, b"{}", flags, deadline=60)
        self.know(name, done.manifest, namespace=namespace, options=options)

    def know(
        self, name: str, manifest: str, *, namespace: str, options: Options | None = None
    ) -> None:
        """As if it had just been applied."""
        bundle = BundleName(name)
        self.at.context.last_applied.keep(bundle, manifest, namespace, name)
        entry = Entry(
            bundle=bundle,
            generation=Generation(1),
            applied=Generation(1),
            release=name,
            namespace=namespace,
        )
        self.at.context.journal.put(entry)
        self.rules(name, options or Options())
        self.at.resources.pop(bundle, None)
        self.at.to_observe.add(bundle)
        self.at.look.set()

    def rules(self, name: str, options: Options) -> None:
        """As a new document with other options brings them."""
        self._options[name] = options
        bundles = [
            DesiredBundle(
                name=BundleName(key),
                generation=Generation(1),
                archive=Digest(""),
                size=0,
                options=value,
                options_digest=Digest(""),
            )
            for key, value in sorted(self._options.items())
        ]
        workspace, cluster = Workspace("w"), ClusterName("c")
        self.at.document = Desired(
            workspace=workspace,
            cluster_id=ClusterId("c"),
            cluster=cluster,
            epoch=Epoch(1),
            issued="",
            expires="",
            bundles=bundles,
        )
        self.at.look.set()

    def objects(self, name: str) -> dict[str, ResourceStatus]:
        """By KIND/NAME; empty before the first look."""
        return {f"{r.kind}/{r.name}": r for r in self.at.resources.get(BundleName(name), [])}

    def states(self, name: str) -> dict[str, str]:
        return {key: r.state for key, r in self.objects(name).items()}

    async def until(
        self, name: str, wanted: Mapping[str, str], *, seconds: float = 40.0
    ) -> dict[str, ResourceStatus]:
        """The objects once their states are these."""

        async def look() -> dict[str, ResourceStatus]:
            return self.objects(name)

        def good(found: dict[str, ResourceStatus]) -> bool:
            return {key: r.state for key, r in found.items()} == dict(wanted)

        return await until(look, good, seconds=seconds)

    async def reach(self, good: Callable[[], bool], *, seconds: float = 40.0) -> None:
        async def look() -> bool:
            return good()

        await until(look, bool, seconds=seconds)

    async def reach_async(
        self, ask: Callable[[], Awaitable[object]], *, seconds: float = 40.0
    ) -> None:
        """Until `ask` is answered instead of refused."""

        async def look() -> bool:
            try:
                await ask()
            except FleetError:
                return False
            return True

        await until(look, bool, seconds=seconds)
