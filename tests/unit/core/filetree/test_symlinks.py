"""Symbolic links, submodules and names that no archive can hold, in a scan."""

from __future__ import annotations

import stat
import time

import pytest

from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.model.ids import CommitId
from fleetctl.core.scan.scan import Scan, scan
from fleetctl.sources.git.store import entry_fault
from tests.support.trees import DictTree

MAP = "kind: ConfigMap\n"


def scanned(files, links=None, unusable=None, **spec: object) -> Scan:
    document = {"metadata": {"name": "repo"}, "spec": {"repo": "x", **spec}}
    return scan(DictTree(files, links, unusable), repo_spec(document), commit=CommitId("c" * 40))


def only(found: Scan):
    assert found.problems == []
    assert len(found.drafts) == 1
    return found.drafts[0]


def test_fleet_yaml_and_values_files_may_be_links_to_anywhere_in_the_repository():
    """They are read at the scan and do not travel."""
    files = {
        "common/fleet.yaml": (
            "defaultNamespace: team\nhelm: {chart: ./chart, valuesFiles: [v.yaml]}\n"
        ),
        "common/values.yaml": "a: 1\n",
        "apps/a/chart/Chart.yaml": "name: c\n",
    }
    links = {
        "apps/a/fleet.yaml": "../../common/fleet.yaml",
        "apps/a/v.yaml": "../../common/values.yaml",
    }
    draft = only(scanned(files, links, paths=["apps/a"]))
    assert draft.spec.options.default_namespace == "team"
    assert draft.spec.options.helm.values == {"a": 1}
    assert sorted(draft.files) == ["chart/Chart.yaml"]
    assert draft.fingerprint == ""


def test_files_and_folders_within_the_bundle_are_followed():
    """Chains too; each becomes a file at the place of the link."""
    files = {
        "app/chart/Chart.yaml": "name: c",
        "app/chart/defaults.yaml": "a: 1",
        "app/lib/t/a.yaml": MAP,
        "app/lib/.hidden": "",
    }
    links = {
        "app/chart/values.yaml": "v",
        "app/chart/v": "./defaults.yaml",
        "app/chart/templates": "../lib/t",
        "app/.x": "/etc",
    }
    draft = only(scanned(files, links, paths=["app"]))
    assert draft.files["chart/values.yaml"].data == b"a: 1"
    assert draft.files["chart/templates/a.yaml"].data == MAP.encode()
    assert "lib/.hidden" not in draft.files


@pytest.mark.parametrize(
    "paths", [["clusters/c1/*"], ["clusters/c1/web"], ["clusters/*/web"], ["./clusters//c1/web/"]]
)
def test_a_directory_of_a_gitrepo_may_be_a_link(paths):
    """Its name is that of the link; bundles inside a linked directory are not looked for, as in
    Fleet.
    """
    files = {
        "lib/web/fleet.yaml": "defaultNamespace: web",
        "lib/web/m.yaml": MAP,
        "lib/web/inner/fleet.yaml": "",
        "lib/web/inner/m.yaml": MAP,
    }
    draft = only(scanned(files, {"clusters/c1/web": "../../lib/web"}, paths=paths))
    assert (draft.spec.name, draft.spec.path) == ("repo-clusters-c1-web", "clusters/c1/web")
    assert sorted(draft.files) == ["inner/fleet.yaml", "inner/m.yaml", "m.yaml"]


def test_bundles_are_found_below_a_directory_that_a_path_reaches_through_a_link():
    """Only the last part of the path decides."""
    files = {"lib/web/a/fleet.yaml": "", "lib/web/a/m.yaml": MAP}
    got = scanned(files, {"c1": "lib"}, paths=["c1/web"])
    assert [d.spec.path for d in got.drafts] == ["c1/web/a"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/etc/passwd", "is absolute"),
        ("../../../etc/passwd", "leads out of the repository"),
        ("../other/m.yaml", "leads out of the bundle's directory app"),
        ("../other", "leads out of the bundle's directory app"),
        ("nothing.yaml", "leads to no file"),
        ("link.yaml", "is part of a cycle"),
        (".", "is part of a cycle"),
        ("a/b", "is part of a cycle"),
    ],
)
def test_a_link_that_cannot_be_followed_is_a_problem_of_its_bundle(target, message):
    """It names the link and its target; the other bundles are deployed."""
    files = {"app/m.yaml": MAP, "other/m.yaml": MAP, "app/a/x.yaml": MAP}
    got = scanned(
        files, {"app/link.yaml": target, "app/a/b": "../link.yaml"}, paths=["app", "other"]
    )
    assert [d.spec.path for d in got.drafts] == ["other"]
    assert [p.path for p in got.problems] == ["app"]
    assert message in got.problems[0].summary
    assert "app/link.yaml" in got.problems[0].summary or "app/a/b" in got.problems[0].summary
    assert target in got.problems[0].summary or "../link.yaml" in got.problems[0].summary


