"""validate and explain as a person and a pipeline run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli.person import Person


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "bad").mkdir(parents=True)
    (root / "good").mkdir()
    (root / "bad" / "fleet.yaml").write_text(
        "defaultNamespace: x\nhelm:\n  relaseName: a\nforceSyncGeneration: 1\n"
    )
    (root / "good" / "fleet.yaml").write_text("defaultNamespace: x\n")
    (root / "good" / "m.yaml").write_text("a: 1\n")
    return root


def test_findings_name_their_place_and_set_the_status(tmp_path: Path, folder: Path) -> None:
    """file:line:column, the code and the next step; 1 for errors, 0 for none, warnings only with
    --strict.
    """
    person = Person(tmp_path)
    done = person.run("validate", str(folder))
    assert done.status == 1
    assert (
        f"{folder}/bad/fleet.yaml:3:3: error: unknown key `helm.relaseName` [unknown-key]\n  Did"
        " you mean `releaseName`?" in done.out
    )
    assert "[force-sync-generation]" in done.out
    assert done.err == "2 files, 1 error, 1 warning\n"
    assert person.run("validate", str(folder / "good")).status == 0
    (folder / "bad" / "fleet.yaml").write_text("forceSyncGeneration: 1\n")
    assert person.run("validate", str(folder)).status == 0
    assert person.run("validate", "--strict", str(folder)).status == 1


def test_an_object_that_two_manifests_state_is_a_warning(tmp_path: Path, folder: Path) -> None:
    """With or without a fleet.yaml. `ignore[duplicate-object]` and .fleetignore silence it."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n"
    good, person = folder / "good", Person(tmp_path)
    (good / "a.yaml").write_text(text)
    (good / "m.yaml").write_text(text)
    done = person.run("validate", str(good))
    assert done.out == (
        f"{good}/m.yaml:2:1: warning: ConfigMap settings is already in {good}/a.yaml:2; only one of"
        " the two can take effect [duplicate-object]\n  Remove one of the two documents, or give"
        " one object another name.\n"
    )
    assert (done.status, person.run("validate", "--strict", str(good)).status) == (0, 1)
    silenced = text.replace("ConfigMap\n", "ConfigMap  # fleetctl: ignore[duplicate-object]\n")
    (good / "m.yaml").write_text(silenced)
    assert person.run("validate", "--strict", str(good)).out == ""
    (good / "m.yaml").write_text(text)
    (good / ".fleetignore").write_text("m.yaml\n")
    assert person.run("validate", "--strict", str(good)).out == ""
    (good / ".fleetignore").unlink()
    (good / "fleet.yaml").unlink()
    done = person.run("validate", str(good))
    assert done.status == 0
    assert "m.yaml:2: ConfigMap settings is already in a.yaml:2" in done.err
    assert person.run("validate", "--strict", str(good)).status == 1


def test_reports_for_machines(tmp_path: Path, folder: Path) -> None:
    """JSON, and SARIF with rules, places and relative addresses."""
    person = Person(tmp_path)
    found = json.loads(person.run("validate", "-o", "json", str(folder / "bad" / "fleet.yaml")).out)
    assert [(f["code"], f["line"], f["severity"]) for f in found] == [
        ("unknown-key", 3, "error"),
        ("force-sync-generation", 4, "warning"),
    ]
    report = json.loads(person.run("validate", "-o", "sarif", "-", stdin="nam: x\n").out)
    [run] = report["runs"]
    assert report["version"] == "2.1.0"
    assert run["results"][0]["ruleId"] == "unknown-key"
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == "unknown-key"
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "fleet.yaml"},
        "region": {"startLine": 1, "startColumn": 1},
    }


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


FLEETS = """\
apiVersion: v1
kind: List
items:
- apiVersion: fleet.cattle.io/v1alpha1
  kind: GitRepo
  metadata: {name: a}
  spec: {repo: x, brnach: y, insecureSkipTLSVerify: true, targets: [{name: b}]}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Schedule
metadata: {name: s}
spec: {schedule: 61 * * * *, duration: 2d, targets: {clusters: [{clusterSelector: {a: b}}]}}
---
apiVersion: cluster.x-k8s.io/v1beta1
kind: Cluster
metadata: {name: c}
spec: {nonsense: 1}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: h}
"""


def test_every_document_of_a_manifest_is_judged(tmp_path: Path) -> None:
    """All mistakes at once, each at its own line; objects of other groups are passed over."""
    person, file = Person(tmp_path), tmp_path / "all.yaml"
    file.write_text(FLEETS)
    found = json.loads(person.run("validate", "-o", "json", str(file)).out)
    assert [(f["line"], f["code"], f["path"]) for f in found] == [
        (7, "unknown-key", "items[0].spec.brnach"),
        (7, "refused", "items[0].spec.insecureSkipTLSVerify"),
        (7, "no-criterion", "items[0].spec.targets[0]"),
        (12, "invalid-value", "spec.schedule"),
        (12, "invalid-value", "spec.duration"),
        (12, "unknown-key", "spec.targets.clusters[0].clusterSelector.a"),
        (20, "refused", "kind"),
    ]
    file.write_text("apiVersion: k8up.io/v1\nkind: Schedule\nspec: {backup: {}}\n")
    done = person.run("validate", str(file))
    assert done.status == 0
    assert "all.yaml: not an object for `fleetctl apply`, not checked" in done.err


def test_a_rollout_has_each_mistake_at_its_own_line(tmp_path: Path, folder: Path) -> None:
    """Durations, shares and words do not hide one another."""
    text = (
        "rolloutStrategy:\n  maxUnavailable: 5x\n  approval: maybe\n  partitions:\n  - name: a\n   "
        " clusterSelector: {}\n    soak: 5x\n"
    )
    (folder / "bad" / "fleet.yaml").write_text(text + "helm:\n  timeoutSeconds: soon\n")
    found = json.loads(Person(tmp_path).run("validate", "-o", "json", str(folder / "bad")).out)
    assert [(f["line"], f["column"]) for f in found] == [(2, 3), (3, 3), (7, 5), (9, 3)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("helm: {chart: ../../../etc}\n", "1:8: error: `helm.chart`: ../../../etc"),
        ("helm: {chart: /etc}\n", "Chart.yaml"),
        ("downstreamResources: [{kind: Pod, name: x}]\n", "error: `downstreamResources[0].kind`"),
    ],
)
def test_what_the_scan_refuses_is_an_error(
    tmp_path: Path, folder: Path, text: str, words: str
) -> None:
    """Of a folder, and of the file alone."""
    (folder / "bad" / "fleet.yaml").write_text(text)
    for path in (folder, folder / "bad", folder / "bad" / "fleet.yaml"):
        done = Person(tmp_path).run("validate", str(path))
        assert done.status == 1
        assert words in done.out


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    """2, as for any wrong command line."""
    assert Person(tmp_path).run("validate", str(tmp_path / "gone.yaml")).status == 2


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
