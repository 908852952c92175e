"""What the authors of Fleet's examples keep as expected: the Bundle called `test` of each folder,
and its objects per environment.

An older Fleet wrote these: fleet.yaml stands among the resources, empty maps are written out.
Charts of the internet are taken out of the data beside the checkout. helm-multi-chart is left out:
its bundle.yaml is two documents run together, and one of its charts is gone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster
from fleetctl.core.model.ids import ClusterName, CommitId, Workspace
from fleetctl.core.rendering.render import plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.core.scan.bundle_document import bundle_document
from fleetctl.core.scan.draft import Draft
from fleetctl.core.scan.scan import ScannedBundle, finish, scan
from fleetctl.core.targeting.target import Match, explain
from fleetctl.tools.chart_builder.build import render_objects
from fleetctl.tools.helm import HelmCli
from fleetctl.tools.kustomize import Kustomize
from tests.conformance.test_golden_objects import DATA, chart_files, golden
from tests.support.trees import folder

EXPECTED = DATA / "fleet-examples" / "tests" / "expected"
CASES = sorted(
    f.parent.relative_to(EXPECTED).as_posix()
    for f in EXPECTED.glob("*/*/bundle.yaml")
    if f.parent.name != "helm-multi-chart"
)


def made(case: str) -> tuple[Draft, ScannedBundle]:
    spec = {"repo": "x", "targets": [{"name": "default", "clusterGroup": "default"}]}
    repo = repo_spec({"metadata": {"name": "test"}, "spec": spec})
    found = scan(folder(DATA / "fleet-examples" / case), repo, commit=CommitId("c" * 40))
    [draft] = found.drafts
    charts = {request: chart_files(request) for request in draft.charts}
    if None in charts.values():
        pytest.skip("its chart is not to be had")
    return draft, finish(draft, {request: files for request, files in charts.items() if files})


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_bundles_are_the_expected_ones(case: str) -> None:
    """Labels, options, resources by name and content, fetched charts included."""
    tool = golden()
    want = tool.bundles(load_all((EXPECTED / case / "bundle.yaml").read_bytes()))
    draft, built = made(case)
    got = tool.bundles([bundle_document(draft, unpack(built.archive))])
    for found in (*want.values(), *got.values()):
        found.pop("targets", None)  # the default target is written by one and left out by the other
    assert got == want


@pytest.mark.shared
@pytest.mark.parametrize("env", ["dev", "test", "prod"])
@pytest.mark.parametrize("case", CASES)
def test_objects_are_the_expected_ones(
    case: str, env: str, tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """For a cluster of each environment."""
    tool = golden()
    draft, built = made(case)
    helm, kubectl = (
        next(str(Path(p) / t) for p in tool_env["PATH"].split(":") if (Path(p) / t).exists())
        for t in ("helm", "kubectl")
    )
    cluster = Cluster(
        workspace=Workspace("fleet-default"), name=ClusterName(env), labels={"env": env}
    )
    spec = draft.spec
    match = explain(
        msgspec.structs.replace(spec, targets=[Target(cluster_selector={})]), [cluster], []
    )[0]
    assert isinstance(match, Match)
    facts = ClusterFacts(cluster=cluster.name, workspace=cluster.workspace, labels=cluster.labels)
    made_plan = plan(unpack(built.archive), match.options, facts, bundle=spec.name)
    cli = HelmCli([helm], kubeconfig=tmp_path / "none", home=tmp_path / "home")
    text = asyncio.run(
        render_objects(
            made_plan,
            tmp_path / "work",
            helm=cli,
            kustomize=Kustomize([kubectl, "kustomize"]),
            deadline=60,
        )
    )
    want = tool.objects(
        [d for d in load_all((EXPECTED / case / f"{env}-output.yaml").read_bytes()) if d]
    )
    assert tool.same_objects(want, tool.objects([d for d in load_all(text) if d])) == []
