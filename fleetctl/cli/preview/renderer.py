"""Renders bundles for clusters with the code that the manager and the agent run."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.charts.capabilities import HELM_DEFAULT, Capabilities
from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.formats.yaml_stream import objects_of
from fleetctl.core.model.bundle import BundleSpec, Files
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.errors import FleetError
from fleetctl.core.rendering.render import RenderPlan, plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.core.scan.scan import ScannedBundle
from fleetctl.core.targeting.target import Match

_AT_ONCE = 4
_SECONDS = 90.0


@dataclass(frozen=True)
class RenderResult:
    """The objects of one bundle on one cluster, in order, or the error."""

    bundle: BundleSpec
    cluster: Cluster
    plan: RenderPlan | None = None
    texts: list[bytes] = field(default_factory=list)
    error: FleetError | None = None

    @property
    def objects(self) -> list[dict[str, Any]]:
        """To be read, not changed: clusters share them."""
        return [_parse_object(text) for text in self.texts]


@lru_cache(maxsize=20_000)
def _parse_object(text: bytes) -> dict[str, Any]:
    document: dict[str, Any] = load_all(text)[0]
    return document


class Renderer:
    """Renders bundles for clusters. Clusters with the same input share one rendering."""

    def __init__(
        self,
        *,
        hooks: bool = False,
        crds: bool = False,
        capabilities: Capabilities = HELM_DEFAULT,
        reported: Mapping[str, Capabilities] | None = None,
    ) -> None:
        """`reported`: of clusters by their name, for those that `capabilities` gives no version."""
        self._hooks, self._crds = hooks, crds
        self._capabilities, self._reported = capabilities, reported or {}
        self._texts_by_key: dict[str, asyncio.Future[list[bytes]]] = {}
        self._files: dict[str, Files] = {}
        self.runs = 0

    def all(self, pairs: Sequence[tuple[ScannedBundle, Match]]) -> list[RenderResult]:
        """One answer for each, in order."""
        with tempfile.TemporaryDirectory(prefix="fleetctl-") as folder:
            return asyncio.run(self._all(pairs, Path(folder)))

    async def _all(
        self, pairs: Sequence[tuple[ScannedBundle, Match]], folder: Path
    ) -> list[RenderResult]:
        slots = asyncio.Semaphore(_AT_ONCE)
        return list(
            await asyncio.gather(
                *(self._render_one(bundle, match, folder, slots) for bundle, match in pairs)
            )
        )

    async def _render_one(
        self, bundle: ScannedBundle, match: Match, folder: Path, slots: asyncio.Semaphore
    ) -> RenderResult:
        cluster = match.cluster
        facts = ClusterFacts(
            cluster=cluster.name,
            workspace=cluster.workspace,
            labels=cluster.labels,
            annotations=cluster.annotations,
            values=cluster.values,
        )
        render_plan: RenderPlan | None = None
        try:
            files = self._files.setdefault(bundle.spec.archive, {}) or unpack(bundle.archive)
            self._files[bundle.spec.archive] = files
            render_plan = plan(files, match.options, facts, bundle=bundle.spec.name)
            return RenderResult(
                bundle.spec,
                cluster,
                render_plan,
                await self._texts(bundle, match, render_plan, folder, slots),
            )
        except FleetError as error:
            return RenderResult(bundle.spec, cluster, render_plan, error=error)

    async def _texts(
        self,
        bundle: ScannedBundle,
        match: Match,
        render_plan: RenderPlan,
        folder: Path,
        slots: asyncio.Semaphore,
    ) -> list[bytes]:
        overlays = match.options.yaml.overlays if match.options.yaml else None
        capabilities = self._capabilities_of(match.cluster)
        inputs = [
            bundle.spec.archive,
            msgspec.structs.replace(render_plan, files={}),
            overlays,
            capabilities,
        ]
        key = hashlib.sha256(msgspec.json.encode(inputs)).hexdigest()
        if key not in self._texts_by_key:
            self._texts_by_key[key] = asyncio.ensure_future(
                self._run_tools(render_plan, folder / key[:24], slots, capabilities)
            )
        return await asyncio.shield(self._texts_by_key[key])

    def _capabilities_of(self, cluster: Cluster) -> Capabilities:
        requested, cluster_capabilities = (
            self._capabilities,
            self._reported.get(cluster.name, HELM_DEFAULT),
        )
        return Capabilities(
            requested.kube_version or cluster_capabilities.kube_version,
            requested.api_versions or cluster_capabilities.api_versions,
        )

    async def _run_tools(
        self,
        render_plan: RenderPlan,
        workdir: Path,
        slots: asyncio.Semaphore,
        capabilities: Capabilities,
    ) -> list[bytes]:
        import shutil

        from fleetctl.tools import find
        from fleetctl.tools.chart_builder.build import render_objects
        from fleetctl.tools.helm import HelmCli
        from fleetctl.tools.kustomize import Kustomize

        async with slots:
            self.runs += 1
            helm, kustomize = find.helm(), find.kustomize()
            home = workdir.parent / "home"
            cli = HelmCli(helm, kubeconfig=workdir.parent / "none", home=home) if helm else None
            tool = Kustomize(kustomize) if kustomize else None
            try:
                text = await render_objects(
                    render_plan,
                    workdir,
                    helm=cli,
                    kustomize=tool,
                    deadline=_SECONDS,
                    crds=self._crds,
                    capabilities=capabilities,
                )
            finally:
                await asyncio.to_thread(shutil.rmtree, workdir, ignore_errors=True)
        return [
            part
            for part in objects_of(text, "rendered objects")
            if self._hooks or not _is_hook(part)
        ]


def _is_hook(part: bytes) -> bool:
    if b"helm.sh/hook" not in part:
        return False
    meta = load_all(part)[0].get("metadata") or {}
    return "helm.sh/hook" in (meta.get("annotations") or {})
