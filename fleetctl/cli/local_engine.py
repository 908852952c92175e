"""What the commands that need no manager share: from a folder or a commit to bundles, and from
these to what each cluster would get.

The scan, the choice of clusters and the rendering are the code that the manager and the agent run.
"""

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
from fleetctl.core.documents.convert import Origin, convert
from fleetctl.core.documents.gitrepo import GitRepoSpec, GitTarget, RepoSpec, repo_spec
from fleetctl.core.documents.manifests import cluster_of, group_of, kind_of, objects
from fleetctl.core.formats.yaml import load, load_all, read
from fleetctl.core.formats.yaml_stream import objects_of
from fleetctl.core.model.bundle import BundleSpec, Files, unpack
from fleetctl.core.model.cluster import Cluster, Group, matches
from fleetctl.core.model.errors import FleetError, InvalidFile, NotFound, UsageError
from fleetctl.core.model.ids import CommitId, RepoName, Workspace
from fleetctl.core.model.problems import Problem
from fleetctl.core.rendering.render import RenderPlan, plan
from fleetctl.core.rendering.values import Facts
from fleetctl.core.scan.bundle_names import clean
from fleetctl.core.scan.scan import Built, Draft, Scan, scan
from fleetctl.core.targeting.target import Match

DEFAULT_WORKSPACE = "fleet-default"
_AT_ONCE = 4
_SECONDS = 90.0


@dataclass(frozen=True)
class Wish:
    """The GitRepo that is previewed: written in a file, or put together from options. `restricted`:
    targets are restrictions too.
    """

    repo: RepoSpec
    restricted: bool = False


@dataclass
class Fleet:
    clusters: list[Cluster] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


@dataclass(frozen=True)
class Rendered:
    """One bundle on one cluster: its objects in order, or why there are none."""

    bundle: BundleSpec
    cluster: Cluster
    plan: RenderPlan | None = None
    texts: list[bytes] = field(default_factory=list)
    error: FleetError | None = None

    @property
    def objects(self) -> list[dict[str, Any]]:
        """To be read, not changed: clusters share them."""
        return [_parsed(text) for text in self.texts]