def test_a_link_that_is_ignored_hidden_or_outside_of_the_paths_says_nothing():
    """600 links elsewhere are not worth a line."""
    files = {"app/m.yaml": MAP, "app/.fleetignore": "link.yaml\ndocs/*\n"}
    links = {
        "app/link.yaml": "/etc/passwd",
        "app/docs/x": "nowhere",
        "app/.hidden": "../..",
        **{f"other/{n}": "/x" for n in range(600)},
    }
    got = scanned(files, links, paths=["app"])
    assert sorted(only(got).files) == ["m.yaml"]
    assert got.warnings == []


def test_a_fleet_yaml_that_is_a_broken_link_or_a_folder_is_a_problem():
    """Not a bundle without options."""
    got = scanned(
        {"a/m.yaml": MAP, "b/m.yaml": MAP, "b/fleet.yaml/x": ""},
        {"a/fleet.yaml": "../gone.yaml"},
        paths=["a", "b"],
    )
    assert got.drafts == []
    assert (
        "a/fleet.yaml: the symbolic link to ../gone.yaml leads to no file"
        in got.problems[0].summary
    )
    assert "b/fleet.yaml: is a folder" in got.problems[1].summary


def test_links_that_multiply_are_bounded():
    """Ten links to the next level in each of ten levels stand for 10^10 files."""
    files = {"app/m.yaml": MAP, "app/l9/m.yaml": MAP}
    links = {f"app/l{level}/x{n}": f"../l{level + 1}" for level in range(9) for n in range(10)}
    began = time.monotonic()
    got = scanned(files, links, paths=["app"])
    assert "holds more than 20000 files" in got.problems[0].summary
    assert time.monotonic() - began < 60
    chain = {f"app/c{n}": f"c{n + 1}" for n in range(100_000)}
    got = scanned({"app/m.yaml": MAP}, chain, paths=["app"])
    assert "more than 40 links" in got.problems[0].summary


def test_a_submodule_is_a_problem_of_the_bundle_that_contains_it():
    """With its address, without a login."""
    modules = (
        '[submodule "x"]\n\tpath = app/shared\n\turl = https://u:secret@git.example/shared.git\n'
    )
    files = {".gitmodules": modules, "app/m.yaml": MAP, "other/m.yaml": MAP}
    got = scanned(
        files,
        unusable={"app/shared": "is a submodule", "docs/theme": "is a submodule"},
        paths=["app", "other"],
    )
    assert [d.spec.path for d in got.drafts] == ["other"]
    summary = got.problems[0].summary
    assert "app/shared: is a submodule of https://" in summary
    assert "submodules are not supported yet" in summary
    assert "secret" not in summary


@pytest.mark.parametrize(
    ("name", "is_problem"),
    [
        ("caf\\xe9.txt", False),
        ("caf\\xe9.yaml", True),
        ("templates/\\xff.tpl", True),
        ("docs/\\xff.png", False),
        (".h\\xff.yaml", False),
    ],
)
def test_a_name_that_no_archive_can_hold_is_a_problem_where_it_would_be_deployed(name, is_problem):
    """Else it is a warning of the bundle."""
    got = scanned(
        {"app/m.yaml": MAP}, unusable={f"app/{name}": "has a name that is not UTF-8"}, paths=["app"]
    )
    assert len(got.problems) == is_problem
    assert len(got.drafts) == (not is_problem)
    hidden = name.startswith(".")
    assert [w.code for w in got.warnings] == ([] if is_problem or hidden else ["left-out"])


def test_a_folder_that_cannot_be_read_is_a_problem():
    """Nobody knows what it holds."""
    got = scanned(
        {"app/m.yaml": MAP},
        unusable={"app/d\\xff": entry_fault("app/d\\xff", b"d\xff", stat.S_IFDIR)},
        paths=["app"],
    )
    assert got.drafts == []
    assert "is a folder that has a name that is not UTF-8" in got.problems[0].summary


def test_two_directories_of_one_bundle_name_are_both_problems():
    """The one that comes first in the alphabet does not replace the one that runs."""
    files = {
        "a/fleet.yaml": "name: x",
        "a/m.yaml": MAP,
        "b/fleet.yaml": "name: x",
        "b/m.yaml": MAP,
        "c/m.yaml": MAP,
    }
    got = scanned(files, paths=["a", "b", "c"])
    assert [d.spec.path for d in got.drafts] == ["c"]
    assert "a and b are both named x" in got.problems[0].summary


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../x", "leads out of the repository"),
        ("app/m.yaml", "is a file, not a folder"),
        ("nothing", "holds no file"),
        ("no*", "holds no file"),
    ],
)
def test_odd_paths_of_a_gitrepo_are_named(path, message):
    """The other paths go on."""
    got = scanned({"app/m.yaml": MAP}, paths=[path, "./app/"])
    assert [d.spec.name for d in got.drafts] == ["repo-app"]
    assert message in got.problems[0].summary
    assert path in got.problems[0].summary
