"""Which directories are bundles, what they are called, and what is in them."""

from __future__ import annotations

import msgspec
import pytest

from fleetctl.core.charts.reference import ChartRequest
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import CommitId, RepoName
from fleetctl.core.scan.bundle_names import bundle_name, clean
from fleetctl.core.scan.scan import finish, scan
from tests.support.trees import DictTree


def scanned(files, **spec):
    repo = repo_spec(
        {"metadata": {"name": "repo"}, "spec": {"repo": "https://git.example/r", **spec}}
    )
    return scan(DictTree(files), repo, commit=CommitId("c" * 40))


def test_an_inner_fleet_yaml_starts_a_bundle_of_its_own():
    """As in Fleet, its files travel with the outer bundle too, which does not deploy them."""
    got = scanned(
        {"a/fleet.yaml": "", "a/x.yaml": "1", "a/b/fleet.yaml": "", "a/b/y.yaml": "2"}, paths=["a"]
    )
    assert {d.spec.name: sorted(d.files) for d in got.drafts} == {
        "repo-a": ["b/fleet.yaml", "b/y.yaml", "x.yaml"],
        "repo-a-b": ["y.yaml"],
    }


def test_a_folder_of_bundles_alone_is_no_bundle():
    """Only YAML that lies outside of the inner bundles makes an outer one."""
    inner = {
        "a/x/fleet.yaml": "",
        "a/x/c.yaml": "1",
        "a/y/fleet.yaml": "",
        "a/y/c.yaml": "1",
        "a/README.md": "",
    }
    assert [d.spec.name for d in scanned(inner, paths=["a"]).drafts] == ["repo-a-x", "repo-a-y"]
    assert [d.spec.name for d in scanned({**inner, "a/z/m.yml": ""}, paths=["a"]).drafts] == [
        "repo-a",
        "repo-a-x",
        "repo-a-y",
    ]


def test_bundles_may_be_named_instead_of_found():
    """A base is a bundle as it stands; with options of its own it is called after these too."""
    files = {
        "a/m.yaml": "1",
        "a/dev.yaml": "defaultNamespace: dev",
        "a/in/fleet.yaml": "",
        "cfg/p.yaml": "defaultNamespace: p",
    }
    named = [
        {"base": "a"},
        {"base": "a", "options": "dev.yaml"},
        {"base": "a", "options": "../cfg/p.yaml"},
    ]
    got = scanned(files, bundles=named[:2])
    assert {d.spec.name: d.spec.options.default_namespace for d in got.drafts} == {
        "repo-a": None,
        "repo-a-dev": "dev",
    }
    assert "dev.yaml" not in got.drafts[1].files
    assert scanned(files, bundles=named[2:]).drafts[0].spec.options.default_namespace == "p"
    assert (
        "'b' is not in the repository"
        in scanned(files, bundles=[{"base": "b"}]).problems[0].summary
    )


def test_hidden_files_and_folders_are_left_out():
    """As in Fleet; nothing but hidden files is no bundle, which is said."""
    got = scanned(
        {"a/.x.yaml": "", "a/.d/y.yaml": "", "a/y.yaml": "", "b/.z.yaml": "", "b/fleet.yaml": ""},
        paths=["a", "b"],
    )
    assert [sorted(d.files) for d in got.drafts] == [["y.yaml"]]
    assert [w.summary for w in got.warnings] == ["b holds no file to deploy"]


def test_nothing_to_deploy_at_all_is_a_problem():
    """An empty repository must not look like success."""
    assert [p.code for p in scanned({"README.md": ""}).problems] == ["no-bundles"]


def test_a_path_that_is_not_there_is_a_problem_beside_the_others():
    """The good path is still a bundle."""
    got = scanned({"a/x.yaml": "1"}, paths=["a", "gone"])
    assert [d.spec.name for d in got.drafts] == ["repo-a"]
    assert [p.code for p in got.problems] == ["no-such-path"]


def test_a_broken_fleet_yaml_does_not_stop_its_siblings():
    """One problem with file and line, one bundle."""
    got = scanned({"a/fleet.yaml": "helm:\n  valeus: {}", "b/x.yaml": "1"}, paths=["a", "b"])
    assert [d.spec.name for d in got.drafts] == ["repo-b"]
    assert got.problems[0].summary.startswith("a/fleet.yaml:2:3")


def test_two_bundles_with_one_name_are_named_both():
    """The second is a problem that names both directories."""
    got = scanned(
        {"a/fleet.yaml": "name: web", "b/fleet.yaml": "name: web", "a/x": "", "b/x": ""},
        paths=["a", "b"],
    )
    assert got.problems[0].summary == "a and b are both named web; none of them is deployed"


