"""The objects that reach each cluster are those that Rancher Fleet applies, made by the code that
the agent runs and the real tools.

Charts that live on the internet are taken out of the data beside the checkout.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.charts.reference import ChartRequest
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.bundle import File
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import ClusterName, CommitId, Workspace
from fleetctl.core.rendering.render import plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.core.scan.draft import Draft
from fleetctl.core.scan.scan import finish, scan
from fleetctl.core.targeting.target import select
from fleetctl.tools.chart_builder.build import render_objects
from fleetctl.tools.helm import HelmCli
from fleetctl.tools.kustomize import Kustomize
from tests.support.trees import folder

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
CASES = sorted(
    f.name.removesuffix(".yaml")
    for f in (DATA / "golden").glob("*.yaml")
    if re.search(r"\.(dev|test|prod)\.yaml$", f.name)
)
TARGETS = [{"name": "everywhere", "clusterSelector": {}}]


def chart_files(request: ChartRequest) -> dict[str, File] | None:
    name = (
        "rancher-monitoring-crd"
        if request.chart == "rancher-monitoring-crd"
        else "guestbook"
        if "guestbook" in request.chart
        else ""
    )
    if not name:
        return None
    root = DATA / "charts" / name
    return {
        f.relative_to(root).as_posix(): File(f.read_bytes()) for f in root.rglob("*") if f.is_file()
    }


def cluster(name: str) -> Cluster:
    found = next(
        d
        for d in load_all((DATA / "golden" / "clusters.yaml").read_bytes())
        if d["metadata"]["name"] == name
    )
    meta, spec = found["metadata"], found.get("spec") or {}
    return Cluster(
        workspace=Workspace("fleet-default"),
        name=ClusterName(name),
        labels=meta["labels"],
        annotations=meta.get("annotations") or {},
        values=spec.get("templateValues") or {},
    )


def golden() -> Any:
    """The comparison that the data came with."""
    spec = importlib.util.spec_from_file_location("golden", SHARED / "tools" / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def objects(root: Path, path: str, name: str, workdir: Path, env: dict[str, str]) -> list[Any]:
    """Every object of every bundle of `path` on the cluster; a bundle whose chart is not to be had
    makes none.
    """
    helm, kubectl = (
        next(str(Path(p) / tool) for p in env["PATH"].split(":") if (Path(p) / tool).exists())
        for tool in ("helm", "kubectl")
    )
    cli = HelmCli([helm], kubeconfig=workdir / "none", home=workdir / "home")
    repo = repo_spec(
        {
            "metadata": {"name": "repo"},
            "spec": {"repo": "https://git.example/r", "paths": [path], "targets": TARGETS},
        }
    )
    found: list[Any] = []
    for draft in scan(folder(root), repo, commit=CommitId("c" * 40)).drafts:
        text = asyncio.run(
            one(draft, cluster(name), workdir, cli, Kustomize([kubectl, "kustomize"]))
        )
        found += [d for d in load_all(text) if d]
    return found


async def one(
    draft: Draft, where: Cluster, workdir: Path, helm: HelmCli, kustomize: Kustomize
) -> bytes:
    charts = {request: chart_files(request) for request in draft.charts}
    if None in charts.values():
        return b""
    built = finish(draft, {request: files for request, files in charts.items() if files})
    match = select(built.spec, [where], [])[0]
    facts = ClusterFacts(
        cluster=where.name,
        workspace=where.workspace,
        labels=where.labels,
        annotations=where.annotations,
        values=where.values,
    )
    made = plan(unpack(built.archive), match.options, facts, bundle=built.spec.name)
    return await render_objects(made, workdir / "work", helm=helm, kustomize=kustomize, deadline=60)


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_objects_are_those_of_fleet(case: str, tmp_path: Path, tool_env: dict[str, str]) -> None:
    """The same objects with the same content, by the comparison that Fleet itself passes."""
    path, _, name = case.rpartition(".")
    want = load_all((DATA / "golden" / f"{case}.yaml").read_bytes())
    tool = golden()
    known = [w for w in want if w and not w.get("error")]
    wanted = (
        tool.objects([o for w in known for o in (w.get("objects") or [])])
        if known and "objects" in known[0]
        else tool.objects(known)
    )
    try:
        got = tool.objects(
            objects(DATA / "fleet-examples", path.replace("__", "/"), name, tmp_path, tool_env)
        )
    except FleetError as error:
        pytest.fail(f"{error.summary}: {error.next_step}")
    assert tool.same_objects(wanted, got) == []


@pytest.mark.parametrize("name", ["hello-raw", "hello-helm", "hello-kustomize", "hello-both"])
def test_our_examples_render_in_each_style(
    name: str, tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """Each example of the demo makes the objects that it shows; kustomize changes what the chart
    has made.
    """
    where = Cluster(
        workspace=Workspace("fleet-default"), name=ClusterName("prod"), labels={"env": "prod"}
    )
    repo = repo_spec(
        {
            "metadata": {"name": "repo"},
            "spec": {"repo": "https://git.example/r", "paths": [name], "targets": TARGETS},
        }
    )
    drafts = scan(folder(ROOT / "examples" / "apps"), repo, commit=CommitId("c" * 40)).drafts
    tools = {
        tool: next(
            str(Path(p) / tool) for p in tool_env["PATH"].split(":") if (Path(p) / tool).exists()
        )
        for tool in ("helm", "kubectl")
    }
    cli = HelmCli([tools["helm"]], kubeconfig=tmp_path / "none", home=tmp_path / "home")
    text = asyncio.run(
        one(drafts[0], where, tmp_path, cli, Kustomize([tools["kubectl"], "kustomize"]))
    )
    documents = [d for d in load_all(text) if d]
    assert {"Deployment", "ConfigMap"} & {d["kind"] for d in documents}
    assert (name == "hello-both") == any(d.get("data", {}).get("tier") == "gold" for d in documents)
