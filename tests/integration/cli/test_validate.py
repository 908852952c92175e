"""validate and explain as a person and a pipeline run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Person


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "bad").mkdir(parents=True)
    (root / "good").mkdir()
    (root / "bad" / "fleet.yaml").write_text("defaultNamespace: x\nhelm:\n  relaseName: a\nforceSyncGeneration: 1\n")
    (root / "good" / "fleet.yaml").write_text("defaultNamespace: x\n")
    (root / "good" / "m.yaml").write_text("a: 1\n")
    return root


def test_findings_name_their_place_and_set_the_status(tmp_path: Path, folder: Path) -> None:
    """file:line:column, the code and the next step; 1 for errors, 0 for none, warnings only with --strict."""
    person = Person(tmp_path)
    done = person.run("validate", str(folder))
    assert done.status == 1
    assert f"{folder}/bad/fleet.yaml:3:3: error: unknown key `helm.relaseName` [unknown-key]\n  Did you mean `releaseName`?" in done.out
    assert "[force-sync-generation]" in done.out
    assert done.err == "2 files, 1 error, 1 warning\n"
    assert person.run("validate", str(folder / "good")).status == 0
    (folder / "bad" / "fleet.yaml").write_text("forceSyncGeneration: 1\n")
    assert person.run("validate", str(folder)).status == 0
    assert person.run("validate", "--strict", str(folder)).status == 1


def test_reports_for_machines(tmp_path: Path, folder: Path) -> None:
    """JSON, and SARIF with rules, places and relative addresses."""
    person = Person(tmp_path)
    found = json.loads(person.run("validate", "-o", "json", str(folder / "bad" / "fleet.yaml")).out)
    assert [(f["code"], f["line"], f["severity"]) for f in found] == [("unknown-key", 3, "error"), ("force-sync-generation", 4, "warning")]
    report = json.loads(person.run("validate", "-o", "sarif", "-", stdin="nam: x\n").out)
    [run] = report["runs"]
    assert report["version"] == "2.1.0"
    assert run["results"][0]["ruleId"] == "unknown-key"
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == "unknown-key"
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "fleet.yaml"}, "region": {"startLine": 1, "startColumn": 1}}


def test_hostile_keys_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """Escapes in a key are shown as spaces."""
    done = Person(tmp_path).run("validate", "-", stdin='"\\e]0;x\\a": 1\n')
    assert done.status == 0
    assert "\x1b" not in done.out + done.err


def test_nothing_to_check_is_said(tmp_path: Path) -> None:
    """An empty folder is not fine."""
    done = Person(tmp_path).run("validate", str(tmp_path))
    assert done.status == 1
    assert "no fleet.yaml was found" in done.err


def test_explain(tmp_path: Path) -> None:
    """Type, default, what a customization does, fields below; JSON and the schema."""
    person = Person(tmp_path)
    shown = person.good("explain", "fleet.yaml.helm.values")
    assert "FIELD:    helm.values <map>" in shown
    assert "TARGETS:" in shown
    assert "chart  <string>" in person.good("explain", "helm")
    assert json.loads(person.good("explain", "helm.atomic", "-o", "json"))["type"] == "boolean"
    assert json.loads(person.good("explain", "--schema"))["additionalProperties"] is False
    assert "    valuesFiles  <list of strings>" in person.good("explain", "--recursive")
    assert person.run("explain", "helm.valus").status == 2
    assert "fleet.yaml.helm.values" in person.good("__complete", "explain", "fleet.yaml.helm.va")
