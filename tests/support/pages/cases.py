"""The corpus of tests/conformance/fleet_yaml: one folder a case, with a repository written out in
`case.yaml` and what must come of it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.charts.reference import ChartRequest
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.formats.yaml import load, load_all
from fleetctl.core.model.bundle import File
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import ClusterName, CommitId, GroupName, Workspace
from fleetctl.core.rendering.render import RenderPlan, Style, plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.core.scan.bundle_document import bundle_document
from fleetctl.core.scan.draft import Draft
from fleetctl.core.scan.scan import Scan, ScannedBundle, finish, scan
from fleetctl.core.targeting.target import Match, Miss, explain
from fleetctl.tools import find
from fleetctl.tools.chart_builder.build import render_objects
from fleetctl.tools.helm import HelmCli
from fleetctl.tools.kustomize import Kustomize
from tests.support.trees import DictTree

ROOT = Path(__file__).parents[2] / "conformance" / "fleet_yaml"
_WORKSPACE = Workspace("fleet-default")


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`keys`: what of Fleet it is about; `verdict`: same, better or not yet, with `why` for the
    latter two. `files`: path to text; `links`, `unusable`: as in `core.tree.Tree`. `clusters`: name
    to {labels, annotations, values, groups}. `expect` as checked by `Outcome`.
    """

    name: str
    about: str
    keys: list[str]
    verdict: str = "same"
    why: str = ""
    files: dict[str, str]
    links: dict[str, str] = {}
    unusable: dict[str, str] = {}
    gitrepo: dict[str, Any] = {}
    clusters: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    expect: dict[str, Any]


def cases() -> list[Case]:
    found = []
    for path in sorted(ROOT.glob("*/case.yaml")):
        document = load(path.read_bytes(), file=str(path))
        found.append(msgspec.convert({"name": path.parent.name, **document}, Case))
    return found


class Outcome:
    """What fleetctl makes of a case."""

    def __init__(self, case: Case, workdir: Path, path: str) -> None:
        self._case, self._workdir, self._path = case, workdir, path
        spec = {
            "repo": "https://git.example/r",
            "targets": [{"name": "all", "clusterSelector": {}}],
            **case.gitrepo,
        }
        repo = repo_spec({"metadata": {"name": "repo", "namespace": _WORKSPACE}, "spec": spec})
        self.scan: Scan = scan(
            DictTree(case.files, case.links, case.unusable), repo, commit=CommitId("c" * 40)
        )
        self.drafts: dict[str, Draft] = {d.spec.name: d for d in self.scan.drafts}

    def problems(self) -> list[str]:
        return [f"{p.summary} {p.next_step}" for p in self.scan.problems]

    def document(self, bundle: str) -> dict[str, Any]:
        draft = self.drafts[bundle]
        return bundle_document(draft, draft.files)

    def fate(self, bundle: str, cluster: str) -> Match | Miss:
        groups = [
            Group(
                workspace=_WORKSPACE,
                name=GroupName(name),
                selector=g.get("selector"),
                labels=g.get("labels") or {},
            )
            for name, g in self._case.groups.items()
        ]
        return explain(self.drafts[bundle].spec, [self._cluster(cluster)], groups)[0]

    def _cluster(self, name: str) -> Cluster:
        said = self._case.clusters[name]
        return Cluster(
            workspace=_WORKSPACE,
            name=ClusterName(name),
            labels=said.get("labels") or {},
            annotations=said.get("annotations") or {},
            values=said.get("values") or {},
        )

    def plan(self, bundle: str, cluster: str) -> RenderPlan:
        """Raises FleetError when the cluster cannot have it."""
        match = self.fate(bundle, cluster)
        assert isinstance(match, Match), match
        where = match.cluster
        facts = ClusterFacts(
            cluster=where.name,
            workspace=where.workspace,
            labels=where.labels,
            annotations=where.annotations,
            values=where.values,
        )
        return plan(
            unpack(self._built(bundle).archive),
            match.options,
            facts,
            bundle=self.drafts[bundle].spec.name,
        )

    def _built(self, bundle: str) -> ScannedBundle:
        draft = self.drafts[bundle]
        return finish(draft, {request: _chart(request) for request in draft.charts})

    def values(self, bundle: str, cluster: str) -> Any:
        return msgspec.json.decode(self.plan(bundle, cluster).values)

    def objects(self, bundle: str, cluster: str) -> list[dict[str, Any]]:
        return [d for d in load_all(self._text(self.plan(bundle, cluster))) if d]

    def _text(self, made: RenderPlan) -> bytes:
        helm, kustomize = (
            (_tool(self._path, "helm"), _tool(self._path, "kubectl"))
            if made.style is not Style.RAW
            else ("", "")
        )
        helm = helm or _tool(self._path, "helm")
        cli = HelmCli([helm], kubeconfig=self._workdir / "none", home=self._workdir / "home")
        tool = Kustomize([kustomize, "kustomize"]) if kustomize else None
        return asyncio.run(
            render_objects(made, self._workdir / "work", helm=cli, kustomize=tool, deadline=60)
        )

    def error(self, bundle: str, cluster: str) -> str:
        """Why the cluster cannot have it."""
        try:
            self.objects(bundle, cluster)
        except FleetError as error:
            return f"{error.summary} {error.next_step}"
        return ""


def _chart(request: ChartRequest) -> dict[str, File]:
    """What a chart repository would give: one object that tells which chart it was."""
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {request.chart}-{request.version}\n"
    )
    about = b"apiVersion: v2\nname: c\nversion: 1.0.0\n"
    return {"Chart.yaml": File(about), "templates/m.yaml": File(text.encode())}


def _tool(path: str, name: str) -> str:
    import shutil

    return shutil.which(name, path=path) or find.__name__


def subset(want: Any, got: Any, place: str = "") -> list[str]:
    """Where `got` lacks what `want` states: maps may hold more, lists are equal item by item. null
    means that the key is not there.
    """
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return [f"{place}: {got!r} is no map"]
        return [
            line
            for key, value in want.items()
            for line in subset(value, got.get(key), f"{place}.{key}")
        ]
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return [f"{place}: {got!r} is not {want!r}"]
        return [
            line
            for at, (w, g) in enumerate(zip(want, got, strict=True))
            for line in subset(w, g, f"{place}[{at}]")
        ]
    return [] if want == got and type(want) is type(got) else [f"{place}: {got!r} is not {want!r}"]
