"""Which chart the options mean, whatever the form in which they are written."""

from __future__ import annotations

import pytest

from fleetctl.core.charts.reference import (
    OTHER_GIT,
    ChartRequest,
    describe_unsupported,
    local_folder,
    remote_chart,
)
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.bundle_archive import archive_digest, pack
from fleetctl.core.model.bundle import File
from fleetctl.core.model.ids import CommitId
from fleetctl.core.model.options import HelmOptions, digest, merge
from fleetctl.core.rendering.render import chart_of
from fleetctl.core.scan.scan import Scan, finish, scan
from tests.support.trees import DictTree

X, Y = "oci://registry.example/team/web", "oci://registry.example/team/next"
CHART = {"Chart.yaml": File(b"name: web\nversion: 1.0.0\n")}


def scanned(fleet_yaml: str) -> Scan:
    spec = repo_spec({"metadata": {"name": "r"}, "spec": {"repo": "https://git.example/r"}})
    return scan(DictTree({"fleet.yaml": fleet_yaml}), spec, commit=CommitId("c" * 40))


@pytest.mark.parametrize(
    "helm",
    [
        f"{{repo: '{X}', version: 1.0.0}}",
        f"{{repo: '{X}/', version: 1.0.0}}",
        f"{{repo: '{X}', chart: web, version: 1.0.0}}",
        f"{{repo: '{X}', chart: '{X}', version: 1.0.0}}",
    ],
)
def test_every_form_of_an_oci_chart_is_the_same_deployment(helm: str) -> None:
    """Archive and options are equal, so that a change from one form to another deploys nothing."""
    (deprecated,) = scanned(f"helm: {{chart: '{X}', version: 1.0.0}}").drafts
    (draft,) = scanned(f"helm: {helm}").drafts
    assert draft.charts == deprecated.charts == [ChartRequest(X, "", "1.0.0")]
    assert digest(draft.spec.options) == digest(deprecated.spec.options)
    archives = {finish(d, dict.fromkeys(d.charts, CHART)).spec.archive for d in (draft, deprecated)}
    assert len(archives) == 1
    assert archive_digest(pack({})) not in archives


@pytest.mark.parametrize(
    "base", [f"repo: '{X}'", f"chart: '{X}'", "chart: web, repo: https://c.example"]
)
@pytest.mark.parametrize("custom", [f"repo: '{Y}'", f"chart: '{Y}'"])
def test_a_customization_of_the_chart_is_found_again_on_the_cluster(base: str, custom: str) -> None:
    """The agent merges the options; the archive has the chart of the result."""
    text = (
        f"helm: {{{base}, version: 1.0.0}}\ntargetCustomizations:\n- {{clusterName: a, helm:"
        f" {{{custom}}}}}\n"
    )
    (draft,) = scanned(text).drafts
    archive = {f"{r.folder}/{path}": file for r in draft.charts for path, file in CHART.items()}
    merged = merge(draft.spec.options, draft.spec.customizations[0].options)
    assert merged.helm is not None
    assert chart_of(archive, merged.helm) == ChartRequest(Y, "", "1.0.0").folder
    assert draft.spec.options.helm is not None
    assert chart_of(archive, draft.spec.options.helm) == draft.charts[0].folder


def test_a_bundle_of_an_oci_chart_alone_is_a_bundle() -> None:
    """It was left out as empty, and what ran of it was removed."""
    result = scanned(f"helm: {{repo: '{X}'}}")
    assert [d.spec.name for d in result.drafts] == ["r"]
    assert result.warnings == []
    custom = f"targetCustomizations:\n- {{clusterName: a, helm: {{repo: '{X}'}}}}\n"
    assert scanned(custom).drafts[0].charts == [ChartRequest(X)]


def test_a_repository_without_a_chart_is_a_problem() -> None:
    result = scanned("helm: {repo: https://charts.example}")
    assert "names no chart" in result.problems[0].summary


@pytest.mark.parametrize(
    ("chart", "folder"),
    [
        ("", ""),
        (".", ""),
        ("./", ""),
        ("./a", "a"),
        ("a//b/", "a/b"),
        ("./a/./b", "a/b"),
        ("/a", "a"),
        ("../a", "../a"),
        ("a/../b", "b"),
        (".hidden", ".hidden"),
        ("a.b.", "a.b."),
    ],
)
def test_a_path_is_the_folder_that_it_names(chart: str, folder: str) -> None:
    assert local_folder(HelmOptions(chart=chart)) == folder
    assert remote_chart(HelmOptions(chart=chart)) is None


@pytest.mark.parametrize(
    "chart",
    [
        "git::https://git.example/charts.git//web?ref=main",
        "git::ssh://git@git.example/charts//web",
        "git::git@git.example:team/charts.git//web",
        "git@git.example:team/charts.git//web",
        "ssh://git@git.example/charts",
        "git://git.example/charts",
        "github.com/acme/charts//web",
        "gitlab.com/acme/charts",
        "bitbucket.org/acme/charts/web",
        "https://github.com/acme/charts.git//web",
        "https://git.example/charts.git?ref=v1",
        "https://git.example/charts//web?ref=v1",
    ],
)
def test_a_chart_in_another_git_repository_is_named_as_one(chart: str) -> None:
    found = describe_unsupported(chart)
    assert found is not None
    assert found[0] == OTHER_GIT
    (problem,) = scanned(f"helm: {{chart: '{chart}'}}").problems
    assert OTHER_GIT in problem.summary
    assert "Copy the chart" in problem.next_step


@pytest.mark.parametrize(
    ("chart", "words"),
    [
        ("s3::https://s3.amazonaws.com/bucket/web.tgz", "by s3"),
        ("gcs::https://www.googleapis.com/storage/web.tgz", "by gcs"),
        ("s3://bucket/web.tgz", "by s3"),
        ("file:///etc/charts", "by file"),
        ("hg::http://hg.example/charts", "by hg"),
        ("https://charts.example/all.tgz//web", "folder inside a chart archive"),
    ],
)
def test_other_addresses_are_named(chart: str, words: str) -> None:
    found = describe_unsupported(chart)
    assert found is not None
    assert words in found[0]


@pytest.mark.parametrize(
    "chart",
    ["", "web", "./web", "https://charts.example/web-1.0.0.tgz?sig=a//b", X, "a//b", "github.com"],
)
def test_paths_and_archives_are_supported(chart: str) -> None:
    assert describe_unsupported(chart) is None
