"""The way from `install` to helm."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.deploy import install as install_module
from agent.deploy.context import ReleaseContext
from agent.deploy.install import install
from agent.kube.impersonation import Rights
from agent.kube.no_cluster import NoCluster
from agent.release.helm_lock import HelmLock
from agent.release.repair import ReleaseRepair
from agent.state.journal import Journal
from agent.state.last_applied import LastApplied
from fleetctl.core.formats.bundle_archive import pack
from fleetctl.core.model.bundle import File
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
from fleetctl.tools.helm import Release, Revision, UpgradeFlags
from fleetctl.tools.helm_fake import FakeHelm

MOST_FRAMES = 5
WEB = BundleName("web")


class DeepHelm(FakeHelm):
    """Remembers the functions between `install` and this upgrade, the innermost first."""

    frames: tuple[str, ...] = ()

    async def upgrade(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, *, deadline: float
    ) -> Revision:
        frame, names = inspect.currentframe(), list[str]()
        while frame is not None and (not names or names[-1] != "install"):
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        self.frames = tuple(names)
        return await super().upgrade(release, chart, values, flags, deadline=deadline)


@pytest.fixture
def helm() -> DeepHelm:
    return DeepHelm()


def release_context(folder: Path, helm: DeepHelm) -> ReleaseContext:
    kube = NoCluster()
    return ReleaseContext(
        uplink=cast("Any", SimpleNamespace()),
        journal=Journal(folder / "journal"),
        last_applied=LastApplied(folder / "objects"),
        helm=helm,
        kube=kube,
        kustomize=None,
        state_dir=folder,
        rights=Rights(kube),
        repair=ReleaseRepair(folder / "objects"),
        helm_lock=HelmLock(folder / "helm.lock"),
    )


async def install_once(folder: Path, helm: DeepHelm) -> int:
    """Install a bundle of one ConfigMap; the generation that the journal says is applied."""
    manifest = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n"
    data = pack({"m.yaml": File(manifest)})
    (folder / "archives").mkdir(parents=True)
    (folder / "archives" / "digest").write_bytes(data)
    bundle = DesiredBundle(
        name=WEB,
        generation=Generation(3),
        archive=Digest("digest"),
        size=len(data),
        options=Options(),
        options_digest=Digest("o"),
    )
    document = Desired(
        workspace=Workspace("w"),
        cluster_id=ClusterId("c"),
        cluster=ClusterName("c"),
        epoch=Epoch(1),
        issued="",
        expires="",
        bundles=[bundle],
    )
    context = release_context(folder, helm)
    try:
        await install(context, document, bundle)
        return context.journal.entries[WEB].applied
    finally:
        context.journal.close()
        await context.sandbox.close()


def test_install_reaches_helm_in_five_frames(tmp_path: Path, helm: DeepHelm) -> None:
    assert asyncio.run(install_once(tmp_path, helm)) == 3
    assert helm.frames[-1] == "install"
    assert len(helm.frames) <= MOST_FRAMES, helm.frames


def test_no_step_is_a_callback_in_a_callback() -> None:
    """The modules of the release engine define no function inside a function, but for the one that
    reads many objects at once.
    """
    folder = Path(install_module.__file__).parent
    for name in ("install", "apply", "helm_run", "shape", "claims"):
        tree = ast.parse((folder / f"{name}.py").read_text())
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        inner = [
            node.name
            for function in functions
            for node in ast.walk(function)
            if node is not function
            and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ]
        assert inner == []
