"""What a key means that a document does not know."""

from __future__ import annotations

import pytest

from fleetctl.core.documents.fleet_yaml import parse
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.lint.engine import Severity, lint
from fleetctl.core.model.errors import InvalidFile


def warnings(text: str) -> list[tuple[str, int, str]]:
    return [(note.code, note.place.line, note.next_step) for note in parse(text.encode()).notes]


def test_keys_are_read_in_any_letter_case():
    """As Go reads them, at every depth; the right spelling is a warning, and wins over another
    one.
    """
    text = (
        "DefaultNamespace: a\ndefaultNamespace: b\nhelm: {releasename: r, Values: {Keep: Me},"
        " waitforjobs: true}\ntargetcustomizations:\n- {Name: p, clusterselector: {MatchLabels:"
        " {env: 1}}, HELM: {ATOMIC: true}}\ndependson: [{NAME: x}]\nrolloutstrategy: {Partitions:"
        " [{maxunavailable: 1}]}\n"
    )
    fleet = parse(text.encode())
    assert fleet.options.default_namespace == "b"
    assert (
        fleet.options.helm.release_name,
        fleet.options.helm.values,
        fleet.options.helm.wait_for_jobs,
    ) == ("r", {"Keep": "Me"}, True)
    assert fleet.customizations[0].cluster_selector == {"matchLabels": {"env": "1"}}
    assert fleet.customizations[0].options.helm.atomic
    assert (fleet.depends_on[0].name, fleet.rollout_strategy) == (
        "x",
        {"partitions": [{"maxUnavailable": 1}]},
    )
    assert {code for code, _, _ in warnings(text)} == {"key-case"}
    assert ("key-case", 1, "Write `defaultNamespace`.") in warnings(text)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("targetNamespace: x", "Write `namespace`."),
        (
            "helm: {namespace: x}",
            (
                "Write `defaultNamespace` at the top level, or `namespace` there to put every"
                " object into it."
            ),
        ),
        ("helm: {createNamespace: true}", "Write `createNamespace` at the top level."),
        (
            "clusterGroup: x",
            (
                "Write it in an entry of `targetCustomizations`, or of `overrideTargets` to choose"
                " the clusters."
            ),
        ),
        (
            "clusterSelector: {}",
            (
                "Write it in an entry of `targetCustomizations`, or of `overrideTargets` to choose"
                " the clusters."
            ),
        ),
        ("values: {a: 1}", "Write it as `helm.values`."),
        ("valuesFiles: [a]", "Write it as `helm.valuesFiles`."),
        ("chart: x", "Write it as `helm.chart`."),
        ("repo: x", "Write it as `helm.repo`."),
        ("releaseName: x", "Write it as `helm.releaseName`."),
        ("overlays: [x]", "Write it as `yaml.overlays`."),
        ("comparePatches: []", "Write it as `diff.comparePatches`."),
        ("maxUnavailable: 1", "Write it as `rolloutStrategy.maxUnavailable`."),
        ("doNotDeploy: true", "Write it in an entry of `targetCustomizations`."),
        ("metadata: {labels: {}}", "Write `name` and `labels` at the top level."),
        ("helm: {name: x}", "Write `releaseName`."),
        ("helm: {dependsOn: []}", "Write `dependsOn` at the top level."),
        ("helm: {kustomize: {}}", "Write `kustomize` at the top level."),
        ("helm: {correctDrift: {}}", "Write `correctDrift` at the top level."),
        ("helm: {labels: {}}", "Write `labels` at the top level."),
        ("diff: {ignore: {}}", "Write `ignore` at the top level."),
        (
            "kustomize: {namespace: x}",
            (
                "Write `defaultNamespace` at the top level, or `namespace` there to put every"
                " object into it."
            ),
        ),
        ("targetCustomizations: [{clusterName: a, values: {}}]", "Write it as `helm.values`."),
        (
            "targetCustomizations: [{clusterName: a, helm: {namespace: x}}]",
            "Write `defaultNamespace` at the top level, or `namespace`",
        ),
        (
            "targetCustomizations: [{clusterName: a, dependsOn: []}]",
            "Write `dependsOn` at the top level.",
        ),
    ],
)
def test_a_misplaced_key_gets_the_place_where_it_has_an_effect(text, step):
    """It is a warning, so that the bundle works as in Fleet; `validate` says the same."""
    [(code, line, next_step)] = warnings(text)
    assert (code, line) == ("misplaced-key", 1)
    assert next_step.startswith(step)
    assert [(f.severity, f.code, f.next_step) for f in lint(text.encode())] == [
        (Severity.WARNING, code, next_step)
    ]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("helm: {valeus: {}}", "values"), ("lables: {}", "labels"), ("hlem: {}", "helm"), ("namespaces: x", "namespace"),  # noqa: E501
        ("dependOn: []", "dependsOn"), ("defaultnamspace: x", "defaultNamespace"), ("targetCustomization: []", "targetCustomizations"),  # noqa: E501
        ("helm: {charts: x}", "chart"), ("helm: {ValuesFile: [x]}", "valuesFiles"), ("rolloutStrategy: {partition: []}", "partitions"),  # noqa: E501
        ("targetCustomizations: [{clusterSelectors: {}}]", "clusterSelector"), ("diff: {comparePatch: []}", "comparePatches"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_typing_error_is_an_error_with_the_right_key(text, near):
    """Nobody means it."""
    with pytest.raises(InvalidFile, match=r"fleet\.yaml:1:\d+: unknown key") as caught:
        parse(text.encode())
    assert caught.value.next_step == f"Did you mean `{near}`?"
    assert "unknown-key" in [f.code for f in lint(text.encode()) if f.severity is Severity.ERROR]


@pytest.mark.parametrize(
    "text",
    [
        "x-common: {a: 1}",
        "helm: {kubeVersion: 1}",
        "targetCustomizations: [{clusterName: a, owner: me}]",
    ],
)
def test_a_key_that_nobody_knows_is_a_warning_unless_the_reader_is_strict(text):
    """`spec.strict` of the GitRepo and `validate --strict` refuse it."""
    assert [code for code, _, _ in warnings(text)] == ["ignored-key"]
    with pytest.raises(InvalidFile, match="has no effect"):
        parse(text.encode(), strict=True)


@pytest.mark.parametrize(
    ("selector", "place", "words"),
    [
        ("5", "clusterSelector", "is not a label selector"),
        ("[a]", "clusterSelector", "is not a label selector"),
        ("{matchLabels: [1]}", "matchLabels", "is not a map of labels"),
        ("{matchLabels: x}", "matchLabels", "is not a map of labels"),
        ("{matchLabels: {a: [1]}}", "a: [1]", "is not text"),
        ("{matchExpressions: {a: b}}", "matchExpressions", "is not a list"),
        ("{matchExpressions: [x]}", "x", "is not a map"),
        ("{matchExpressions: [{key: a}]}", "{key", "operator is missing"),
        ("{matchExpressions: [{key: 5, operator: In}]}", "key", "key is missing or is not text"),
        (
            "{matchExpressions: [{key: a, operator: is, values: [1]}]}",
            "operator",
            "none of In, NotIn, Exists, DoesNotExist",
        ),
        ("{matchExpressions: [{key: a, operator: In, values: b}]}", "values", "is not a list"),
        ("{matchExpressions: [{key: a, operator: In, values: [{}]}]}", "{}", "is not text"),
        ("{env: prod}", "env", "unknown key"),
        ("{matchLabel: {}}", "matchLabel", "unknown key"),
    ],
)
@pytest.mark.parametrize(
    "where",
    [
        "targetCustomizations:\n- clusterSelector: {}",
        "targetCustomizations:\n- clusterGroupSelector: {}",
        "overrideTargets:\n- clusterSelector: {}",
        "rolloutStrategy:\n  partitions:\n  - clusterSelector: {}",
        "dependsOn:\n- selector: {}",
    ],
)
def test_a_selector_of_a_wrong_form_is_refused_where_it_is_written(selector, place, words, where):
    """An unknown key in it is always an error: the selector that is left would pick every
    cluster.
    """
    text = where.replace("{}", selector) + "\n"
    with pytest.raises(InvalidFile, match=words) as caught:
        parse(text.encode())
    line = text.splitlines()[caught.value.line - 1]
    shown = place if place != "clusterSelector" else "elector"
    assert shown in line[caught.value.column - 1 :]
    assert any(
        f.severity is Severity.ERROR and f.line == caught.value.line for f in lint(text.encode())
    )


def test_null_counts_as_not_written():
    """As in Go, at every depth; values of a chart keep theirs."""
    text = (
        "name:\nhelm: {chart: , values: {a: }, valuesFiles:"
        " }\nrolloutStrategy:\ntargetCustomizations: [{name: , clusterSelector: {}}]\n"
    )
    fleet = parse(text.encode())
    assert (
        fleet.name,
        fleet.rollout_strategy,
        fleet.options.helm.chart,
        fleet.options.helm.values,
    ) == ("", None, None, {"a": None})
    assert [f.code for f in lint(text.encode())] == []


def test_a_gitrepo_that_is_strict_refuses_what_is_a_warning_otherwise():
    """In its own spec too."""
    document = {"metadata": {"name": "a"}, "spec": {"repo": "https://git.example/r", "owner": "me"}}
    repo = repo_spec(document)
    assert repo.spec.strict is False
    assert [note.code for note in repo.notes] == ["ignored-key"]
    document["spec"]["strict"] = True
    with pytest.raises(InvalidFile, match="owner"):
        repo_spec(document)
