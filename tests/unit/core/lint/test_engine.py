"""Everything that is wrong or hardly meant in a fleet.yaml is found at once, with its place;
nothing that Fleet takes is called wrong.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.documents.fleet_yaml import parse
from fleetctl.core.lint.engine import RULES, Severity, lint, lint_ignore, lint_manifest
from fleetctl.core.model.errors import FleetError, UsageError
from tests.support.pages.cases import cases


def codes(text: str, files: list[str] | None = None, file: str = "fleet.yaml") -> list[str]:
    return [f"{f.line}:{f.code}" for f in lint(text.encode(), file=file, files=files)]


@pytest.mark.parametrize(
    ("text", "files", "found"),
    [
        (
            "nam: x\nhelm:\n  relaseName: y\n  atomic: 5\n",
            [],
            ["1:unknown-key", "3:unknown-key", "4:wrong-type"],
        ),
        ("a: [\n", [], ["2:yaml"]),
        ("name: a\nname: b\n", [], ["2:yaml"]),
        ("- x\n", [], ["1:wrong-type"]),
        ("", [], []),
        ("targetCustomizationMode: Last\n", [], ["1:unknown-value"]),
        ("targetCustomizations:\n- {name: x}\n", [], ["2:no-criterion"]),
        ("dependsOn:\n- {acceptedStates: [Redy]}\n", [], ["2:empty-dependency", "2:unknown-value"]),
        ("helm: {chart: ./web}\n", ["a.yaml"], ["1:chart-missing"]),
        ("helm: {chart: ., valuesFiles: [gone.yaml]}\n", ["Chart.yaml"], ["1:values-file-missing"]),
        (
            "helm: {valuesFiles: [v.yaml]}\n",
            ["Chart.yaml", "v.yaml"],
            ["1:values-files-without-chart"],
        ),
        ("kustomize: {dir: over}\n", ["a.yaml"], ["1:kustomize-dir-missing"]),
        ("helm: {repo: 'https://x.example'}\n", [], ["1:repo-without-chart"]),
        (
            "helm: {repo: 'oci://x.example/web', version: 1.2.3, valuesFiles: [v.yaml]}\n",
            ["v.yaml"],
            [],
        ),
        (
            (
                "targetCustomizations:\n- {clusterName: a, helm: {repo: 'oci://x.example/web',"
                " version: 1.2.3}}\n"
            ),
            [],
            [],
        ),
        ("helm: {chart: 'oci://x.example/web', version: 1.2.3}\n", [], ["1:oci-in-chart"]),
        ("helm: {chart: 'git::https://x.example/web?ref=v1'}\n", [], ["1:chart-address"]),
        ("helm: {chart: github.com/acme/charts//web}\n", ["a.yaml"], ["1:chart-address"]),
        ("helm: {chart: ../web}\n", ["a.yaml"], ["1:chart-missing"]),
        ("helm: {chart: ./charts//web}\n", ["charts/web/Chart.yaml"], []),
        ("helm: {chart: ., version: '1'}\n", ["Chart.yaml"], ["1:version-without-repo"]),
        (
            "helm: {templateValues: {a: b}, disablePreProcess: true}\n",
            ["Chart.yaml"],
            ["1:templates-switched-off"],
        ),
        (
            (
                "diff: {comparePatches: [{apiVersion: v1, kind: Pod, jsonPointers: [a],"
                " operations: [{op: test, path: /a}, {op: add, path: b}]}]}\n"
            ),
            [],
            ["1:diff-operation", "1:diff-operation", "1:diff-operation"],
        ),
        (
            "yaml: {overlays: [o]}\n",
            ["Chart.yaml", "overlays/o/a.yaml"],
            ["1:overlays-without-effect"],
        ),
        ("yaml: {overlays: [o]}\n", ["a.yaml"], ["1:overlay-missing"]),
        (
            "yaml: {overlays: [o]}\n",
            ["a.yaml", "overlays/o/b_patch.yaml"],
            ["1:patch-without-target"],
        ),
        ("helm: {waitForJobs: true}\n", ["Chart.yaml"], ["1:wait-without-timeout"]),
        ("namespace: a\ndefaultNamespace: b\n", [], ["2:two-namespaces"]),
        (
            (
                "targetCustomizations:\n- {clusterSelector: {}, name: a}\n- {clusterName: x, name:"
                " b}\n"
            ),
            [],
            ["3:shadowed"],
        ),
        (
            "targetCustomizations:\n- {clusterName: a, name: one}\n- {clusterName: b, name: one}\n",
            [],
            ["3:name-twice"],
        ),
        ("forceSyncGeneration: 3\n", [], ["1:force-sync-generation"]),
        ("correctDrift: {force: true}\n", [], ["1:correct-drift-off"]),
        ("name: me\ndependsOn: [{name: me}]\n", [], ["2:depends-on-itself"]),
        ("diff: {comparePatches: [{name: x}]}\n", [], ["1:diff-incomplete"]),
        ("deleteNamespace: true\nnamespace: kube-system\n", [], ["1:protected-namespace"]),
        ("helm: {values: {a: '${ .ClusterName'}}\n", ["Chart.yaml"], ["1:template-open"]),
        (
            "helm: {values: {a: global.fleet.clusterLables.x}}\n",
            ["Chart.yaml"],
            ["1:cluster-label"],
        ),
        ("helm: {chart: c, repo: 'https://x.example', version: 1.10}\n", [], ["1:number-as-text"]),
        (
            (
                "targetCustomizations:\n- {clusterSelector: {matchExpressions: [{key: a, operator:"
                " Is}]}}\n"
            ),
            [],
            ["2:unknown-value"],
        ),
        ("forceSyncGeneration: 3 # fleetctl: ignore[force-sync-generation]\n", [], []),
        ("nam: x # fleetctl: ignore[unknown-key]\n", [], ["1:unknown-key"]),
    ],
)
def test_findings(text: str, files: list[str], found: list[str]) -> None:
    """Line and code of each."""
    assert codes(text, files) == found


def test_an_unknown_key_names_where_it_belongs() -> None:
    """Also a key that stands one level too high."""
    [finding] = lint(b"valuesFiles: [a]\n", files=[])
    assert (
        finding.next_step == "Did you mean `helm.valuesFiles[]`?"
        or "helm.valuesFiles" in finding.next_step
    )


def test_fleet_yml_beside_fleet_yaml_is_not_read() -> None:
    """One warning and nothing else."""
    assert codes("nonsense: 1", ["fleet.yaml"], "a/fleet.yml") == ["0:both-fleet-files"] or codes(
        "nonsense: 1", ["fleet.yaml"], "a/fleet.yml"
    ) == ["1:both-fleet-files"]


def test_lines_of_fleetignore_that_match_nothing() -> None:
    """A path with a slash never does, as in Fleet."""
    found = lint_ignore(
        b"*.md\nsub/x.yaml\nsub/*\n# c\ngone\n", file=".fleetignore", files=["a.md", "sub/x.yaml"]
    )
    assert [(f.line, f.code) for f in found] == [(2, "ignore-line"), (5, "ignore-line")]


def test_manifests_are_checked_too() -> None:
    """GitRepo, Cluster and ClusterGroup."""
    text = (
        b"apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\nmetadata: {name: a}\nspec:\n  brnch:"
        b" x\n  targets: [{name: x}]\n"
    )
    assert [(f.line, f.code) for f in lint_manifest(text, file="g.yaml")] == [
        (4, "missing-key"),
        (5, "unknown-key"),
        (6, "no-criterion"),
    ]


@pytest.mark.parametrize(
    "case", [c for c in cases() if "refused" not in c.expect], ids=lambda c: c.name
)
def test_what_works_is_not_called_an_error(case) -> None:
    """Every case of the corpus that deploys."""
    text = case.files.get("fleet.yaml", "")
    files = [path for path in case.files if path != "fleet.yaml"]
    wrong = [f for f in lint(text.encode(), files=files) if f.severity is Severity.ERROR]
    told = (
        {"kustomize-dir-missing", "patch-without-target", "invalid-name"}
        if "fails" in case.expect
        else set()
    )
    assert [f for f in wrong if f.code not in told] == []


LINES = [
    "helm:",
    "  values: {a: 1}",
    "  chart: x",
    "name: y",
    "- a",
    "&a x",
    "*a",
    "targets:",
    "- name: z",
    "diff: 5",
    "${ x",
]
words = st.sampled_from([*LINES, "yaml: {overlays: [1]}"])


@given(st.binary(max_size=150) | st.lists(words).map(lambda lines: "\n".join(lines).encode()))
def test_any_bytes_give_findings(data: bytes) -> None:
    """Never an exception; whatever the reader refuses is an error here, and the other way round."""
    found = lint(data, files=["Chart.yaml"])
    assert all(f.code in RULES for f in found)
    try:
        parse(data)
        refused = False
    except FleetError:
        refused = True
    if refused:
        assert any(f.severity is Severity.ERROR for f in found)


def _object(kind: str, body: str, name: str = "a") -> str:
    version = "v1" if kind in {"Secret", "ConfigMap"} else "fleet.cattle.io/v1alpha1"
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\n{body}\n"


@pytest.mark.parametrize(
    ("text", "line", "summary"),
    [
        (
            _object("ClusterRegistrationToken", "spec: {uses: 0, ttl: 1h}"),
            4,
            "spec.uses '0' is not a whole number",
        ),
        (
            _object("ClusterRegistrationToken", "spec:\n  labels: {a: b}\n  ttl: never"),
            6,
            "'never' is not a duration",
        ),
        (_object("ClusterRegistrationToken", "spec: {tll: 1h}"), 1, "tll"),
        (
            _object("Cluster", "spec: {}", name="Not_A_Name"),
            1,
            "is not a name that Kubernetes would accept",
        ),
        (_object("GitRepo", "spec: {repo: 'https://u:p@git.example/r'}"), 1, "login"),
        (
            _object("GitRepo", "spec: {repo: 'https://git.example/r', targetNamespace: A_B}"),
            4,
            "is not a name",
        ),
        (_object("Bundle", "spec: {}"), 1, "a Bundle is made from Git"),
        (_object("Secret", "data: {a: '%'}"), 1, "data.a is not base64"),
        (_object("ConfigMap", "data: {a: 1}"), 1, "data must map text to text"),
        (_object("ClusterGroup", "sepc: {}"), 1, "sepc"),
    ],
)
def test_every_kind_is_judged_as_apply_judges_it(text: str, line: int, summary: str) -> None:
    """One error, in the object; also as an item of a List behind a correct one."""
    (finding,) = [
        f for f in lint_manifest(text.encode(), file="x.yaml") or [] if f.severity is Severity.ERROR
    ]
    assert (finding.line, summary in finding.summary) == (line, True), finding
    correct = _object("ConfigMap", "data: {a: b}")
    joined = correct + "---\n" + text
    assert [
        f.summary
        for f in lint_manifest(joined.encode(), file="x.yaml") or []
        if f.severity is Severity.ERROR
    ] == [finding.summary]


def test_correct_objects_and_those_of_bundles_have_no_findings() -> None:
    token = _object("ClusterRegistrationToken", "spec: {ttl: 1h, uses: 2, labels: {a: b}}")
    assert lint_manifest(token.encode(), file="x.yaml") == []
    assert (
        lint_manifest(
            b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", file="x.yaml"
        )
        is None
    )


def test_a_time_zone_is_checked_where_zones_are_known() -> None:
    def refuse(zone: str) -> None:
        raise UsageError(f"there is no time zone {zone!r}", subject="spec.location")

    text = _object(
        "Schedule",
        "spec: {schedule: '0 0 * * * *', duration: 1h, location: Mars, targets: {clusters:"
        " [{clusterName: a}]}}",
    )
    assert [
        f.summary for f in lint_manifest(text.encode(), file="x.yaml", check_zone=refuse) or []
    ] == ["Schedule a: there is no time zone 'Mars'"]
