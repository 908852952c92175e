"""Every key of the documents that people write, in words: the one table behind `fleetctl explain`,
the JSON Schema, docs/fleet-yaml.md and the checks of `fleetctl validate`.

Types are not written here: `schema.py` takes them from the structs that read the documents, and a
test holds both to the same keys. The keys of fleet.yaml are Rancher Fleet's (rancher/fleet
`pkg/apis/fleet.cattle.io/v1alpha1`); the words are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One key. `style`: the bundles that it has an effect on, "" is all; `later`: what this version
    does not do with it.
    """

    text: str
    default: str = ""
    style: str = ""
    choices: tuple[str, ...] = ()
    later: str = ""


# What a document's reader keeps as plain data has its keys here.


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
    "matchLabels": _f("Labels that must all be there with exactly this value."),
    "matchExpressions[]": _f("Conditions on labels, all of which must hold."),
    "matchExpressions[].key": _f("The label's name."),
    "matchExpressions[].operator": _f(
        "How the label is tested.", choices=("In", "NotIn", "Exists", "DoesNotExist")
    ),
    "matchExpressions[].values[]": _f("For In and NotIn, the values that count."),
}
_CRITERIA = {
    "name": _f(
        "A name for people: `fleetctl bundle get` says through which entry a cluster gets its"
        " configuration.",
        "target000, target001, …",
    ),
    "clusterName": _f("The cluster of exactly this name."),
    "clusterSelector": _f(
        "Clusters by their labels; `{}` is every cluster. Criteria of one entry must all hold."
    ),
    "clusterGroup": _f("Clusters that belong to the ClusterGroup of this name."),
    "clusterGroupSelector": _f("Clusters that belong to a ClusterGroup with such labels."),
}
_DRIFT = {
    "enabled": _f(
        "Put back what somebody changed on the cluster, instead of reporting `Modified` and"
        " leaving it.",
        "false",
    ),
    "force": _f("Recreate objects that cannot be changed back in place. Needs `enabled`.", "false"),
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
        "The chart: a folder of the bundle, the URL of an archive, or with `repo` the chart's name"
        " there. Charts from elsewhere are fetched when the repository is scanned and travel with"
        " the bundle.",
        "the bundle's own folder, when it holds a Chart.yaml",
    ),
    "repo": _f(
        "The address of a Helm repository that holds `chart`, or without `chart` the `oci://`"
        " address of the chart itself, which may end in a tag and a digest."
    ),
    "version": _f(
        "Version, or a range of versions, of a chart that is fetched. For `oci://` also"
        " `VERSION@sha256:DIGEST`.",
        "the latest",
    ),
    "releaseName": _f(
        "Name of the Helm release: at most 53 small letters, digits, - and dots.",
        "the bundle's name",
    ),
    "valuesFiles[]": _f(
        "Files of values, read when the repository is scanned; a later one is laid over an earlier"
        " one, and all over `values`. At the top level they count only beside `helm.chart` or"
        " `helm.repo`: for a chart in the bundle's own folder write `chart: .`."
    ),
    "values": _f(
        "Values for the chart. Texts may hold Go templates in `${ }`, evaluated for each cluster; a"
        " text that begins with `global.fleet.clusterLabels.` becomes the value of that label of"
        " the cluster."
    ),
    "templateValues": _f(
        "Texts that are evaluated as templates for each cluster and then read as YAML; they win"
        " over `values`."
    ),
    "valuesFrom[]": _f(
        "Values from ConfigMaps and Secrets of the cluster itself; they win over `values` and"
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
            ("key", _f("The entry that holds the values, as YAML.", "values.yaml")),
        )
    },
    "timeoutSeconds": _f("How long Helm waits until the release is ready; 0 does not wait.", "0"),
    "waitForJobs": _f("Wait for Jobs too. Needs `timeoutSeconds`.", "false"),
    "atomic": _f(
        "Undo an upgrade that fails. With `timeoutSeconds` one that is not ready in time has"
        " failed.",
        "false",
    ),
    "force": _f(
        "Replace objects that cannot be changed in place; they are away for a moment.", "false"
    ),
    "takeOwnership": _f("Adopt objects that another release, or nobody, owns.", "false"),
    "maxHistory": _f("How many revisions of the release are kept.", "2"),
    "disablePreProcess": _f(
        "Leave `${ }` alone: for charts whose own values look like that.", "false"
    ),
    "disableDNS": _f("Let `getHostByName` in a chart's templates find nothing.", "false"),
    "skipSchemaValidation": _f(
        "Do not check the values against the chart's values.schema.json.", "false"
    ),
    "disableDependencyUpdate": _f(
        "Take the chart's dependencies as they lie in its folder.", "false"
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

# What may be said at the top level, and again for some clusters in an entry of
# targetCustomizations.
OPTIONS: dict[str, Field] = {
    "defaultNamespace": _f(
        "Namespace of objects that name none; it is no restriction. Also the namespace of the"
        " release.",
        "default",
    ),
    "namespace": _f(
        "Puts every object into this namespace, whatever it names; objects of the whole cluster are"
        " then refused."
    ),
    "createNamespace": _f("Create the namespace when the bundle is installed.", "true"),
    "namespaceLabels": _f("Labels for the namespace."),
    "namespaceAnnotations": _f("Annotations for the namespace."),
    "deleteNamespace": _f(
        "Delete the namespace with the bundle; `default` and those of Kubernetes itself stay.",
        "false",
    ),
    "keepResources": _f("Leave the objects on the cluster when the bundle goes.", "false"),
    "deleteCRDResources": _f(
        "Delete CustomResourceDefinitions with the bundle, and with them all objects of their"
        " kinds.",
        "false",
    ),
    "serviceAccount": _f(
        "Deploy with the rights of this service account, and read what the bundle reads with them.",
        default="`fleet-default` where that account exists, else the agent's own rights",
    ),
    "forceSyncGeneration": _f(
        "Another number deploys again without a change. The GitRepo's number wins over it.", "0"
    ),
    "helm": _f(
        "The chart, its values, and how Helm installs it. Every bundle becomes one Helm release,"
        " with or without a chart."
    ),
    **{
        f"helm.{key}": msgspec.structs.replace(row, style="" if key in _WITHOUT_CHART else "helm")
        for key, row in _HELM.items()
    },
    "kustomize": _f("For bundles that Kustomize builds.", style="kustomize"),
    "kustomize.dir": _f(
        "The folder with the kustomization.yaml. With a chart, Kustomize gets what the chart"
        " renders.",
        ".",
        "kustomize",
    ),
    "yaml": _f("For bundles of plain manifests.", style="raw"),
    "yaml.overlays[]": _f(
        "Folders `overlays/NAME/` that are laid over the bundle's files, in this order: the same"
        " path replaces, a new one adds, and `X_patch.yaml` changes `X.yaml`. A customization's are"
        " added to those at the top level.",
        style="raw",
    ),
    "diff": _f("What does not count as drift. A change here deploys nothing."),
    "diff.comparePatches[]": _f(
        "One entry for each object, or kind of object, that may differ from Git."
    ),
    "diff.comparePatches[].apiVersion": _f("The object's apiVersion."),
    "diff.comparePatches[].kind": _f("The object's kind."),
    "diff.comparePatches[].namespace": _f("The object's namespace.", "any"),
    "diff.comparePatches[].name": _f("The object's name, or a regular expression for it.", "any"),
    "diff.comparePatches[].jsonPointers[]": _f(
        "JSON pointers (`/spec/replicas`) of parts that may differ."
    ),
    "diff.comparePatches[].operations[]": _f("Other ways to leave something out."),
    "diff.comparePatches[].operations[].op": _f(
        "`remove`, `add` and `replace` leave out what `path` points to, `ignore` the whole object;"
        " the others have no effect.",
        choices=("add", "copy", "ignore", "move", "remove", "replace", "test"),
    ),
    "diff.comparePatches[].operations[].path": _f(
        "A JSON pointer, for every operation but `ignore`."
    ),
    "diff.comparePatches[].operations[].value": _f(
        "Accepted because Fleet accepts it, and not used."
    ),
    "ignore": _f("What does not count when an object is judged ready."),
    "ignore.conditions[]": _f(
        'Entries such as `{type: Ready, status: "False"}`: a condition that has all of it does not'
        " count."
    ),
    "correctDrift": _f(
        "What happens when somebody changes the objects on the cluster. A customization's replaces"
        " the whole entry."
    ),
    **_under("correctDrift", _DRIFT),
    "downstreamResources[]": _f(
        "Secrets and ConfigMaps of the bundle's workspace that the clusters get too, in the"
        " release's namespace."
    ),
    "downstreamResources[].kind": _f("What it is.", choices=("Secret", "ConfigMap")),
    "downstreamResources[].name": _f("Its name."),
}
_PERCENT = "A number, or a share such as `25%`."
_ROLLOUT = {
    "maxUnavailable": _f(
        "How many clusters may be unavailable, over all and in each partition, before no further"
        f" one is changed. {_PERCENT}",
        "100%",
    ),
    "maxUnavailablePartitions": _f(
        f"How many partitions may be unavailable before the next one waits. {_PERCENT}", "0"
    ),
    "autoPartitionSize": _f(
        f"Size of the partitions that are made when none are named. {_PERCENT}", "25%"
    ),
    "autoPartitionThreshold": _f(
        "With fewer clusters than this there is one partition for all.", "200"
    ),
    "maxNew": _f("How many clusters get the bundle for the first time at once.", "50"),
    "partitions[]": _f("Groups of clusters that are changed one after the other, in this order."),
    "partitions[].maxUnavailable": _f(
        f"As above, within the partition. {_PERCENT}", "that of rolloutStrategy"
    ),
    **_criteria("partitions[]"),
    "partitions[].soak": _f("As below, for this partition.", "that of rolloutStrategy"),
    "partitions[].approval": _f(
        "Whether a person must approve it before it begins.", "as `approval` says"
    ),
    "soak": _f(
        "How long a partition is watched after it has finished, such as `10m`. Not in Fleet.", "0s"
    ),
    "progressDeadline": _f(
        "How long one partition may take, such as `1h`; then the rollout stops. Not in Fleet.",
        "no limit",
    ),
    "approval": _f(
        "Where a person must approve (`fleetctl rollout approve`): `first` before the second"
        " partition, `each` before all. Not in Fleet.",
        "none",
        choices=("none", "first", "each"),
    ),
    "maxFailures": _f(
        "How many clusters may fail to apply it before the rollout stops. "
        + _PERCENT
        + " Not in Fleet.",
        "no limit",
    ),
    "onFailure": _f(
        "What a rollout that failed does: wait for a person, or go back. Not in Fleet.",
        "pause",
        choices=("pause", "rollback"),
    ),
}
_SCANS = {
    "name": _f("A name for people."),
    "tagName": _f("The marker in manifests whose image is replaced."),
    "gitrepoName": _f("The GitRepo that the change is written to.", "the bundle's own"),
    "image": _f("The image, without a tag."),
    "interval": _f("How often to look, such as `15m`.", "15m"),
    "secretRef": _f("Login for the registry."),
    "secretRef.name": _f("Name of a Secret of type docker-registry."),
    "suspend": _f("Do not look for now.", "false"),
    "policy": _f("Which tag is the newest."),
    "policy.semver": _f("By version."),
    "policy.semver.range": _f("The highest version in this range."),
    "policy.alphabetical": _f("By the tag's text."),
    "policy.alphabetical.order": _f(
        "Which end of the alphabet is the newest: ASC or DESC.", "DESC"
    ),
}
OWN: dict[str, Field] = {
    "name": _f(
        "The bundle's name. Other bundles name it in `dependsOn`.", "NAME-OF-THE-GITREPO-PATH"
    ),
    "labels": _f("Labels of the bundle; `dependsOn` and `fleetctl get bundles -l` select by them."),
    "paused": _f(
        "Clusters keep what they have: nothing new is handed out until it is false again.", "false"
    ),
    "rolloutStrategy": _f("How many clusters change at once."),
    **_under("rolloutStrategy", _ROLLOUT),
    "targetCustomizationMode": _f(
        "FirstMatch takes the first entry of `targetCustomizations` that picks a cluster,"
        " AllMatches lays all of them over each other in order.",
        "FirstMatch",
        choices=("FirstMatch", "AllMatches"),
    ),
    "targetCustomizations[]": _f(
        "What is different for some clusters: criteria, and below them any of the keys marked per"
        " target. What an entry states is meant, also `false`. The entries choose a configuration,"
        " not who gets the bundle: that is the GitRepo's `targets` or `overrideTargets`."
    ),
    **_criteria("targetCustomizations[]"),
    "targetCustomizations[].doNotDeploy": _f(
        "Clusters that this entry picks do not get the bundle.", "false"
    ),
    "targets[]": _f(
        "The form in which Fleet keeps targets in a Bundle. In a file write `targetCustomizations`"
        " or `overrideTargets`."
    ),
    **_criteria("targets[]"),
    "targets[].doNotDeploy": _f("Clusters that this entry picks do not get the bundle.", "false"),
    "overrideTargets[]": _f(
        "Who gets this bundle, in place of the GitRepo's `targets`. An empty list is nobody."
    ),
    **_criteria("overrideTargets[]"),
    "dependsOn[]": _f(
        "Bundles that must be in a good state on the same cluster before this one is installed or"
        " changed there."
    ),
    "dependsOn[].name": _f("The bundle's name."),
    "dependsOn[].selector": _f("Bundles by their labels; with `name`, both must hold."),
    **_under("dependsOn[].selector", _SELECTOR),
    "dependsOn[].acceptedStates[]": _f("States of the other bundle that are good enough.", "Ready"),
    "movedFrom": _f(
        "What the bundle was called before its directory was renamed: its releases, objects and"
        " history stay. Of the same GitRepo; it may stay there when it is done. Not in Fleet."
    ),
    "imageScans[]": _f(
        "Look for new images and write them to Git.", later="A bundle with it is refused."
    ),
    **_under("imageScans[]", _SCANS),
}
FLEET_YAML: dict[str, Field] = OWN | OPTIONS

GITREPO: dict[str, Field] = {
    "spec": _f("What to follow, and who gets it."),
    **_under(
        "spec",
        {
            "repo": _f("The repository's address, `https://…`."),
            "branch": _f("The branch to follow.", "the repository's own"),
            "revision": _f("A tag or commit to stay at, in place of a branch."),
            "paths[]": _f(
                "Folders to look into, also with `*`: each is a bundle, and so is each folder below"
                " it with a fleet.yaml.",
                "/",
            ),
            "bundles[]": _f(
                "Bundles that are named in place of a search through `paths`; no folder below is"
                " looked into."
            ),
            "bundles[].base": _f("The folder that is the bundle."),
            "bundles[].options": _f("Its fleet.yaml, by a path from `base`.", "base/fleet.yaml"),
            "targets[]": _f(
                "Who gets the bundles; the first entry that picks a cluster counts.",
                "the ClusterGroup `default`",
            ),
            **_criteria("targets[]"),
            "targetNamespace": _f(
                "Keep everything of every bundle in this namespace, whatever the repository says; a"
                " cluster-scoped object is refused."
            ),
            "serviceAccount": _f(
                "Deploy with the rights of this service account, whatever the repository says."
            ),
            "clientSecretName": _f(
                "Secret with the login for the repository.", "gitcredential, when there is one"
            ),
            "helmSecretName": _f("Secret with the login for Helm repositories."),
            "helmRepoURLRegex": _f(
                "Addresses of Helm repositories that get that login, matched from the start;"
                " without it none does."
            ),
            "pollingInterval": _f(
                "How often to look for a new commit, such as `30s` or `5m`.", "15s"
            ),
            "disablePolling": _f(
                "Look only when asked: by a webhook or `fleetctl gitrepo sync`.", "false"
            ),
            "forceSyncGeneration": _f("Another number deploys everything again.", "0"),
            "paused": _f(
                "Clusters keep what they have; Git is still looked at, and shown as OutOfSync.",
                "false",
            ),
            "keepResources": _f(
                "Leave the objects on the clusters when the GitRepo goes.", "false"
            ),
            "deleteNamespace": _f("Delete the bundles' namespaces with them.", "false"),
            "correctDrift": _f("What happens when somebody changes the objects on a cluster."),
            **_under("correctDrift", _DRIFT),
            "caBundle": _f(
                "Certificates (PEM, in base64) that the repository's server is checked against."
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
        "What a person may say of a cluster. Keys that concern the agent's pod in Fleet are"
        " accepted, without effect."
    ),
    "spec.paused": _f("Hand out nothing new to this cluster.", "false"),
    "spec.clientID": _f("Accepted because Fleet writes it."),
    "spec.templateValues": _f("Values that templates in `${ }` find at `.ClusterValues`."),
}
CLUSTERGROUP: dict[str, Field] = {
    "spec": _f("Which clusters belong to the group."),
    "spec.selector": _f("Clusters of the workspace by their labels; `{}` is all of them."),
    **_under("spec.selector", _SELECTOR),
}
SCHEDULE: dict[str, Field] = {
    "spec": _f("Windows of time, and the clusters that they are for."),
    "spec.schedule": _f(
        "When a window begins: `0 2 * * MON-FRI` as crontab writes it (0 and 7 are Sunday) or, as"
        " in Fleet, `0 0 2 ? * MON-FRI` (second first, and 1 is Sunday; a year may follow). Also"
        " `@daily`, `L`, `6L`, `MON#1`."
    ),
    "spec.duration": _f("How long it is open, in real time: `90m`, `2h30m`; two days are `48h`."),
    "spec.location": _f("The time zone of `schedule`, such as `Europe/Berlin`.", "UTC"),
    "spec.deny": _f(
        "The window forbids changes instead of allowing them, and wins. Fleet has no such key.",
        "false",
    ),
    "spec.targets": _f("Which clusters."),
    "spec.targets.clusters[]": _f(
        "Clusters of the workspace, by the criteria of a target; those that any entry picks."
    ),
    **_criteria("spec.targets.clusters[]"),
}
