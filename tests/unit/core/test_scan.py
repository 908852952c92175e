"""Which directories are bundles, what they are called, and what is in them."""

from __future__ import annotations

import pytest

from fleetctl.core.gitrepo import repo_spec
from fleetctl.core.ids import CommitId, RepoName
from fleetctl.core.naming import bundle_name, clean
from fleetctl.core.scan import ChartRequest, finish, scan
from tests.support.trees import DictTree


def scanned(files, **spec):
    repo = repo_spec({"metadata": {"name": "repo"}, "spec": {"repo": "https://git.example/r", **spec}})
    return scan(DictTree(files), repo, commit=CommitId("c" * 40))


def test_an_inner_fleet_yaml_starts_a_bundle_of_its_own():
    """Its files leave the outer bundle, which has a fleet.yaml too."""
    got = scanned({"a/fleet.yaml": "", "a/x.yaml": "1", "a/b/fleet.yml": "", "a/b/y.yaml": "2"}, paths=["a"])
    assert {d.spec.name: sorted(d.files) for d in got.drafts} == {"repo-a": ["x.yaml"], "repo-a-b": ["y.yaml"]}


def test_a_folder_of_bundles_alone_is_no_bundle():
    """Only what lies outside of the inner bundles makes an outer one."""
    inner = {"a/x/fleet.yaml": "", "a/x/c.yaml": "1", "a/y/fleet.yaml": "", "a/y/c.yaml": "1"}
    assert [d.spec.name for d in scanned(inner, paths=["a"]).drafts] == ["repo-a-x", "repo-a-y"]
    assert [d.spec.name for d in scanned({**inner, "a/README.md": ""}, paths=["a"]).drafts] == ["repo-a", "repo-a-x", "repo-a-y"]


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
    got = scanned({"a/fleet.yaml": "name: web", "b/fleet.yaml": "name: web"}, paths=["a", "b"])
    assert got.problems[0].summary == "a and b are both named web"


def test_values_files_are_merged_over_values():
    """In their order, and a file that is missing is a problem."""
    fleet = "helm:\n  values: {a: 1, b: {c: 1}}\n  valuesFiles: [one.yaml]\n"
    got = scanned({"a/fleet.yaml": fleet, "a/one.yaml": "b: {d: 2}\na: 3"}, paths=["a"])
    assert got.drafts[0].spec.options.helm.values == {"a": 3, "b": {"c": 1, "d": 2}}
    assert "one.yaml is not in the bundle" in scanned({"a/fleet.yaml": fleet}, paths=["a"]).problems[0].summary


def test_fleetignore_hides_files():
    """A name anywhere below, a path from the file's own folder."""
    files = {"a/.fleetignore": "*.md\n/sub/x.yaml\n# no\n", "a/R.md": "", "a/sub/x.yaml": "", "a/y.yaml": "", "a/z/x.yaml": ""}
    assert sorted(scanned(files, paths=["a"]).drafts[0].files) == ["y.yaml", "z/x.yaml"]


def test_paths_may_hold_stars():
    """One star is one level."""
    got = scanned({"apps/a/x.yaml": "", "apps/b/x.yaml": "", "apps/b/c/x.yaml": ""}, paths=["apps/*"])
    assert [d.spec.name for d in got.drafts] == ["repo-apps-a", "repo-apps-b"]


def test_charts_of_others_are_asked_for_and_packed():
    """A chart from a repository is a request; its files end in the archive."""
    got = scanned({"a/fleet.yaml": "helm: {chart: web, repo: https://charts.example, version: '1.x'}"}, paths=["a"])
    request = ChartRequest("web", "https://charts.example", "1.x")
    assert got.drafts[0].charts == [request]
    built = finish(got.drafts[0], {request: {"Chart.yaml": DictTree({"c": "x"}).read("c")}})
    assert built.spec.files == 1
    assert built.spec.archive


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("opni-fleet-examples-fleets-opni-ui-plugin-operator-crd", "opni-fleet-examples-fleets-opni-ui-plugin-opera-021f7"),
        ("simple", "simple"),
    ],
)
def test_long_names_are_cut_as_fleet_cuts_them(text, name):
    """47 characters, a dash, five hex digits."""
    assert clean(text) == name


def test_the_root_of_a_repository_has_the_repositorys_name():
    """No dash at the end."""
    assert bundle_name(RepoName("repo"), "") == "repo"
