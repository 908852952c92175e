"""Patterns and ignore files that attack the scan: many stars, many lines, long lines."""

from __future__ import annotations

import time

import pytest

from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.filetree.globs import MAX_PATTERN, matches
from fleetctl.core.model.ids import CommitId
from fleetctl.core.scan.scan import Scan, scan
from tests.support.trees import DictTree


def scanned(files: dict[str, str], **spec: object) -> Scan:
    document = {"metadata": {"name": "repo"}, "spec": {"repo": "x", **spec}}
    return scan(DictTree(files), repo_spec(document), commit=CommitId("c" * 40))


@pytest.mark.parametrize(
    "pattern", ["*a" * 500 + "b", "*" * 1000 + "b", "*[a-c]?" * 140 + "b", "*\\a" * 300 + "b"]
)
def test_many_stars_are_matched_at_once(pattern):
    """The cost is the product of both lengths at most."""
    began = time.monotonic()
    assert not matches(pattern, "a" * 1000)
    assert time.monotonic() - began < 10


def test_stars_in_an_ignore_file_and_in_paths():
    """The pattern of a repository, and that of a GitRepo, over long names."""
    long = "a" * 200 + ".txt"
    began = time.monotonic()
    got = scanned(
        {"app/.fleetignore": "*a" * 10 + "*b\n", f"app/{long}": "x", "app/m.yaml": "k: v"},
        paths=["app"],
    )
    assert sorted(got.drafts[0].files) == sorted([long, "m.yaml"])
    assert [
        p.code for p in scanned({f"{'a' * 200}/m.yaml": "k: v"}, paths=["*a" * 100 + "b"]).problems
    ] == ["no-such-path"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        ("*.md\n# comment\n[a\n", "app/.fleetignore:3: '[a' is not a valid pattern"),
        ("x" * (MAX_PATTERN + 1), f"is longer than {MAX_PATTERN} characters"),
        (
            "\n".join(f"n{n}" for n in range(200_000)),
            "app/.fleetignore:1001: holds more than 1000 patterns",
        ),
    ],
)
def test_an_ignore_file_that_cannot_be_used_is_a_problem_of_its_bundle(ignore, message):
    """The other bundles of the repository go on."""
    got = scanned(
        {"app/.fleetignore": ignore, "app/m.yaml": "k: v", "other/m.yaml": "k: v"},
        paths=["app", "other"],
    )
    assert [d.spec.path for d in got.drafts] == ["other"]
    assert [p.path for p in got.problems] == ["app"]
    assert message in got.problems[0].summary
    assert got.problems[0].next_step


def test_one_ignored_name_in_many_files_is_matched_once():
    """1,000 patterns and 500 files with few names take no long time."""
    rules = "\n".join(f"{n}*y" for n in range(1000))
    files = {f"app/{n}/m.yaml": "k: v" for n in range(500)}
    began = time.monotonic()
    got = scanned({"app/.fleetignore": rules, **files}, paths=["app"])
    assert len(got.drafts[0].files) == 500
    assert time.monotonic() - began < 30


def test_a_malformed_path_of_a_gitrepo_is_a_problem_of_that_path():
    """The bundles of its other paths go on."""
    got = scanned({"app/m.yaml": "k: v"}, paths=["app", "[a"])
    assert [d.spec.path for d in got.drafts] == ["app"]
    assert "'[a' is not a valid pattern" in got.problems[0].summary


def test_the_cost_of_a_scan_grows_with_the_repository_and_not_with_its_square():
    """Thousands of paths, bundles and ignore files."""
    files = {
        f"a{n}/{name}": text
        for n in range(2000)
        for name, text in (("fleet.yaml", ""), ("m.yaml", "k: v"), (".fleetignore", "*.md"))
    }
    began = time.monotonic()
    assert len(scanned(files, paths=[f"a{n}" for n in range(2000)]).drafts) == 2000
    assert time.monotonic() - began < 30
