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
    "missing-key": "A key that must be there is not.",
    "wrong-type": "The value has another type than the key takes.",
    "unknown-value": "The key takes one of a few words, and this is none of them.",
    "invalid-value": (
        "The value has the right type, and is no duration, number, share, cron expression or word"
        " that the key takes."
    ),
    "no-criterion": "The entry says nothing of which clusters it means, so it would match none.",
    "empty-dependency": "The entry of dependsOn names neither a bundle nor a selector.",
    "chart-missing": (
        "helm.chart names a folder without a Chart.yaml, or outside of the bundle's directory."
    ),
    "chart-address": (
        "helm.chart is an address that no chart is fetched from, such as another Git repository."
    ),
    "repo-without-chart": "helm.repo names a repository, and nothing says which chart of it.",
    "values-file-missing": "helm.valuesFiles names a file that is not there.",
    "kustomize-dir-missing": "kustomize.dir names a folder without a kustomization.yaml.",
    "kustomize-outside": (
        "A kustomization loads something that is not a file of the bundle, or a chart."
    ),
    "patch-without-target": "An overlay's X_patch.yaml changes X.yaml, which is not there.",
    "invalid-name": "Kubernetes or Helm would not take this name.",
    "refused": "fleetctl refuses the file for another reason.",
}
_WARNINGS = {
    "both-fleet-files": "fleet.yml beside fleet.yaml is not read.",
    "values-files-without-chart": (
        "helm.valuesFiles at the top level is read only beside helm.chart or helm.repo, in Fleet"
        " too."
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
        "An earlier entry takes every cluster that this one would pick, and the first match counts."
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
        "diff.comparePatches[].name is no valid regular expression, and is compared as it stands."
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
    "targets-in-file": "targets in fleet.yaml does not choose who gets the bundle.",
    "number-as-text": (
        "A number with a point counts as its shortest text where text is wanted: 1.10 becomes 1.1."
    ),
    "key-case": "The key is written in another letter case. Go reads it, and so does fleetctl.",
    "misplaced-key": "The key has an effect in another place only. Fleet ignores it silently.",
    "ignored-key": "Nobody reads this key, as in Fleet.",
    "no-effect": "The key is Rancher Fleet's, and has no effect here.",
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
