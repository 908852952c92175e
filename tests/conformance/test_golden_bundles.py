"""A scan makes the bundles that Rancher Fleet makes: names, files and contents.

Fleet's own examples are compared where they lie beside the checkout; the example repository here is
compared always.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.ids import CommitId
from fleetctl.core.scan.scan import scan
from tests.support.trees import folder

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
CASES = sorted(
    f.name.removesuffix(".bundles.yaml") for f in (DATA / "golden").glob("*.bundles.yaml")
)
TARGETS = [{"name": "everywhere", "clusterSelector": {}}]


def drafts(root: Path, path: str):
    repo = repo_spec(
        {
            "metadata": {"name": "repo"},
            "spec": {"repo": "https://git.example/r", "paths": [path], "targets": TARGETS},
        }
    )
    got = scan(folder(root), repo, commit=CommitId("c" * 40))
    assert got.problems == []
    return {d.spec.name: d for d in got.drafts}


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_bundles_are_those_of_fleet(case):
    """Same names; the same files with the same bytes, fleet.yaml aside."""
    got = drafts(DATA / "fleet-examples", case.replace("__", "/"))
    documents = load_all((DATA / "golden" / f"{case}.bundles.yaml").read_bytes())
    want = {
        d["metadata"]["name"]: {
            r["name"]: r.get("content", "").encode() for r in d["spec"]["resources"]
        }
        for d in documents
    }
    assert {
        name: {path: file.data for path, file in d.files.items()} for name, d in got.items()
    } == want


def test_our_examples_are_one_bundle_of_each_style():
    """The demo's repository scans without a problem."""
    got = drafts(ROOT / "examples" / "apps", "")
    assert sorted(n for n in got if n != "repo") == [
        "repo-hello-both",
        "repo-hello-helm",
        "repo-hello-kustomize",
        "repo-hello-raw",
    ]
    assert got["repo-hello-both"].spec.options.helm.chart == "chart"
    assert "overlays/three/deployment_patch.yaml" in got["repo-hello-raw"].files
