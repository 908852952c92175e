"""Dependencies of charts that are in the same repository."""

from __future__ import annotations

import pytest

from fleetctl.core.charts.dependencies import ChartDependency, dependencies_of, without_missing
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.bundle import File
from fleetctl.core.model.ids import CommitId
from fleetctl.core.scan.scan import Scan, scan
from tests.support.trees import DictTree


def chart(name: str, *dependencies: str, version: str = "1.0.0") -> str:
    listed = "dependencies:\n" + "".join(f"- {{{d}}}\n" for d in dependencies)
    return f"apiVersion: v2\nname: {name}\nversion: {version}\n{listed if dependencies else ''}"


def dependency(name: str, path: str, version: str = ">=0") -> str:
    return f"name: {name}, version: '{version}', repository: 'file://{path}'"


def scanned(files: dict[str, str], path: str = "app") -> Scan:
    spec = {"repo": "https://git.example/r", "paths": [path]}
    repo = repo_spec({"metadata": {"name": "r"}, "spec": spec})
    return scan(DictTree(files), repo, commit=CommitId("c" * 40))


LIB = {"lib/Chart.yaml": chart("lib"), "lib/templates/cm.yaml": "kind: ConfigMap"}


@pytest.mark.parametrize("path", ["../lib", "./../lib/", "../app/../lib"])
def test_a_library_beside_the_chart_is_vendored(path: str) -> None:
    (draft,) = scanned({"app/Chart.yaml": chart("app", dependency("lib", path)), **LIB}).drafts
    assert sorted(draft.files) == [
        "Chart.yaml",
        "charts/lib/Chart.yaml",
        "charts/lib/templates/cm.yaml",
    ]
    assert draft.fingerprint == ""  # a change of the library is noticed


def test_a_library_inside_the_bundle_is_vendored() -> None:
    app = {
        "app/fleet.yaml": "helm: {chart: ./web}",
        "app/web/Chart.yaml": chart("web", dependency("lib", "../parts/lib")),
        "app/parts/lib/Chart.yaml": chart("lib"),
    }
    (draft,) = scanned(app).drafts
    assert "web/charts/lib/Chart.yaml" in draft.files


def test_libraries_bring_their_own_libraries() -> None:
    files = {
        "app/Chart.yaml": chart("app", dependency("lib", "../lib")),
        "lib/Chart.yaml": chart("lib", dependency("base", "../base")),
        "base/Chart.yaml": chart("base"),
    }
    assert "charts/lib/charts/base/Chart.yaml" in scanned(files).drafts[0].files


def test_a_vendored_subchart_gets_what_it_lacks() -> None:
    files = {
        "app/Chart.yaml": chart("app"),
        "app/charts/web/Chart.yaml": chart("web", dependency("lib", "../../../lib")),
        **LIB,
    }
    assert "charts/web/charts/lib/Chart.yaml" in scanned(files).drafts[0].files


def test_what_is_vendored_already_is_kept() -> None:
    files = {
        "app/Chart.yaml": chart("app", dependency("lib", "../gone")),
        "app/charts/lib-1.0.0.tgz": "packed",
    }
    assert sorted(scanned(files).drafts[0].files) == ["Chart.yaml", "charts/lib-1.0.0.tgz"]


def test_one_library_under_two_aliases_is_vendored_once() -> None:
    two = [f"{dependency('lib', '../lib')}, alias: {alias}" for alias in ("a", "b")]
    (draft,) = scanned({"app/Chart.yaml": chart("app", *two), **LIB}).drafts
    assert sorted(draft.files) == [
        "Chart.yaml",
        "charts/lib/Chart.yaml",
        "charts/lib/templates/cm.yaml",
    ]


def test_requirements_of_an_older_chart_count() -> None:
    files = {
        "app/Chart.yaml": "name: app\nversion: 1.0.0\n",
        "app/requirements.yaml": f"dependencies:\n- {{{dependency('lib', '../lib')}}}\n",
        **LIB,
    }
    assert "charts/lib/Chart.yaml" in scanned(files).drafts[0].files


def test_without_dependency_updates_nothing_is_vendored() -> None:
    files = {
        "app/fleet.yaml": "helm: {disableDependencyUpdate: true}",
        "app/Chart.yaml": chart("app", dependency("lib", "../lib")),
        **LIB,
    }
    assert sorted(scanned(files).drafts[0].files) == ["Chart.yaml"]


@pytest.mark.parametrize(
    ("path", "version", "reason"),
    [
        ("../../lib", ">=0", "outside of the repository"),
        ("/etc/charts", ">=0", "outside of the repository"),
        ("../gone", ">=0", "holds no Chart.yaml"),
        ("../lib", ">=2", "version 1.0.0, which >=2 does not allow"),
        ("../other", ">=0", "is the chart different"),
        ("..", ">=0", "leads back"),
        (".", ">=0", "leads back"),
        ("../loop", ">=0", "leads back"),
    ],
)
def test_a_dependency_that_cannot_be_vendored_is_named(
    path: str, version: str, reason: str
) -> None:
    files = {
        "app/Chart.yaml": chart("app", dependency("lib", path, version)),
        "other/Chart.yaml": chart("different"),
        "loop/Chart.yaml": chart("lib", dependency("app", "../app")),
        **LIB,
    }
    (problem,) = scanned(files).problems
    assert reason in problem.summary
    assert "app/Chart.yaml" in problem.summary or "loop/Chart.yaml" in problem.summary
    assert problem.next_step


def test_the_lock_wins_while_it_fits() -> None:
    entry = "name: lib, version: '1.x', repository: 'https://c.example'"
    lock = b"dependencies:\n- {name: lib, version: 1.2.3, repository: 'https://c.example'}\n"
    files = {"Chart.yaml": File(chart("app", entry).encode()), "Chart.lock": File(lock)}
    assert dependencies_of(files, "app") == [ChartDependency("lib", "1.2.3", "https://c.example")]
    newer = {
        "Chart.yaml": File(chart("app", entry.replace("1.x", "2.x")).encode()),
        "Chart.lock": File(lock),
    }
    assert dependencies_of(newer, "app") == [ChartDependency("lib", "2.x", "https://c.example")]


def test_missing_dependencies_are_taken_out_of_the_description() -> None:
    """helm refuses to install a chart that declares what it does not hold."""
    entries = ["name: lib, version: 1.0.0", "name: there, version: 1.0.0, condition: there.enabled"]
    files = {
        "Chart.yaml": File(chart("app", *entries).encode()),
        "charts/there/Chart.yaml": File(chart("there").encode()),
    }
    changed = without_missing(files)
    assert list(changed) == ["Chart.yaml"]
    document = load(changed["Chart.yaml"].data, file="Chart.yaml")
    assert [d["name"] for d in document["dependencies"]] == ["there"]
    assert (document["name"], document["version"]) == ("app", "1.0.0")
    assert without_missing({**files, **changed}) == {}