def test_values_files_are_merged_over_values():
    """In their order, from the bundle's folder and above it; they do not travel, and one that is
    missing is a problem.
    """
    fleet = (
        "helm:\n  chart: c\n  values: {a: 1, b: {c: 1}}\n  valuesFiles: [one.yaml, ../two.yaml]\n"
    )
    files = {
        "a/fleet.yaml": fleet,
        "a/one.yaml": "b: {d: 2}\na: 3",
        "two.yaml": "a: 4",
        "a/c/Chart.yaml": "name: c",
    }
    got = scanned(files, paths=["a"]).drafts[0]
    assert got.spec.options.helm.values == {"a": 4, "b": {"c": 1, "d": 2}}
    assert sorted(got.files) == ["c/Chart.yaml"]
    del files["two.yaml"]
    assert "../two.yaml is not in the repository" in scanned(files, paths=["a"]).problems[0].summary


def test_values_files_of_a_customization_are_its_own():
    """They count without a chart too, and the chart is the bundle's."""
    fleet = (
        "helm: {chart: c}\ntargetCustomizations:\n- clusterName: x\n  helm: {valuesFiles:"
        " [x.yaml]}\n"
    )
    got = (
        scanned({"fleet.yaml": fleet, "x.yaml": "k: 1", "c/Chart.yaml": ""})
        .drafts[0]
        .spec.customizations[0]
    )
    assert (got.name, got.options.helm.values, got.options.helm.chart) == (
        "target000",
        {"k": 1},
        "c",
    )


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("*.md", ["sub/x.yaml", "y.yaml"]),
        ("x.yaml", ["R.md", "sub/R.md", "y.yaml"]),
        ("sub", ["R.md", "y.yaml"]),
        ("sub/*", ["R.md", "y.yaml"]),
        ("sub/x.yaml", ["R.md", "sub/R.md", "sub/x.yaml", "y.yaml"]),
        ("[^x].yaml  ", ["R.md", "sub/R.md", "sub/x.yaml"]),
        ("# R.md", ["R.md", "sub/R.md", "sub/x.yaml", "y.yaml"]),
    ],
)
def test_fleetignore_hides_files(line, left):
    """Fleet's rule: the last part of a path, anywhere below; `NAME/*` is a folder."""
    files = {
        "a/.fleetignore": line,
        "a/R.md": "",
        "a/sub/x.yaml": "",
        "a/sub/R.md": "",
        "a/y.yaml": "",
    }
    assert sorted(scanned(files, paths=["a"]).drafts[0].files) == left


def test_paths_may_hold_stars():
    """One star is one level."""
    got = scanned(
        {"apps/a/x.yaml": "", "apps/b/x.yaml": "", "apps/b/c/x.yaml": ""}, paths=["apps/*"]
    )
    assert [d.spec.name for d in got.drafts] == ["repo-apps-a", "repo-apps-b"]


def test_charts_of_others_are_asked_for_and_packed():
    """A chart from a repository is a request; its files end in the archive."""
    got = scanned(
        {"a/fleet.yaml": "helm: {chart: web, repo: https://charts.example, version: '1.x'}"},
        paths=["a"],
    )
    request = ChartRequest("web", "https://charts.example", "1.x")
    assert got.drafts[0].charts == [request]
    built = finish(got.drafts[0], {request: {"Chart.yaml": DictTree({"c": "x"}).read("c")}})
    assert built.spec.files == 1
    assert built.spec.archive


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "opni-fleet-examples-fleets-opni-ui-plugin-operator-crd",
            "opni-fleet-examples-fleets-opni-ui-plugin-opera-021f7",
        ),
        ("simple", "simple"),
    ],
)
def test_long_names_are_cut_as_fleet_cuts_them(text, name):
    """47 characters, a dash, five hex digits."""
    assert clean(text) == name


def test_the_root_of_a_repository_has_the_repositorys_name():
    """No dash at the end."""
    assert bundle_name(RepoName("repo"), "") == "repo"


FILES = {
    "a/fleet.yaml": "defaultNamespace: a\n",
    "a/m.yaml": "1",
    "b/m.yaml": "2",
    "c/fleet.yaml": "other: 1",
    "c/m.yaml": "3",
}


def made_of(got):
    return {
        built.fingerprint: built.spec
        for built in (finish(d, {}) for d in got.drafts)
        if built.fingerprint
    }


def test_what_did_not_change_is_not_read_again():
    """A scan that knows the last one reads the one bundle that changed, and makes the same of
    all.
    """
    known = made_of(scanned(FILES, paths=["a", "b", "c"]))
    changed = {**FILES, "b/m.yaml": "22"}
    repo = repo_spec(
        {
            "metadata": {"name": "repo"},
            "spec": {"repo": "https://git.example/r", "paths": ["a", "b", "c"]},
        }
    )
    got = scan(DictTree(changed), repo, commit=CommitId("d" * 40), earlier_bundles=known)
    # what warns is looked at each time
    assert [d.spec.name for d in got.drafts if not d.is_made] == ["repo-b", "repo-c"]
    whole = scan(DictTree(changed), repo, commit=CommitId("d" * 40))
    assert [d.spec if d.is_made else finish(d, {}).spec for d in got.drafts] == [
        finish(d, {}).spec for d in whole.drafts
    ]
    assert [w.code for w in got.warnings] == ["ignored-key"]


