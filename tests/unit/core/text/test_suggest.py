"""Suggestions help or are left out: they never lead to --yes, and never to a word that is far."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.cli.app import main
from fleetctl.core.text.suggest import close_words, did_you_mean, nearest, nearest_option


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (("logs",), "Use fleetctl why."),
        (("tree",), "Use fleetctl bundle get."),
        (("describe", "x"), "Use fleetctl why."),
        (("suspend",), "Use gitrepo pause or cluster pause."),
        (("reconcile",), "Use fleetctl gitrepo sync."),
        (("gitrpo",), "Did you mean gitrepo?"),
        (("cluster", "rm", "x"), "Did you mean delete?"),
        (("gitrepo", "suspend", "x"), "Did you mean pause?"),
        (("status", "--wach"), "Did you mean --watch?"),
        (("apply", "a b.yaml"), "fleetctl apply -f 'a b.yaml'"),
        (("-V",), "fleetctl --version"),
    ],
)
def test_the_right_command_is_named(
    words: tuple[str, ...], step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert step in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--verbose"),
        ("status", "--quiet"),
        ("status", "--timeout", "1s"),
        ("gitrepo", "add", "x", "https://x/y", "-o", "yaml"),
        ("cluster", "label", "-x"),
        ("frobnicate",),
    ],
)
def test_a_word_that_is_not_near_gets_no_suggestion(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_yes_is_never_suggested() -> None:
    options = ["-y", "--yes", "-l", "--selector"]
    assert nearest_option("--ye", options) == ""
    assert nearest_option("-k", options) == ""
    assert nearest("yes", ["--yes"]) == ""


def test_letter_case_does_not_count() -> None:
    assert nearest("modifed", ["Modified", "Ready"]) == "Modified"
    assert nearest("READY", ["Modified", "Ready"]) == "Ready"


@pytest.mark.parametrize(
    "words",
    [
        ("validate", "nope"),
        ("bundles", "nope"),
        ("render", "nope", "--cluster", "c"),
        ("diff", "nope", "nope"),
        ("targets", ".", "--clusters", "nope"),
        ("apply", "-f", "nope"),
    ],
)
def test_a_path_that_does_not_exist_is_a_wrong_command_line(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "nope" in capsys.readouterr().err


def test_a_folder_of_manifests_alone_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    assert main(["validate", str(tmp_path)]) == 0
    assert "1 bundle" in capsys.readouterr().err
    (tmp_path / "cm.yaml").unlink()
    assert main(["validate", str(tmp_path)]) == 1
    assert "no fleet.yaml was found" in capsys.readouterr().err


def test_close_words_are_ordered_by_similarity() -> None:
    assert close_words("main", ["man", "main", "x"], most=3) == ["main", "man"]
    assert close_words("mian", ["main"], cutoff=0.9) == []


def test_a_question_names_the_nearest_candidate() -> None:
    assert did_you_mean("statsu", ["status", "get"]) == "Did you mean status? "
    assert did_you_mean("zzz", ["status", "get"]) == ""


def test_similar_words_are_found_in_one_module() -> None:
    """Another module would have another cutoff, and another rule for --yes."""
    root = Path(__file__).parents[4]
    users = [
        path.relative_to(root).as_posix()
        for folder in ("fleetctl", "manager", "agent")
        for path in (root / folder).rglob("*.py")
        if "get_close_matches" in path.read_text()
    ]
    assert users == ["fleetctl/core/text/suggest.py"]
