"""The kinds of findings: a code that stays, how much it matters, and what it is about. Codes are
for scripts and for `ignore[CODE]`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Rule(msgspec.Struct, frozen=True):
    code: str
    severity: Severity
    text: str


_ERRORS = {
    "yaml": (
        "The file is not YAML, or larger than a reader accepts; a duplicate key is one of these."
    ),
    "unknown-key": "A typing error of a known key. Fleet ignores it silently.",
    "missing-key": "A required key is missing.",
    "wrong-type": "The value has the wrong type for the key.",
    "unknown-value": "The value is not one of the values that the key accepts.",
    "invalid-value": (
        "The value has the right type, but is not a duration, number, percentage, cron"
        " expression or word that the key accepts."
    ),
    "no-criterion": "The entry has no criteria for clusters, so it would match none.",
    "empty-dependency": "The entry of dependsOn names neither a bundle nor a selector.",
    "chart-missing": (
        "helm.chart names a folder without a Chart.yaml, or outside of the bundle's directory."
    ),
    "chart-address": (
        "helm.chart is an address from which charts cannot be fetched, such as another Git"
        " repository."
    ),
    "repo-without-chart": "helm.repo names a repository, and no key names the chart.",
    "values-file-missing": "helm.valuesFiles names a file that does not exist.",
    "kustomize-dir-missing": "kustomize.dir names a folder without a kustomization.yaml.",
    "kustomize-outside": (
        "A kustomization loads something that is not a file of the bundle, or a chart."
    ),
    "patch-without-target": "X_patch.yaml of an overlay changes X.yaml, which does not exist.",
    "invalid-name": "Kubernetes or Helm would not take this name.",
    "refused": "fleetctl refuses the file for another reason.",
}
_WARNINGS = {
    "both-fleet-files": "fleet.yml next to fleet.yaml is not read.",
    "values-files-without-chart": (
        "helm.valuesFiles at the top level is read only together with helm.chart or"
        " helm.repo, in Fleet too."
    ),
    "oci-in-chart": "helm.chart with oci:// is deprecated in Fleet; helm.repo takes the address.",
    "version-without-repo": (
        "helm.version counts only for a chart that is fetched from a repository or a registry."
    ),
    "templates-switched-off": (
        "helm.templateValues are templates, and helm.disablePreProcess switches templates off."
    ),
    "overlays-without-effect": "yaml.overlays change bundles of plain manifests only.",
    "overlay-missing": "yaml.overlays names a folder that is not below overlays/.",
    "kustomization-name": (
        "fleetctl and Kustomize read kustomization.yml and Kustomization, Rancher Fleet only"
        " kustomization.yaml."
    ),
    "wait-without-timeout": "Without helm.timeoutSeconds helm does not wait.",
    "two-namespaces": (
        "namespace puts every object into one namespace, so that defaultNamespace has no effect."
    ),
    "shadowed": (
        "An earlier entry matches every cluster that this one matches, and the first match counts."
    ),
    "name-twice": "Two entries have the same name, so that the one a cluster got is ambiguous.",
    "force-sync-generation": "The number in the GitRepo wins over the one in fleet.yaml.",
    "selector-values": "In and NotIn need values, Exists and DoesNotExist take none.",
    "depends-on-itself": "The bundle waits for itself, for ever.",
    "correct-drift-off": (
        "correctDrift.force and keepFailHistory do nothing without correctDrift.enabled."
    ),
    "diff-incomplete": (
        "An entry of diff.comparePatches matches no object without apiVersion and kind."
    ),
    "diff-operation": "A pointer or an operation of diff.comparePatches leaves nothing out.",
    "diff-pattern": (
        "diff.comparePatches[].name is not a valid regular expression, and is compared as"
        " plain text."
    ),
    "wide-login": (
        "helmRepoURLRegex sends the login for charts to more hosts than it seems to name."
    ),
    "protected-namespace": (
        "deleteNamespace never deletes default and the namespaces of Kubernetes itself."
    ),
    "template-open": "A template begins with ${ and does not end.",
    "cluster-label": (
        "Only a text that begins with exactly global.fleet.clusterLabels. becomes a label's value."
    ),
    "targets-in-file": "targets in fleet.yaml does not choose which clusters get the bundle.",
    "number-as-text": (
        "A number with a decimal point in place of a string counts as its shortest text:"
        " 1.10 becomes 1.1."
    ),
    "key-case": "The key is written in another letter case. Go reads it, and so does fleetctl.",
    "misplaced-key": "The key has an effect in another place only. Fleet ignores it silently.",
    "ignored-key": "This key is unknown and has no effect, as in Fleet.",
    "no-effect": "This key of Rancher Fleet has no effect in fleetctl.",
    "ignore-line": "A line of .fleetignore that leaves nothing out.",
    "duplicate-object": (
        "Two documents of a bundle of plain manifests state the same object: API group, kind,"
        " namespace and name are equal. Only one of them can take effect."
    ),
    "link": "A symbolic link is not followed, so the file is not read.",
}
RULES: dict[str, Rule] = {
    **{code: Rule(code, Severity.ERROR, text) for code, text in _ERRORS.items()},
    **{code: Rule(code, Severity.WARNING, text) for code, text in _WARNINGS.items()},
}
