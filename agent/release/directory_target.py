"""Instead of a cluster, a directory: each bundle's manifests as one file, for k3s's auto-deploy
directory or any other tool.

Charts are rendered by `helm template`; without helm only raw bundles can be written. A file is
replaced whole, and removed with its bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleetctl.core.formats.yaml import dump, load_all
from fleetctl.core.formats.yaml_stream import objects_of
from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.json_object import JsonObject
from fleetctl.durable import write_whole
from fleetctl.tools.chart_builder.plugin import PreparedChart
from fleetctl.tools.helm import HelmCli, Release, Revision, TemplateFlags, UpgradeFlags
from fleetctl.tools.post_renderer import CLUSTER_SCOPED


class DirectoryTarget:
    """A Helm that keeps manifests as files; `helm` renders what is a chart."""

    def __init__(self, folder: Path, helm: HelmCli | None) -> None:
        self._folder, self._helm = folder, helm

    def acting_as(self, user: str) -> DirectoryTarget:
        """Files have nobody's rights: `Rights` refuses an account before it comes to this."""
        return self

    async def upgrade(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, *, deadline: float
    ) -> Revision:
        text = await self._render(release, chart, values, flags, deadline)
        path = self._path(release)
        number = 1 if not path.exists() else 2
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, self._namespace(release, flags) + text)
        path.chmod(0o644)
        return Revision(number, "deployed", "", text.decode())

    async def uninstall(
        self, release: Release, *, deadline: float, keep_record: bool = False
    ) -> None:
        self._path(release).unlink(missing_ok=True)

    async def history(self, release: Release, *, deadline: float) -> Sequence[Revision]:
        return [Revision(1, "deployed")] if self._path(release).exists() else []

    async def manifest(self, release: Release, *, deadline: float) -> bytes:
        return self._path(release).read_bytes()

    async def _render(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, deadline: float
    ) -> bytes:
        generated_file = chart / "manifests.yaml"
        if generated_file.exists() and len(list((chart / "templates").iterdir())) == 1:
            return _add_namespaces(generated_file.read_bytes(), release.namespace)
        if self._helm is None:
            raise RefusedError(
                "a chart needs helm to be rendered",
                subject=str(release),
                next_step="Install helm and put it on PATH.",
            )
        helm_input = PreparedChart(chart, values, flags.post_renderer, flags.plugins)
        return _add_namespaces(
            await self._helm.template(
                release,
                chart,
                values,
                helm_input,
                TemplateFlags(flags.skip_schema, flags.disable_dns),
                deadline=deadline,
            ),
            release.namespace,
        )

    def _namespace(self, release: Release, flags: UpgradeFlags) -> bytes:
        if not flags.create_namespace or release.namespace == "default":
            return b""
        name = f"  name: {release.namespace}\n"
        return f"apiVersion: v1\nkind: Namespace\nmetadata:\n{name}---\n".encode()

    def _path(self, release: Release) -> Path:
        return self._folder / f"{release.namespace}--{release.name}.yaml"


def _add_namespaces(text: bytes, namespace: str) -> bytes:
    """Whoever applies the file knows no release: the namespace stands on each object that has none.
    Others pass byte for byte.
    """
    documents: list[bytes] = []
    for object_text in objects_of(text, "rendered objects"):
        document: JsonObject = load_all(object_text)[0]
        meta = document.get("metadata")
        if (
            isinstance(meta, dict)
            and "namespace" not in meta
            and document.get("kind") not in CLUSTER_SCOPED
        ):
            meta["namespace"] = namespace
            object_text = dump(document).encode()
        documents.append(b"---\n" + object_text.strip(b"\r\n") + b"\n")
    return b"".join(documents)
