"""What a chart's output goes through when it must change: kustomize over it, a namespace that is
forced, the mark by which helm leaves CustomResourceDefinitions where they are, and live values for
fields that others own. It stops helm where definitions must be applied first.

Runs as helm's post-renderer: objects on stdin, objects on stdout. A document that need not change
passes byte for byte.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import convert

from fleetctl.core.formats.yaml import dump, load
from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS, documents_of, is_object
from fleetctl.core.model.errors import FleetError, UsageError
from fleetctl.tools.crds import bare, documents, unsettled
from fleetctl.tools.field_substitution import Substitute, substituted
from fleetctl.tools.helm_marks import KEEP, RESOURCE_POLICY

if TYPE_CHECKING:
    from fleetctl.tools.kustomize import Kustomize

REFUSAL_FILE = "refused.json"  # beside the job: why it said no
_INPUT = "fleet-manifests.yaml"
_DESCRIPTION = "rendered objects"
_SECONDS = 60.0
# Kinds without a namespace in Kubernetes itself, for where there is no cluster to ask.
CLUSTER_SCOPED = frozenset(
    {
        "Namespace",
        "Node",
        "PersistentVolume",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "StorageClass",
        "PriorityClass",
        "IngressClass",
        "RuntimeClass",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "APIService",
        "CSIDriver",
        "CSINode",
        "VolumeAttachment",
        "CertificateSigningRequest",
        "FlowSchema",
        "PriorityLevelConfiguration",
    }
)


@dataclass(frozen=True)
class Changes:
    """`namespace`: where every object goes, "" for where it says; an object without a namespace is
    refused then, as in Fleet. `confined`: because the GitRepo says so. `scopes`: by
    `apiVersion/kind` whether the cluster's kind has namespaces; None where no cluster is asked.
    `keep_crds`: an uninstall leaves the definitions.
    """

    namespace: str = ""
    keep_crds: bool = False
    confined: bool = False
    scopes: Mapping[str, bool] | None = None

    def leave(self, text: bytes) -> bool:
        """Whether `text` surely stays as it is."""
        return not self.namespace and not (self.keep_crds and b"CustomResourceDefinition" in text)


def change_objects(text: bytes, changes: Changes) -> bytes:
    """The objects of `text` with the changes; an object that need not change keeps its bytes."""
    if changes.leave(text):
        return text
    all_documents = ((part, load(part, file=_DESCRIPTION)) for part in documents_of(text))
    return b"".join(
        b"---\n" + _change_object(part, document, changes).strip(b"\r\n") + b"\n"
        for part, document in all_documents
        if is_object(document)
    )


def _change_object(part: bytes, document: dict[str, Any], changes: Changes) -> bytes:
    """Under a GitRepo's namespace always written anew: what was judged is what helm reads, whatever
    else its parser might have seen.
    """
    keep = changes.keep_crds and _keep(document)
    is_moved = bool(changes.namespace) and _move(document, changes)
    return dump(document).encode() if keep or is_moved or changes.confined else part


def _keep(document: dict[str, Any]) -> bool:
    """Whether the mark that makes helm leave it had to be added."""
    meta = document.get("metadata")
    if document.get("kind") != "CustomResourceDefinition" or not isinstance(meta, dict):
        return False
    notes = meta.get("annotations") or {}
    meta["annotations"] = notes | {RESOURCE_POLICY: KEEP}
    return bool(notes.get(RESOURCE_POLICY) != KEEP)


def _move(document: dict[str, Any], changes: Changes) -> bool:
    """Whether anything had to be moved. Raises UsageError for what has no namespace to be moved
    to.
    """
    # helm takes any object with items apart, whatever its kind is called
    if isinstance(document.get("items"), list):
        moved_objects = [
            _move(_item(item, document), changes)
            for item in document["items"]
            if isinstance(item, dict)
        ]
        return any(moved_objects)
    if not _is_namespaced(document, changes):
        raise _refusal(document, changes, "is cluster-scoped")
    meta = document.get("metadata")
    if not isinstance(meta, dict) or meta.get("namespace", changes.namespace) == changes.namespace:
        return False
    meta["namespace"] = changes.namespace
    return True


def _item(item: dict[str, Any], parent: dict[str, Any]) -> dict[str, Any]:
    """An item of a ConfigMapList need not say that it is a ConfigMap."""
    if not item.get("kind") and str(parent.get("kind", "")).endswith("List"):
        item["kind"] = str(parent["kind"]).removesuffix("List")
        item.setdefault("apiVersion", parent.get("apiVersion"))
    return item


def _is_namespaced(document: dict[str, Any], changes: Changes) -> bool:
    """By the cluster's own word. A kind that it does not know is refused where nothing may get out,
    and else helm's to refuse.
    """
    api, kind = str(document.get("apiVersion")), str(document.get("kind"))
    if changes.scopes is not None:
        scope = changes.scopes.get(f"{api}/{kind}")
        if scope is None and changes.confined:
            raise _refusal(document, changes, "is of a kind that the cluster does not know")
        return scope is not False
    group = api.rpartition("/")[0]
    if changes.confined and "." in group and not group.endswith(".k8s.io"):
        raise _refusal(document, changes, "is of a kind that no cluster was asked about")
    return kind not in CLUSTER_SCOPED


def _refusal(document: dict[str, Any], changes: Changes, reason: str) -> UsageError:
    """One line: kind, name, reason, namespace."""
    meta = document.get("metadata")
    name = (meta.get("name") or meta.get("generateName")) if isinstance(meta, dict) else None
    hook = (
        " (a hook)"
        if isinstance(meta, dict) and "helm.sh/hook" in (meta.get("annotations") or {})
        else ""
    )
    text = "".join(
        c if c.isprintable() else " "
        for c in f"{document.get('kind')} {name or '(without a name)'}"
    )[:200]
    rule = "the GitRepo's targetNamespace" if changes.confined else "`namespace`"
    step = (
        "Leave it out."
        if changes.confined
        else "Use `defaultNamespace` instead of `namespace` in fleet.yaml."
    )
    summary = (
        f"{text}{hook} {reason}: {rule} keeps everything of the bundle in namespace"
        f" {changes.namespace}"
    )
    return UsageError(summary, subject=text, next_step=step)


async def build_kustomization(text: bytes, source: Path, argv: list[str]) -> bytes:
    """kustomize over the chart's output: it joins the kustomization's resources, as in Fleet."""
    if not documents(text):
        return await _tool(argv).build(source, deadline=_SECONDS)
    (source / _INPUT).write_bytes(text)
    path = next(source / name for name in KUSTOMIZATIONS if (source / name).exists())
    kustomization = load(path.read_bytes(), file=path.name)
    if not isinstance(kustomization, dict | None):
        raise UsageError(f"{path.name} is not a map", next_step="Correct it.")
    fields = kustomization or {}
    resources = [r for r in fields.get("resources") or [] if r != _INPUT]
    path.write_text(dump(fields | {"resources": [_INPUT, *resources]}))
    return await _tool(argv).build(source, deadline=_SECONDS)


def _tool(argv: list[str]) -> Kustomize:
    from fleetctl.tools.kustomize import Kustomize

    return Kustomize(argv[:1] if argv[-1] == "build" else argv)


def _substitute_live_values(text: bytes, job: dict[str, Any]) -> bytes:
    """With the live values of fields that are others'; what Git states there is left in the file
    `before`.
    """
    if not job.get("respect"):
        return text
    text, before = substituted(text, convert(job["respect"], list[Substitute]), job["place"])
    Path(job["before"]).write_bytes(json.dumps([bare(document) for document in before]).encode())
    return text


def _stop_for_definitions(text: bytes, job: dict[str, Any]) -> bool:
    """Whether definitions that this release itself needs are not there: they are left in the file
    `out`, for the agent to apply them.
    """
    job_part = job.get("definitions")
    definitions = unsettled(text, job_part["settled"]) if job_part else []
    if job_part and definitions:
        Path(job_part["out"]).write_bytes(json.dumps(definitions).encode())
    return bool(definitions)


def main(job_file: str) -> None:
    """Exit status 1 when it cannot be done, and why in the file REFUSED beside the job: of a
    plugin's own words helm shows nothing.
    """
    job = json.loads(Path(job_file).read_bytes())
    text = sys.stdin.buffer.read()
    try:
        if "kustomize" in job:
            import asyncio  # half of what this process costs to begin

            text = asyncio.run(
                build_kustomization(text, Path(job["source"]) / job["dir"], job["kustomize"])
            )
        rule = {"confined": job.get("confined", False), "scopes": job.get("scopes")}
        text = change_objects(
            text, Changes(namespace=job["namespace"], keep_crds=job["keep_crds"], **rule)
        )
        text = _substitute_live_values(text, job)
        stop = _stop_for_definitions(text, job)
    except FleetError as error:
        Path(job_file).with_name(REFUSAL_FILE).write_bytes(
            json.dumps([error.summary, error.next_step]).encode()
        )
        sys.exit(1)
    if stop:
        sys.exit(1)
    sys.stdout.buffer.write(text)
