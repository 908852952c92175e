"""bundles, targets, render and diff as a person runs them: a folder, a clone, real helm and
kustomize, no manager.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from fleetctl.cli.preview.fleet_files import fleet_of, select_clusters
from fleetctl.cli.preview.renderer import Renderer
from fleetctl.cli.preview.request import preview_request
from fleetctl.cli.preview.scan import build_bundles as with_charts
from fleetctl.cli.preview.scan import scan_drafts
from fleetctl.core.model.bundle import Target
from fleetctl.core.targeting.target import select
from tests.support.cli.person import Person, surroundings

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
CLUSTERS = """
kind: Cluster
metadata: {name: dev, namespace: fleet-default, labels: {env: dev}}
---
kind: Cluster
metadata: {name: prod, namespace: fleet-default, labels: {env: prod, region: eu}}
spec: {templateValues: {replicas: 3}}
---
kind: ClusterGroup
metadata: {name: prods, namespace: fleet-default}
spec: {selector: {matchLabels: {env: prod}}}
"""
FILES = {
    "web/fleet.yaml": (
        "helm: {values: {n: 1, region: '${ .ClusterLabels.region }'}}\ntargetCustomizations:\n"
        "- {name: nobody, clusterName: dev, doNotDeploy: true}\n".replace("n: 1", "size: 1")
    ),
    "web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    "web/templates/m.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {v: '{{ toJson .Values"
        " }}'}\n"
    ),
    "web/templates/hook.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hook, annotations: {helm.sh/hook:"
        " pre-install}}\n"
    ),
    "web/crds/c.yaml": (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name:"
        " c.example.com}\n"
    ),
    "raw/s.yaml": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"
    ),
}


@pytest.fixture
def person(tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Person]:
    with surroundings(PATH=tool_env["PATH"]):
        yield Person(tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with two commits, and clusters.yaml beside it."""
    folder = tmp_path / "apps"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (tmp_path / "clusters.yaml").write_text(CLUSTERS)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    (folder / "web/fleet.yaml").write_text(FILES["web/fleet.yaml"].replace("size: 1", "size: 2"))
    (folder / "raw/s.yaml").write_text(FILES["raw/s.yaml"].replace("hunter2", "hunter3"))
    git(folder, "commit", "-qam", "two")
    return folder


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_bundles_of_a_folder_and_of_a_commit(person: Person, clone: Path) -> None:
    """A table, names, and Fleet's documents."""
    assert person.good("bundles", f"{clone}", "-o", "name") == "bundle/apps\nbundle/apps-web\n"
    assert "apps-web   web    helm" in person.good("bundles", str(clone))
    path = ("--path", "web", "--name", "repo")
    documents = list(
        yaml.safe_load_all(person.good("bundles", f"{clone}@HEAD~1", *path, "-o", "yaml"))
    )
    assert [d["metadata"]["name"] for d in documents] == ["repo-web"]
    assert documents[0]["spec"]["helm"]["values"]["size"] == 1
    assert "Chart.yaml" in [r["name"] for r in documents[0]["spec"]["resources"]]


def test_targets_say_who_gets_what_and_why(person: Person, clone: Path) -> None:
    """Also those who get nothing."""
    clusters = ("--clusters", str(clone.parent / "clusters.yaml"))
    rows = json.loads(person.good("targets", str(clone), "--path", "web", *clusters, "-o", "json"))
    assert [(r["cluster"], r["deploys"], r["why"]) for r in rows] == [
        ("dev", False, "nobody has doNotDeploy"),
        ("prod", True, ""),
    ]
    gitrepo = clone.parent / "gitrepo.yaml"
    gitrepo.write_text(
        "kind: GitRepo\nmetadata: {name: g}\nspec: {repo: x, paths: [raw], targets: [{name: p,"
        " clusterGroup: prods}]}\n"
    )
    out = person.good("targets", str(clone), *clusters, "--gitrepo", str(gitrepo))
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["dev", "g-raw", "no", "-"],
        ["prod", "g-raw", "yes", "p"],
    ]


def test_render_makes_the_objects_of_a_cluster(person: Person, clone: Path) -> None:
    """Templates see the cluster; hooks and CRDs only when asked for."""
    where = (
        "--path",
        "web",
        "--clusters",
        str(clone.parent / "clusters.yaml"),
        "--cluster",
        "prod",
    )
    objects = [o for o in yaml.safe_load_all(person.good("render", str(clone), *where)) if o]
    assert [(o["kind"], o["metadata"]["name"]) for o in objects] == [("ConfigMap", "web")]
    assert json.loads(objects[0]["data"]["v"]) == {"region": "eu", "size": 2}
    names = person.good(
        "render", str(clone), *where, "--hooks", "--include-crds", "-o", "name"
    ).split()
    assert sorted(n.rpartition("/")[2] for n in names) == ["c.example.com", "hook", "web"]
    person.good("render", str(clone), *where, "--output-dir", str(clone.parent / "out"))
    assert (clone.parent / "out" / "prod" / "apps-web.yaml").exists()


