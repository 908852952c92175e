"""What an agent does to one real cluster, bundle by bundle, without a manager: `act.install` and
`act.remove` with real helm.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.deploy import install as act
from agent.deploy import remove as removal
from agent.deploy.context import ReleaseContext
from agent.kube.client import Kube
from agent.kube.impersonation import Rights
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
from fleetctl.core.model.wire import Desired, DesiredBundle, Tombstone
from fleetctl.tools.helm import HelmCli
from fleetctl.tools.kustomize import Kustomize
from tests.localkube.toolchain import tools


class _NoUplink:
    """Every archive is on the disk already."""

    async def archive(self, digest: Digest, size: int, path: Path) -> None:
        raise AssertionError(f"archive {digest} is not there")


class Workbench:
    """The release context of one agent; each call is one event loop, as after a restart that kept
    the state directory.
    """

    def __init__(self, folder: Path, kubeconfig: Path, env: Mapping[str, str]) -> None:
        self.folder, self.kubeconfig, self._env = folder, kubeconfig, env
        for name in ("archives", "work", "helm"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._generation = 0
        self._bundles: dict[str, DesiredBundle] = {}

    def install(
        self, name: str, files: Mapping[str, str | bytes], options: Mapping[str, Any] | None = None
    ) -> None:
        """A new generation of the bundle. Raises what the agent would report."""
        self._generation += 1
        data = pack(
            {
                path: File(text.encode() if isinstance(text, str) else text)
                for path, text in files.items()
            }
        )
        digest = Digest(hashlib.sha256(data).hexdigest())
        (self.folder / "archives" / digest).write_bytes(data)
        self._bundles[name] = DesiredBundle(
            name=BundleName(name),
            generation=Generation(self._generation),
            archive=digest,
            size=len(data),
            options=msgspec.convert(dict(options or {}), Options),
            options_digest=Digest(""),
        )
        self.again(name)

    def again(self, name: str) -> None:
        """The same generation once more, as when drift is put right."""
        bundle = self._bundles[name]
        asyncio.run(
            self._with_context(lambda context: act.install(context, self._document(bundle), bundle))
        )

    def remove(self, name: str) -> None:
        self._generation += 1
        tombstone = Tombstone(name=BundleName(name), generation=Generation(self._generation))
        document = self._document(tombstones=[tombstone])
        asyncio.run(
            self._with_context(lambda context: removal.remove(context, document, tombstone))
        )

    @property
    def journal(self) -> dict[str, Any]:
        journal = Journal(self.folder / "journal")
        journal.close()
        return {str(name): entry for name, entry in journal.entries.items()}

    def kept(self, name: str) -> list[dict[str, Any]]:
        """The objects that the agent compares with the live ones."""
        found = LastApplied(self.folder / "objects").get(BundleName(name))
        return found.objects if found else []

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """What it says. Raises AssertionError when it fails."""
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(
            command,
            env=dict(self._env),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def exists(self, *words: str) -> bool:
        return bool(self.kubectl("get", *words, "--ignore-not-found", "-o", "name"))

    def uid(self, *words: str) -> str:
        return str(self.get(*words)["metadata"]["uid"])

    def history(self, release: str, namespace: str) -> list[tuple[int, str]]:
        """(revision, status) of every record, oldest first."""
        items = self.get("secret", "-n", namespace, "-l", f"owner=helm,name={release}")["items"]
        return sorted(
            (int(i["metadata"]["labels"]["version"]), i["metadata"]["labels"]["status"])
            for i in items
        )

    def releases(self, namespace: str) -> list[str]:
        items = self.get("secret", "-n", namespace, "-l", "owner=helm,status=deployed")["items"]
        return sorted(i["metadata"]["labels"]["name"] for i in items)

    def _document(self, *bundles: DesiredBundle, tombstones: Sequence[Tombstone] = ()) -> Desired:
        return Desired(
            workspace=Workspace("fleet-default"),
            cluster=ClusterName("dev"),
            cluster_id=ClusterId("c-0123456789abcdef0123"),
            epoch=Epoch(1),
            issued="2026-01-01T00:00:00Z",
            expires="2036-01-01T00:00:00Z",
            bundles=list(bundles),
            tombstones=list(tombstones),
        )

    async def _with_context(self, do: Any) -> None:
        kube = Kube(self.kubeconfig)
        journal = Journal(self.folder / "journal")
        helm_lock = HelmLock(self.folder / "helm.lock")
        helm = HelmCli(
            tools.find("helm").argv,
            kubeconfig=self.kubeconfig,
            home=self.folder / "helm",
            lock=helm_lock.handles,
        )
        uplink: Any = _NoUplink()
        wanted, kustomize = (
            LastApplied(self.folder / "objects"),
            Kustomize(("kubectl", "kustomize")),
        )
        context = ReleaseContext(
            uplink,
            journal,
            wanted,
            helm,
            kube,
            kustomize,
            self.folder,
            Rights(kube),
            ReleaseRepair(self.folder / "objects"),
            helm_lock,
        )
        try:
            await helm_lock.take()
            await do(context)
        finally:
            helm_lock.close()
            journal.close()
            await context.sandbox.close()
            await kube.close()
