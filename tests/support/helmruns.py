"""Runs of one release against a helm that fails as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from agent.deploy.context import ReleaseContext
from agent.deploy.helm_run import InstallRequest, ReleaseUpgrade, Step, new_upgrade, run_helm
from agent.state.journal import Entry
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
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.tools.chart_builder.plugin import PreparedChart
from fleetctl.tools.helm import Release, Revision, UpgradeFlags
from fleetctl.tools.helm_errors import translate

RELEASE = Release("web", "shop")
BUNDLE = BundleName("web")


class ScriptedHelm:
    """Each upgrade takes the next text as helm's error, or an error as it is; "" is a success."""

    def __init__(self, failures: Sequence[str | FleetError]) -> None:
        self._failures = list(failures)
        self.flags: list[UpgradeFlags] = []

    async def upgrade(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, *, deadline: float
    ) -> Revision:
        self.flags.append(flags)
        failure = self._failures.pop(0) if self._failures else ""
        if isinstance(failure, FleetError):
            raise failure
        if failure:
            raise translate(f"Error: UPGRADE FAILED: {failure}".encode(), release)
        return Revision(len(self.flags), "deployed")


class ReleaseScript:
    """A release context that does nothing but count: `steps` names what was repaired."""

    def __init__(
        self,
        failures: Sequence[str | FleetError] = (),
        *,
        options: Options | None = None,
        client_side: tuple[str, ...] = (),
        applied: int = 1,
    ) -> None:
        self.helm, self.steps = ScriptedHelm(failures), list[str]()
        self.entry = Entry(
            bundle=BUNDLE,
            generation=Generation(1),
            applied=Generation(applied),
            client_side=client_side,
        )
        self.bundle = DesiredBundle(
            name=BUNDLE,
            generation=Generation(2),
            archive=Digest("a"),
            size=1,
            options=options or Options(),
            options_digest=Digest("o"),
        )
        self.entries = {BUNDLE: self.entry}

    def put(self, entry: Entry) -> None:
        self.entries[BUNDLE] = entry
        self.steps.append("journal")

    async def settle(self, _kube: Any, _bundle: BundleName, _release: Release) -> list[Any]:
        self.steps.append("settle")
        return []

    def context(self) -> ReleaseContext:
        parts = {
            "helm": self.helm,
            "kube": SimpleNamespace(is_there=True),
            "journal": SimpleNamespace(entries=self.entries, put=self.put),
            "repair": self,
            "seconds": 90.0,
        }
        return cast("ReleaseContext", SimpleNamespace(**parts))

    def new_upgrade(self) -> ReleaseUpgrade:
        document = Desired(
            epoch=Epoch(1),
            cluster_id=ClusterId("c"),
            cluster=ClusterName("c"),
            workspace=Workspace("w"),
            issued="",
            expires="",
            bundles=[self.bundle],
        )
        request = InstallRequest(document, self.bundle, self.entry)
        helm_input = PreparedChart(Path("chart"), b"{}")
        return new_upgrade(self.context(), request, RELEASE, helm_input, part=1, part_count=1)

    def run(self, steps: Sequence[Step] = ()) -> Revision:
        """Raises what `run_helm` raises."""
        return asyncio.run(run_helm(self.context(), self.new_upgrade(), steps))

    @property
    def runs(self) -> list[UpgradeFlags]:
        return self.helm.flags