@lru_cache(maxsize=20_000)
def _parsed(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = load_all(text)[0]
    return found


class _Targets(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    targets: list[GitTarget] = []
    target_restrictions: list[GitTarget] | None = None


def text_of(path: Path) -> bytes:
    """Raises UsageError."""
    import sys

    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as why:
        raise UsageError(
            f"{path} cannot be read: {why.strerror}",
            subject=str(path),
            next_step="Correct the path.",
        ) from why


def wish_of(
    place: str,
    name: str,
    workspace: str,
    paths: Sequence[str],
    targets: Path | None,
    gitrepo: Path | None,
) -> Wish:
    """Raises UsageError and InvalidFile."""
    if gitrepo is not None:
        if name or targets:
            raise UsageError(
                "--gitrepo says what --name and --targets would", next_step="Leave these out."
            )
        repo = _gitrepo(gitrepo, workspace)
        spec = msgspec.structs.replace(repo.spec, paths=list(paths)) if paths else repo.spec
        return Wish(msgspec.structs.replace(repo, spec=spec), restricted=True)
    found = _targets(targets) if targets else None
    mine = name or clean(
        Path(place.rpartition("@")[0] if not Path(place).is_dir() else place).resolve().name
    )
    spec = GitRepoSpec(repo=place, paths=list(paths), targets=found.targets if found else None)
    repo = RepoSpec(
        workspace=Workspace(workspace or DEFAULT_WORKSPACE), name=RepoName(mine), spec=spec
    )
    return Wish(repo, restricted=bool(found and found.target_restrictions))


def _targets(path: Path) -> _Targets:
    document = load(text_of(path), file=str(path), strict=True)
    if not isinstance(document, dict) or not isinstance(document.get("targets"), list):
        raise InvalidFile(
            "holds no list `targets`",
            file=str(path),
            next_step="Write `targets:` and a list of targets below it.",
        )
    return convert(document, _Targets, Origin(str(path)))


def _gitrepo(path: Path, workspace: str) -> RepoSpec:
    for document in load_all(text_of(path), file=str(path), strict=True):
        for value, _ in objects(document):
            if kind_of(value) == "GitRepo":
                found = repo_spec(value, file=str(path))
                return (
                    msgspec.structs.replace(found, workspace=Workspace(workspace))
                    if workspace
                    else found
                )
    raise InvalidFile(
        "holds no GitRepo", file=str(path), next_step="Name a file with `kind: GitRepo`."
    )


def fleet_of(path: Path | None, workspace: str) -> Fleet:
    """The clusters and groups of a file; other kinds are passed over. Raises InvalidFile."""
    fleet = Fleet()
    for document in read(text_of(path), file=str(path), strict=True, places=True) if path else []:
        for value, under in objects(document.value):
            if kind_of(value) in {"Cluster", "ClusterGroup"}:
                _take(
                    fleet,
                    value,
                    Origin(str(path), document.places, under),
                    workspace or DEFAULT_WORKSPACE,
                )
    if path and not fleet.clusters:
        step = (
            "Write documents with `apiVersion: fleet.cattle.io/v1alpha1`, `kind: Cluster`, name and"
            " labels."
        )
        raise InvalidFile("holds no Cluster", file=str(path), next_step=step)
    return fleet


def _take(fleet: Fleet, value: dict[str, Any], origin: Origin, workspace: str) -> None:
    if value["kind"] == "Cluster":
        fleet.clusters.append(cluster_of(value, origin, workspace))
    elif value["kind"] == "ClusterGroup":
        fleet.groups.append(group_of(value, origin, workspace))


def picked(fleet: Fleet, names: Sequence[str], selector: dict[str, Any] | None) -> list[Cluster]:
    """The clusters that are asked for. Raises NotFound with those that there are."""
    known = {str(c.name): c for c in fleet.clusters}
    for name in names:
        if name not in known:
            step = (
                f"There are {', '.join(sorted(known)[:10])}."
                if known
                else "Add --clusters FILE, or --label K=V for one of your own."
            )
            raise NotFound(f"there is no cluster {name!r}", subject="--cluster", next_step=step)
    found = [known[name] for name in names] if names else fleet.clusters
    found = [c for c in found if selector is None or matches(selector, c.labels)]
    if not found:
        raise NotFound(
            "no cluster matches",
            subject="-l",
            next_step="Correct the selector, or add --clusters FILE.",
        )
    return found


def scanned(place: str, wish: Wish) -> tuple[list[Draft], list[Problem], list[Problem]]:
    """(bundles, problems, warnings). Raises NotFound, UsageError."""
    found = scan_local(place, wish)
    return found.drafts, found.problems, found.warnings


def scan_local(place: str, wish: Wish) -> Scan:
    """Scan a folder, or a commit of a clone. Raises NotFound, UsageError."""
    from fleetctl.sources.local_tree import open_local

    tree = open_local(place)
    found = scan(tree, wish.repo, commit=tree.commit or CommitId(""))
    # The scan names the GitRepo's branch, which this folder or commit need not be.
    problems = [_local_problem(problem, place) for problem in found.problems]
    return msgspec.structs.replace(found, problems=problems)


def _local_problem(problem: Problem, place: str) -> Problem:
    if problem.code != "no-such-path":
        return problem
    return msgspec.structs.replace(
        problem, summary=f"path {problem.path!r} holds no file in {place}"
    )


def built(drafts: list[Draft], mirrors: dict[str, str]) -> tuple[list[Built], list[Problem]]:
    """The bundles with their charts, fetched where they are not in the repository."""
    from fleetctl.sources.charts.complete import ChartSource, Login, completed

    # A person at their own machine may read what that machine reaches.
    return asyncio.run(completed(drafts, ChartSource(mirrors, ("0.0.0.0/0", "::/0"), Login())))


class Renderer:
    """Renders bundles for clusters; what is equal for several clusters is rendered once."""

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
        self._made: dict[str, asyncio.Future[list[bytes]]] = {}
        self._files: dict[str, Files] = {}
        self.runs = 0

    def all(self, wanted: Sequence[tuple[Built, Match]]) -> list[Rendered]:
        """One answer for each, in order."""
        with tempfile.TemporaryDirectory(prefix="fleetctl-") as folder:
            return asyncio.run(self._all(wanted, Path(folder)))

    async def _all(self, wanted: Sequence[tuple[Built, Match]], folder: Path) -> list[Rendered]:
        slots = asyncio.Semaphore(_AT_ONCE)
        return list(
            await asyncio.gather(
                *(self._one(bundle, match, folder, slots) for bundle, match in wanted)
            )
        )

    async def _one(
        self, bundle: Built, match: Match, folder: Path, slots: asyncio.Semaphore
    ) -> Rendered:
        cluster = match.cluster
        facts = Facts(
            cluster=cluster.name,
            workspace=cluster.workspace,
            labels=cluster.labels,
            annotations=cluster.annotations,
            values=cluster.values,
        )
        made: RenderPlan | None = None
        try:
            files = self._files.setdefault(bundle.spec.archive, {}) or unpack(bundle.archive)
            self._files[bundle.spec.archive] = files
            made = plan(files, match.options, facts, bundle=bundle.spec.name)
            return Rendered(
                bundle.spec, cluster, made, await self._texts(bundle, match, made, folder, slots)
            )
        except FleetError as error:
            return Rendered(bundle.spec, cluster, made, error=error)

    async def _texts(
        self, bundle: Built, match: Match, made: RenderPlan, folder: Path, slots: asyncio.Semaphore
    ) -> list[bytes]:
        overlays = match.options.yaml.overlays if match.options.yaml else None
        capabilities = self._capabilities_of(match.cluster)
        inputs = [
            bundle.spec.archive,
            msgspec.structs.replace(made, files={}),
            overlays,
            capabilities,
        ]
        key = hashlib.sha256(msgspec.json.encode(inputs)).hexdigest()
        if key not in self._made:
            self._made[key] = asyncio.ensure_future(
                self._run(made, folder / key[:24], slots, capabilities)
            )
        return await asyncio.shield(self._made[key])

    def _capabilities_of(self, cluster: Cluster) -> Capabilities:
        given, own = self._capabilities, self._reported.get(cluster.name, HELM_DEFAULT)
        return Capabilities(
            given.kube_version or own.kube_version, given.api_versions or own.api_versions
        )

    async def _run(
        self, made: RenderPlan, workdir: Path, slots: asyncio.Semaphore, capabilities: Capabilities
    ) -> list[bytes]:
        import shutil

        from fleetctl.tools import find
        from fleetctl.tools.chart_builder import rendered
        from fleetctl.tools.helm import HelmCli
        from fleetctl.tools.kustomize import Kustomize

        async with slots:
            self.runs += 1
            helm, kustomize = find.helm(), find.kustomize()
            home = workdir.parent / "home"
            cli = HelmCli(helm, kubeconfig=workdir.parent / "none", home=home) if helm else None
            tool = Kustomize(kustomize) if kustomize else None
            try:
                text = await rendered(
                    made,
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