@pytest.mark.parametrize(
    "spec",
    [{"paths": ["a"], "targetNamespace": "x"}, {"paths": ["a"], "correctDrift": {"enabled": True}}],
)
def test_another_gitrepo_makes_the_bundle_anew(spec):
    """What the GitRepo says is part of the inputs."""
    known = made_of(scanned(FILES, paths=["a"]))
    repo = repo_spec(
        {"metadata": {"name": "repo"}, "spec": {"repo": "https://git.example/r", **spec}}
    )
    assert [
        d.is_made
        for d in scan(
            DictTree(FILES), repo, commit=CommitId("c" * 40), earlier_bundles=known
        ).drafts
    ] == [False]


def test_values_files_above_the_bundle_are_read_each_time():
    """They are not part of its folder."""
    files = {
        "a/fleet.yaml": "helm: {chart: ., valuesFiles: [../v.yaml]}",
        "a/Chart.yaml": "name: c",
        "v.yaml": "a: 1",
    }
    assert made_of(scanned(files, paths=["a"])) == {}


@pytest.mark.parametrize(
    ("error", "code"),
    [(AttributeError("list has no items"), "internal"), (MemoryError(), "too-large")],
)
def test_an_unexpected_error_in_one_bundle_is_that_bundles_problem(error, code):
    """The other bundles of the repository go on."""

    class Broken(DictTree):
        def read(self, path):
            if path == "a/m.yaml":
                raise error
            return super().read(path)

    tree = Broken({"a/m.yaml": "k: v", "b/m.yaml": "k: v"})
    got = scan(
        tree,
        repo_spec({"metadata": {"name": "repo"}, "spec": {"repo": "x", "paths": ["a", "b"]}}),
        commit=CommitId("c" * 40),
    )
    assert [d.spec.path for d in got.drafts] == ["b"]
    assert [(p.path, p.code) for p in got.problems] == [("a", code)]
    assert got.problems[0].summary.startswith("a")


def test_a_selector_that_cannot_be_judged_is_its_bundles_problem():
    """Not an error of the transaction that stores all bundles of the repository."""
    files = {
        "a/fleet.yaml": "targetCustomizations: [{clusterSelector: {matchExpressions: {a: b}}}]",
        "a/m.yaml": "k: v",
        "b/m.yaml": "k: v",
    }
    got = scanned(files, paths=["a", "b"])
    assert [d.spec.path for d in got.drafts] == ["b"]
    assert [p.path for p in got.problems] == ["a"]


def test_a_guard_ends_the_work_on_one_bundle_only():
    """As the manager does after seconds of CPU."""

    class Guard:
        def __init__(self):
            self.count = 0

        def __call__(self):
            self.count += 1
            return self

        def __enter__(self):
            if self.count == 1:
                raise UsageError("reading this bundle takes too long")

        def __exit__(self, *_):
            return None

    tree = DictTree({"a/m.yaml": "k: v", "b/m.yaml": "k: v"})
    spec = repo_spec({"metadata": {"name": "repo"}, "spec": {"repo": "x", "paths": ["a", "b"]}})
    got = scan(tree, spec, commit=CommitId("c" * 40), guard=Guard())
    assert [d.spec.path for d in got.drafts] == ["b"]
    assert "takes too long" in got.problems[0].summary


@pytest.mark.parametrize(
    "key",
    [
        "helm: {values: {a: VALUE}}",
        "labels: {a: VALUE}",
        "namespaceLabels: {a: VALUE}",
        "name: VALUE",
    ],
)
def test_a_value_that_no_document_can_hold_stops_no_other_bundle(key):
    """The whole result of a scan is one document."""
    value = '"\\ud800"'
    got = scanned(
        {"a/fleet.yaml": key.replace("VALUE", value), "a/m.yaml": "k: v", "b/m.yaml": "k: v"},
        paths=["a", "b"],
    )
    assert "b" in [d.spec.path for d in got.drafts]
    msgspec.json.encode([[d.spec for d in got.drafts], got.problems, got.warnings])


def test_an_object_that_two_files_state_is_a_warning_of_each_scan():
    """A scan that finds the bundle unchanged would lose the warning, so it reads the bundle."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n"
    got = scanned({"web/a.yaml": text, "web/b.yaml": f"---\n{text}"}, paths=["web"])
    [warning] = got.warnings
    assert (warning.path, warning.code, warning.warning) == ("web", "duplicate-object", True)
    assert warning.summary == (
        "web/b.yaml:3: ConfigMap settings is already in web/a.yaml:2;"
        " only one of the two can take effect"
    )
    assert [(d.spec.path, d.fingerprint) for d in got.drafts] == [("web", "")]
