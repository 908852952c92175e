"""The values that a chart gets on one cluster.

Order, as in Fleet (rancher/fleet `target/builder.go`): `helm.values`, in which a text that begins
with `global.fleet.clusterLabels.` becomes that label's value; then `${ }` templates over all of
them at once, as YAML text, so that `replicas: ${ .ClusterValues.n }` is a number; then
`templateValues`, each key whole; then what `valuesFrom` brings. Fleet leaves templates untouched
for a cluster without labels, and one cluster's mistake stops them all: here they are always
evaluated, and a mistake concerns this cluster alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from fleetctl.core.formats.yaml import Dumper, load, places
from fleetctl.core.gotemplate import TemplateBudget, TemplateError
from fleetctl.core.gotemplate import render as evaluate
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import ClusterName, Workspace
from fleetctl.core.model.options import HelmOptions, merge_values

_LABEL = "global.fleet.clusterLabels."
_OPEN = "${"
_OWN_PREFIXES = ("fleet.cattle.io/", "management.cattle.io/")


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of one cluster. `values`: spec.templateValues of the Cluster."""

    cluster: ClusterName
    workspace: Workspace
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    values: dict[str, Any] = {}


def values_of(
    helm: HelmOptions, facts: ClusterFacts, values_from: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """What helm gets. Raises UsageError and InvalidFile naming the key."""
    labels = _visible(facts.labels) | {
        k: v for k, v in facts.labels.items() if k.startswith(_OWN_PREFIXES)
    }
    values: dict[str, Any] = _fill_labels(helm.values or {}, labels)
    if not helm.disable_pre_process:
        context = {
            "ClusterNamespace": facts.workspace,
            "ClusterName": facts.cluster,
            "ClusterLabels": labels,
            "ClusterAnnotations": _visible(facts.annotations),
            "ClusterValues": facts.values,
        }
        budget = TemplateBudget()  # one for all templates of the bundle
        values = _evaluate(values, context, budget) | _template_values(
            helm.template_values or {}, context, budget
        )
    for document in values_from:
        values = merge_values(values, document)
    return values


def _visible(visible_labels: Mapping[str, str]) -> dict[str, str]:
    """Without what Rancher and kubectl keep there for themselves."""
    return {
        k: v
        for k, v in visible_labels.items()
        if "cattle.io" not in k and not k.startswith("kubectl.kubernetes.io/")
    }


def _fill_labels(value: Any, labels: Mapping[str, str]) -> Any:
    """A label that the cluster has not got is empty, as in Fleet."""
    if isinstance(value, dict):
        return {key: _fill_labels(part, labels) for key, part in value.items()}
    if isinstance(value, list):
        return [_fill_labels(part, labels) for part in value]
    if isinstance(value, str) and value.startswith(_LABEL):
        return labels.get(value.removeprefix(_LABEL), "")
    return value


def _evaluate(
    values: dict[str, Any], context: Mapping[str, Any], budget: TemplateBudget
) -> dict[str, Any]:
    text = _as_fleet_writes(values)
    if _OPEN not in text:
        return values
    try:
        output = evaluate(text, context, budget=budget)
    except TemplateError as error:
        raise _with_place(error, text) from error
    evaluated_values = load(output, file="helm.values after its templates")
    if not isinstance(evaluated_values, dict):
        raise UsageError(
            "helm.values is no map after its templates",
            subject="helm.values",
            next_step="Correct the templates in it.",
        )
    return evaluated_values


def _template_values(
    templates: Mapping[str, str], context: Mapping[str, Any], budget: TemplateBudget
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, template in templates.items():
        place = f"helm.templateValues.{key}"
        try:
            values[key] = load(
                evaluate(template, context, budget=budget), file=f"{place} after its templates"
            )
        except TemplateError as error:
            raise UsageError(
                f"{place}: {error.summary}", subject=error.subject, next_step=error.next_step
            ) from error
    return values


def _with_place(error: TemplateError, text: str) -> UsageError:
    """The error with the key that the template stands at."""
    lines = [(place.line, path) for path, place in places(text).items() if place.line <= error.line]
    path = max(lines, default=(0, ()), key=lambda line: (line[0], len(line[1])))[1]
    subject = ".".join(["helm.values", *map(str, path)])
    return UsageError(
        f"{subject}: {error.summary}", subject=error.subject, next_step=error.next_step
    )


class _Fleets(Dumper):
    """Writes YAML as go-yaml v2 does: a text of several lines as a literal block, the rest plain or
    in single quotes.
    """


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Fleets.add_representer(str, _text)


def _as_fleet_writes(values: dict[str, Any]) -> str:
    """Keys sorted, lines never broken: a template may hold spaces that a broken line would
    change.
    """
    text = yaml.dump(
        values,
        Dumper=_Fleets,
        sort_keys=True,
        allow_unicode=True,
        default_flow_style=False,
        width=2**30,
    )
    return str(text)
