"""Describes every key of the documents that people write. `fleetctl explain`, the JSON Schema,
docs/fleet-yaml.md and the checks of `fleetctl validate` use this table.

The types come from the structs that read the documents (`json_schema.py`); a test compares the
keys of both. The keys of fleet.yaml are Rancher Fleet's (rancher/fleet
`pkg/apis/fleet.cattle.io/v1alpha1`); the descriptions are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """The description of one key. `style`: the kind of bundles on which the key has an effect, ""
    is all; `later`: what this version does not support.
    """

    text: str
    default: str = ""
    style: str = ""
    choices: tuple[str, ...] = ()
    later: str = ""


# The keys of parts that the reader of a document keeps as plain data.


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    operator: str
    values: list[str | int | float | bool] | None = None


class LabelSelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    match_labels: dict[str, str | int | float | bool] | None = None
    match_expressions: list[Requirement] | None = None


class PartitionKeys(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str | None = None
    max_unavailable: int | str | None = None
    cluster_name: str | None = None
    cluster_selector: LabelSelector | None = None
    cluster_group: str | None = None
    cluster_group_selector: LabelSelector | None = None
    soak: str | None = None
    approval: bool | None = None


class RolloutStrategy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    max_unavailable: int | str | None = None
    max_unavailable_partitions: int | str | None = None
    auto_partition_size: int | str | None = None
    auto_partition_threshold: int | None = None
    max_new: int | None = None
    partitions: list[PartitionKeys] | None = None
    soak: str | None = None
    progress_deadline: str | None = None
    approval: str | None = None
    max_failures: int | str | None = None
    on_failure: str | None = None


class SecretRef(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None


class Semver(msgspec.Struct, frozen=True, kw_only=True):
    range: str | None = None


class Alphabetical(msgspec.Struct, frozen=True, kw_only=True):
    order: str | None = None


class ImagePolicy(msgspec.Struct, frozen=True, kw_only=True):
    semver: Semver | None = None
    alphabetical: Alphabetical | None = None


class ImageScan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str | None = None
    tag_name: str | None = None
    gitrepo_name: str | None = None
    image: str | None = None
    interval: str | None = None
    secret_ref: SecretRef | None = None
    suspend: bool | None = None
    policy: ImagePolicy | None = None


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    paused: bool | None = None
    client_id: str | None = msgspec.field(default=None, name="clientID")
    template_values: dict[str, Any] | None = None


class TokenSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    ttl: str | None = None
    labels: dict[str, str] | None = None
    uses: int | None = None


class ClusterGroupSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    selector: LabelSelector | None = None


def _f(
    text: str, default: str = "", style: str = "", *, choices: tuple[str, ...] = (), later: str = ""
) -> Field:
    return Field(text=text, default=default, style=style, choices=choices, later=later)


_SELECTOR = {
    "matchLabels": _f("Labels that the object must have, each with exactly this value."),
    "matchExpressions[]": _f("Conditions on labels. All of them must hold."),
    "matchExpressions[].key": _f("The label's name."),
    "matchExpressions[].operator": _f(
        "The test of the label.", choices=("In", "NotIn", "Exists", "DoesNotExist")
    ),
    "matchExpressions[].values[]": _f("The values to compare with, for `In` and `NotIn`."),
}
_CRITERIA = {
    "name": _f(
        "A name for people. `fleetctl bundle get` shows which entry gives a cluster its options.",
        "target000, target001, …",
    ),
    "clusterName": _f("The cluster with exactly this name."),
    "clusterSelector": _f(
        "Clusters with these labels; `{}` selects every cluster. All criteria of one entry"
        " must hold."
    ),
    "clusterGroup": _f("Clusters of the ClusterGroup with this name."),
    "clusterGroupSelector": _f("Clusters of every ClusterGroup with these labels."),
}
_DRIFT = {
    "enabled": _f(
        "Undo changes on the cluster, instead of only reporting `Modified`.",
        "false",
    ),
    "force": _f(
        "Delete and create objects that cannot be changed in place. Needs `enabled`.", "false"
    ),
    "keepFailHistory": _f("Keep failed attempts in Helm's history. Needs `enabled`.", "false"),
}


def _under(prefix: str, rows: Mapping[str, Field]) -> dict[str, Field]:
    return {f"{prefix}.{key}": row for key, row in rows.items()}


def _criteria(prefix: str) -> dict[str, Field]:
    fields = _under(prefix, _CRITERIA)
    for key in ("clusterSelector", "clusterGroupSelector"):
        fields |= _under(f"{prefix}.{key}", _SELECTOR)
    return fields


_HELM = {
    "chart": _f(
        "The chart: a folder of the bundle, the URL of an archive, or, with `repo`, the name"
        " of the chart there. The manager fetches charts from other places during the scan"
        " and stores them with the bundle.",
        "the folder of the bundle, if it has a Chart.yaml",
    ),
    "repo": _f(
        "The address of the Helm repository that has `chart`. Without `chart`: the `oci://`"
        " address of the chart, which may end with a tag and a digest."
    ),
    "version": _f(
        "The version of a fetched chart, or a range of versions. For `oci://` also"
        " `VERSION@sha256:DIGEST`.",
        "the latest version",
    ),
    "releaseName": _f(
        "The name of the Helm release: at most 53 lower-case letters, digits, `-` and dots.",
        "the bundle's name",
    ),
    "valuesFiles[]": _f(
        "Files with values. The scan reads them. A later file overrides an earlier one, and"
        " all files override `values`. At the top level they have an effect only together"
        " with `helm.chart` or `helm.repo`: for a chart in the bundle's folder write `chart:"
        " .`."
    ),
    "values": _f(
        "Values for the chart. Strings may contain Go templates in `${ }`, which are"
        " evaluated for each cluster. A string that begins with `global.fleet.clusterLabels.`"
        " is replaced by the value of that label of the cluster."
    ),
    "templateValues": _f(
        "Strings that are evaluated as templates for each cluster and then parsed as YAML."
        " They override `values`."
    ),
    "valuesFrom[]": _f(
        "Values from ConfigMaps and Secrets on the cluster. They override `values` and"
        " `valuesFiles`."
    ),
    "valuesFrom[].configMapKeyRef": _f("The ConfigMap."),
    "valuesFrom[].secretKeyRef": _f("The Secret."),
    **{
        f"valuesFrom[].{ref}.{key}": row
        for ref in ("configMapKeyRef", "secretKeyRef")
        for key, row in (
            ("name", _f("Its name.")),
            ("namespace", _f("Its namespace.", "the release's")),
            ("key", _f("The key that has the values, as YAML.", "values.yaml")),
        )
    },
    "timeoutSeconds": _f(
        "How long Helm waits until the release is ready, in seconds. With 0 it does not wait.", "0"
    ),
    "waitForJobs": _f("Also wait for Jobs. Needs `timeoutSeconds`.", "false"),
    "atomic": _f(
        "Roll back an upgrade that fails. With `timeoutSeconds`, an upgrade that is not ready"
        " in time has failed.",
        "false",
    ),
    "force": _f(
        "Delete and create objects that cannot be changed in place. They do not exist for a"
        " moment.",
        "false",
    ),
    "takeOwnership": _f("Adopt objects that belong to another release or to no release.", "false"),
    "maxHistory": _f("The number of revisions of the release that Helm keeps.", "2"),
    "disablePreProcess": _f(
        "Do not evaluate `${ }`. For charts whose values contain that text.", "false"
    ),
    "disableDNS": _f("`getHostByName` in a chart's templates returns nothing.", "false"),
    "skipSchemaValidation": _f(
        "Do not check the values against the chart's values.schema.json.", "false"
    ),
    "disableDependencyUpdate": _f(
        "Use only the dependencies that are in the chart's folder.", "false"
    ),
}
_WITHOUT_CHART = frozenset(
    {
        "releaseName",
        "timeoutSeconds",
        "waitForJobs",
        "atomic",
        "force",
        "takeOwnership",
        "maxHistory",
    }
)

# Keys of the top level that an entry of targetCustomizations can change for some clusters.
OPTIONS: dict[str, Field] = {
    "defaultNamespace": _f(
        "The namespace of objects that state none, and of the release. Objects may state"
        " another namespace.",
        "default",
    ),
    "namespace": _f(
        "Moves every object into this namespace, even if the object states another one."
        " Cluster-scoped objects are refused."
    ),
    "createNamespace": _f("Create the namespace when the bundle is installed.", "true"),
    "namespaceLabels": _f("Labels of the namespace."),
    "namespaceAnnotations": _f("Annotations of the namespace."),
    "deleteNamespace": _f(
        "Delete the namespace with the bundle, except `default` and the namespaces of Kubernetes.",
        "false",
    ),
    "keepResources": _f("Keep the objects on the cluster when the bundle is removed.", "false"),
    "deleteCRDResources": _f(
        "Delete CustomResourceDefinitions with the bundle. This deletes all objects of their"
        " kinds.",
        "false",
    ),
    "serviceAccount": _f(
        "Deploy with the rights of this service account. The agent also reads with these"
        " rights (`valuesFrom`, `lookup`).",
        default="`fleet-default` if that account exists, else the rights of the agent",
    ),
    "forceSyncGeneration": _f(
        "Change this number to deploy again without another change. The number of the GitRepo"
        " takes precedence.",
        "0",
    ),
    "helm": _f(
        "The chart, its values, and how Helm installs it. Every bundle becomes one Helm"
        " release, also without a chart."
    ),
    **{
        f"helm.{key}": msgspec.structs.replace(row, style="" if key in _WITHOUT_CHART else "helm")
        for key, row in _HELM.items()
    },
    "kustomize": _f("For bundles that Kustomize builds.", style="kustomize"),
    "kustomize.dir": _f(
        "The folder with the kustomization.yaml. If the bundle has a chart too, Kustomize"
        " gets the rendered chart.",
        ".",
        "kustomize",
    ),
    "yaml": _f("For bundles of plain manifests.", style="raw"),
    "yaml.overlays[]": _f(
        "Folders `overlays/NAME/` whose files change the bundle's files, in this order: a"
        " file with the same path replaces, a new path adds, and `X_patch.yaml` patches"
        " `X.yaml`. Overlays of a customization are added to those of the top level.",
        style="raw",
    ),
    "diff": _f("Differences that are not drift. A change of this key deploys nothing."),
    "diff.comparePatches[]": _f(
        "One entry for each object, or kind of object, that may differ from Git."
    ),
    "diff.comparePatches[].apiVersion": _f("The object's apiVersion."),
    "diff.comparePatches[].kind": _f("The object's kind."),
    "diff.comparePatches[].namespace": _f("The object's namespace.", "any"),
    "diff.comparePatches[].name": _f("The object's name, or a regular expression for it.", "any"),
    "diff.comparePatches[].jsonPointers[]": _f(
        "JSON pointers (`/spec/replicas`) of fields that may differ."
    ),
    "diff.comparePatches[].operations[]": _f(
        "Operations that exclude fields or objects from the comparison."
    ),
    "diff.comparePatches[].operations[].op": _f(
        "`remove`, `add` and `replace` exclude the field at `path`. `ignore` excludes the"
        " whole object. The others have no effect.",
        choices=("add", "copy", "ignore", "move", "remove", "replace", "test"),
    ),
    "diff.comparePatches[].operations[].path": _f(
        "A JSON pointer. All operations except `ignore` need it."
    ),
    "diff.comparePatches[].operations[].value": _f("Accepted for Fleet. It has no effect."),
    "ignore": _f("Conditions that have no influence on whether an object is ready."),
    "ignore.conditions[]": _f(
        'Entries such as `{type: Ready, status: "False"}`. A condition with all of these'
        " values is ignored."
    ),
    "correctDrift": _f(
        "What the agent does when live objects differ from Git. An entry of a customization"
        " replaces the whole entry."
    ),
    **_under("correctDrift", _DRIFT),
    "downstreamResources[]": _f(
        "Secrets and ConfigMaps of the bundle's workspace. The agent copies them to the"
        " cluster, into the release's namespace."
    ),
    "downstreamResources[].kind": _f("The kind of the object.", choices=("Secret", "ConfigMap")),
    "downstreamResources[].name": _f("Its name."),
}
_PERCENT = "A number, or a percentage such as `25%`."
_ROLLOUT = {
    "maxUnavailable": _f(
        "How many clusters may be unavailable, in all and in each partition, while more clusters"
        f" are updated. {_PERCENT}",
        "100%",
    ),
    "maxUnavailablePartitions": _f(
        f"How many partitions may be unfinished while the next one begins. {_PERCENT}", "0"
    ),
    "autoPartitionSize": _f(
        f"The size of automatic partitions (without `partitions`). {_PERCENT}", "25%"
    ),
    "autoPartitionThreshold": _f(
        "With fewer clusters than this, all clusters are one partition.", "200"
    ),
    "maxNew": _f("How many clusters may get the bundle for the first time at once.", "50"),
    "partitions[]": _f("Groups of clusters. They are updated one after the other, in this order."),
    "partitions[].maxUnavailable": _f(
        f"The same as above, for this partition. {_PERCENT}", "the value of rolloutStrategy"
    ),
    **_criteria("partitions[]"),
    "partitions[].soak": _f(
        "The same as `soak` below, for this partition.", "the value of rolloutStrategy"
    ),
    "partitions[].approval": _f(
        "Whether a person must approve the partition before it begins.", "the value of `approval`"
    ),
    "soak": _f(
        "How long the manager watches a partition after it has finished, such as `10m`. Not"
        " in Fleet.",
        "0s",
    ),
    "progressDeadline": _f(
        "How long one partition may take, such as `1h`. After that the rollout has failed."
        " Not in Fleet.",
        "no limit",
    ),
    "approval": _f(
        "Where a person must approve with `fleetctl rollout approve`: `first` is before the"
        " second partition, `each` is before every partition. Not in Fleet.",
        "none",
        choices=("none", "first", "each"),
    ),
    "maxFailures": _f(
        "How many clusters may fail to apply the version before the rollout has failed. "
        + _PERCENT
        + " Not in Fleet.",
        "no limit",
    ),
    "onFailure": _f(
        "What happens after a rollout has failed: `pause` waits for a person, `rollback` pins"
        " the previous revision. Not in Fleet.",
        "pause",
        choices=("pause", "rollback"),
    ),
}
_SCANS = {
    "name": _f("A name for people."),
    "tagName": _f("The marker in manifests at which the image is replaced."),
    "gitrepoName": _f("The GitRepo that gets the change.", "the bundle's GitRepo"),
    "image": _f("The image, without a tag."),
    "interval": _f("Time between two scans, such as `15m`.", "15m"),
    "secretRef": _f("The login for the registry."),
    "secretRef.name": _f("Name of a Secret of type docker-registry."),
    "suspend": _f("Do not scan.", "false"),
    "policy": _f("The rule that chooses the newest tag."),
    "policy.semver": _f("By semantic version."),
    "policy.semver.range": _f("The highest version in this range."),
    "policy.alphabetical": _f("By the text of the tag."),
    "policy.alphabetical.order": _f("The sort order of tags: ASC or DESC.", "DESC"),
}
OWN: dict[str, Field] = {
    "name": _f(
        "The name of the bundle. Other bundles refer to it in `dependsOn`.",
        "NAME-OF-THE-GITREPO-PATH",
    ),
    "labels": _f(
        "Labels of the bundle. `dependsOn` and `fleetctl get bundles -l` can select them."
    ),
    "paused": _f("Deliver no new version until it is false again. Deployed objects stay.", "false"),
    "rolloutStrategy": _f("How many clusters change at once, and in which order."),
    **_under("rolloutStrategy", _ROLLOUT),
    "targetCustomizationMode": _f(
        "FirstMatch uses the first entry of `targetCustomizations` that matches a cluster."
        " AllMatches merges all entries that match, in order.",
        "FirstMatch",
        choices=("FirstMatch", "AllMatches"),
    ),
    "targetCustomizations[]": _f(
        "Options that differ for some clusters: criteria, and the options of the clusters that"
        " match them. Every value counts, also `false`. The entries choose options, not which"
        " clusters get the bundle: that is `targets` of the GitRepo, or `overrideTargets`."
    ),
    **_criteria("targetCustomizations[]"),
    "targetCustomizations[].doNotDeploy": _f(
        "Clusters that match this entry do not get the bundle.", "false"
    ),
    "targets[]": _f(
        "The key that Fleet uses in a Bundle object. In a file write `targetCustomizations`"
        " or `overrideTargets`."
    ),
    **_criteria("targets[]"),
    "targets[].doNotDeploy": _f("Clusters that match this entry do not get the bundle.", "false"),
    "overrideTargets[]": _f(
        "Which clusters get this bundle, instead of `targets` of the GitRepo. An empty list means"
        " the ClusterGroup `default`."
    ),
    **_criteria("overrideTargets[]"),
    "dependsOn[]": _f(
        "Bundles that must be in an accepted state on the same cluster before this bundle is"
        " installed or upgraded there."
    ),
    "dependsOn[].name": _f("The name of the bundle."),
    "dependsOn[].selector": _f("Bundles with these labels. With `name`, both must match."),
    **_under("dependsOn[].selector", _SELECTOR),
    "dependsOn[].acceptedStates[]": _f("Accepted states of the other bundle.", "Ready"),
    "movedFrom": _f(
        "The name that the bundle had before its directory was renamed. Its releases, objects"
        " and history stay. The old bundle must belong to the same GitRepo. The key may stay"
        " after the move. Not in Fleet."
    ),
    "imageScans[]": _f(
        "Scan for new images and write them to Git.",
        later="Not supported: a bundle with this key is refused.",
    ),
    **_under("imageScans[]", _SCANS),
}
FLEET_YAML: dict[str, Field] = OWN | OPTIONS

GITREPO: dict[str, Field] = {
    "spec": _f("The repository, and the clusters that get its bundles."),
    **_under(
        "spec",
        {
            "repo": _f("The address of the repository, `https://…`."),
            "branch": _f("The branch to deploy.", "the default branch"),
            "revision": _f("A tag or commit to deploy, instead of a branch."),
            "paths[]": _f(
                "Folders to scan, also with `*`. Each is a bundle, and so is each folder"
                " below it with a fleet.yaml.",
                "/",
            ),
            "bundles[]": _f(
                "A list of bundles, instead of a scan of `paths`. Folders below them are not"
                " scanned."
            ),
            "bundles[].base": _f("The folder of the bundle."),
            "bundles[].options": _f(
                "The path of its fleet.yaml, relative to `base`.", "base/fleet.yaml"
            ),
            "targets[]": _f(
                "Which clusters get the bundles. For each cluster the first entry that"
                " matches counts.",
                "the ClusterGroup `default`",
            ),
            **_criteria("targets[]"),
            "targetNamespace": _f(
                "Deploy all objects of every bundle into this namespace, even if fleet.yaml"
                " states another one. Cluster-scoped objects are refused."
            ),
            "serviceAccount": _f(
                "Deploy with the rights of this service account, even if fleet.yaml states"
                " another one."
            ),
            "clientSecretName": _f(
                "The Secret with the login for the repository.",
                "`gitcredential`, if that Secret exists",
            ),
            "helmSecretName": _f("The Secret with the login for Helm repositories."),
            "helmRepoURLRegex": _f(
                "A regular expression for the addresses of Helm repositories that get this"
                " login, matched from the start. Without it no address gets the login."
            ),
            "pollingInterval": _f(
                "Time between two polls of the repository, such as `30s` or `5m`.", "15s"
            ),
            "disablePolling": _f(
                "Do not poll. Read the repository only on a webhook or on `fleetctl gitrepo sync`.",
                "false",
            ),
            "forceSyncGeneration": _f("Change this number to deploy everything again.", "0"),
            "paused": _f(
                "Deliver no new version. Deployed objects stay, and Git is still polled: new"
                " versions show OutOfSync.",
                "false",
            ),
            "keepResources": _f(
                "Keep the objects on the clusters when the GitRepo is deleted.", "false"
            ),
            "deleteNamespace": _f(
                "Delete the namespaces of the bundles together with the bundles.", "false"
            ),
            "correctDrift": _f("What the agent does when live objects differ from Git."),
            **_under("correctDrift", _DRIFT),
            "caBundle": _f(
                "The certificate authorities (PEM, in base64) that may sign the certificate"
                " of the repository's server."
            ),
            "strict": _f(
                "Unknown and misplaced keys are errors in this GitRepo and its fleet.yaml files."
                " Not in Fleet.",
                "false",
            ),
        },
    ),
}
CLUSTER: dict[str, Field] = {
    "spec": _f(
        "The settings of a cluster. Fleet's keys for the agent's Pod are accepted and have no"
        " effect."
    ),
    "spec.paused": _f("Deliver nothing new to this cluster.", "false"),
    "spec.clientID": _f("Accepted for Fleet. It has no effect."),
    "spec.templateValues": _f("Values that templates in `${ }` read as `.ClusterValues`."),
}
CLUSTERGROUP: dict[str, Field] = {
    "spec": _f("The clusters of the group."),
    "spec.selector": _f("Clusters of the workspace with these labels; `{}` selects all of them."),
    **_under("spec.selector", _SELECTOR),
}
SCHEDULE: dict[str, Field] = {
    "spec": _f("Windows, and the clusters that have them."),
    "spec.schedule": _f(
        "When a window begins: `0 2 * * MON-FRI` in crontab's format (0 and 7 are Sunday), or"
        " in Fleet's format `0 0 2 ? * MON-FRI` (second first, 1 is Sunday, a year may"
        " follow). Also `@daily`, `L`, `6L`, `MON#1`."
    ),
    "spec.duration": _f(
        "How long the window is open, in elapsed time: `90m`, `2h30m`; two days are `48h`."
    ),
    "spec.location": _f("The time zone of `schedule`, such as `Europe/Berlin`.", "UTC"),
    "spec.deny": _f(
        "The window forbids changes instead of allowing them, and takes precedence. Not in Fleet.",
        "false",
    ),
    "spec.targets": _f("The clusters that have the windows."),
    "spec.targets.clusters[]": _f(
        "Clusters of the workspace that match the criteria of any entry."
    ),
    **_criteria("spec.targets.clusters[]"),
}