def test_charts_see_the_kubernetes_version_that_is_given(person: Person, tmp_path: Path) -> None:
    """Without one it is helm's own, and the error names chart, range, version and flag."""
    chart = tmp_path / "fleet-old"
    (chart / "templates").mkdir(parents=True)
    (chart / "crds").mkdir()
    (chart / "Chart.yaml").write_text(
        'apiVersion: v2\nname: old\nversion: 0.3.0\nkubeVersion: "<1.30.0-0"\n'
    )
    text = (
        'kind: ConfigMap\napiVersion: v1\nmetadata: {name: "{{ .Capabilities.KubeVersion.Version'
        ' }}"}\n{{ if .Capabilities.APIVersions.Has "example.com/v1/Widget" }}data: {widgets:'
        ' "yes"}{{ end }}\n'
    )
    (chart / "templates" / "m.yaml").write_text(text)
    done = person.run("render", str(chart))
    assert done.status == 2
    assert "chart old 0.3.0 requires Kubernetes <1.30.0-0" in done.err
    assert "--kube-version" in done.err
    assert "helm history" not in done.err
    flags = ("--kube-version", "1.29.3", "--api-versions", "example.com/v1/Widget")
    (item,) = yaml.safe_load_all(person.good("render", str(chart), *flags))
    assert (item["metadata"]["name"], item["data"]) == ("v1.29.3", {"widgets": "yes"})
    assert person.good("diff", str(chart), str(chart), *flags) == ""


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {
                "Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
                "templates/m.yaml": '{{ fail "no region" }}',
            },
            "no region",
        ),
        (
            {
                "kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
                "a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n",
                "b.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n",
            },
            "already registered id",
        ),
    ],
)
def test_what_cannot_be_rendered_is_wrong_input(
    person: Person, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    """Exit status 2: a second try gives the same answer."""
    for name, text in files.items():
        (tmp_path / "web" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "web" / name).write_text(text)
    done = person.run("render", str(tmp_path / "web"))
    assert done.status == 2
    assert said in done.err
    assert "tries again" not in done.err


def test_render_for_a_cluster_without_a_file(person: Person, clone: Path) -> None:
    """--cluster and --label make one up; what fails there is one line with the key."""
    place = ("render", str(clone), "--path", "web", "--cluster", "x")
    assert "eu" in person.good(*place, "--label", "region=eu")
    done = person.run(*place)
    assert done.status == 2
    assert "helm.values.region: map has no entry for key" in done.err
    assert "Traceback" not in done.err


def test_diff_shows_what_would_change(person: Person, clone: Path) -> None:
    """Between commits, the same change for several clusters once, Secrets without their values."""
    clusters = ("--clusters", str(clone.parent / "clusters.yaml"))
    done = person.run(
        "diff", f"{clone}@HEAD~1", str(clone), *clusters, "--path", "raw", "--path", "web"
    )
    assert done.status == 1
    assert '"size":1' in done.out
    assert '"size":2' in done.out
    assert "hunter" not in done.out
    assert "*** (after)" in done.out
    assert person.run("diff", f"{clone}@HEAD", str(clone), *clusters, "--path", "raw").status == 0
    assert (
        "hunter3"
        in person.run(
            "diff", f"{clone}@HEAD~1", str(clone), *clusters, "--path", "raw", "--show-secrets"
        ).out
    )


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("bundles", "{}/gone"), 2, "there is no folder"),
        (("bundles", "{}@gone"), 1, "there is no revision gone"),
        (("bundles", "{}", "--path", "gone"), 1, "path 'gone' holds no file in "),
        (("render", "{}", "--clusters", "{}/gone.yaml"), 2, "cannot be read"),
        (("render", "{}", "--cluster", "a", "--cluster", "b"), 2, "several clusters need a file"),
        (("render", "{}", "--bundle", "gone"), 2, "there is no bundle 'gone'"),
        (("render", "{}", "-o", "wide"), 2, "shows no objects"),
        (("bundles", "{}", "--gitrepo", "{}/raw/s.yaml"), 2, "contains no GitRepo"),
        (("bundles", "{}", "--mirror", "x"), 2, "is not PREFIX=URL"),
        (("targets", "{}", "--label", "nonsense"), 2, "is not a label"),
    ],
)
def test_mistakes_are_one_line(
    person: Person, clone: Path, words: tuple[str, ...], status: int, text: str
) -> None:
    """With a status and a next step."""
    done = person.run(*(word.format(clone) for word in words))
    assert done.status == status, done
    assert text in done.err
    assert "Traceback" not in done.err


def test_equal_configurations_are_rendered_once(clone: Path, tool_env: dict[str, str]) -> None:
    """A thousand clusters that share five configurations cost five runs of helm."""
    documents = [
        f"kind: Cluster\nmetadata: {{name: c{n}, labels: {{region: r{n % 5}}}}}\n"
        for n in range(1000)
    ]
    path = clone.parent / "many.yaml"
    path.write_text("---\n".join(documents))
    request = preview_request(str(clone), "", "", ["web"], None, None)
    bundles, _ = with_charts(scan_drafts(str(clone), request)[0], {})
    clusters = select_clusters(fleet_of(path, "fleet-default"), [], None)
    spec = bundles[0].spec
    whole = msgspec.structs.replace(spec, targets=[Target(name="all", cluster_selector={})])
    renderer = Renderer()
    with surroundings(PATH=tool_env["PATH"]):
        found = renderer.all([(bundles[0], match) for match in select(whole, clusters, [])])
    assert len(found) == 1000
    assert all(one.error is None for one in found)
    assert renderer.runs == 5


@pytest.mark.shared
@pytest.mark.skipif(
    not SHARED.exists(), reason="Fleet's own output does not lie beside the checkout"
)
def test_fleets_own_comparison_passes(tool_env: dict[str, str]) -> None:
    """40 of 40: bundles and objects, by the commands themselves."""
    script = ROOT / ".venv" / "bin" / "fleetctl"
    command = [
        str(ROOT / ".venv/bin/python"),
        str(SHARED / "tools/golden.py"),
        str(SHARED / "data/fleet-examples"),
        str(SHARED / "data/golden"),
    ]
    done = subprocess.run(
        [*command, "--fleetctl", str(script)],
        env=tool_env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "40 equal, 0 not, of 40", done.stdout
