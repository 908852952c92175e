"""What a chart's output goes through when it must change: kustomize over it, a namespace that is forced, and the mark by which helm
leaves CustomResourceDefinitions where they are.

Runs as helm's post-renderer: objects on stdin, objects on stdout. A document that need not change passes byte for byte.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetctl.core.errors import FleetError, UsageError
from fleetctl.core.render import KUSTOMIZATIONS, objects_of
from fleetctl.core.yamldoc import dump, load
from fleetctl.tools.kustomize import Kustomize

_INPUT = "fleet-manifests.yaml"
_SECONDS = 60.0
_KEEP = "helm.sh/resource-policy"
# Kinds without a namespace in Kubernetes itself; what a CRD defines is left to the API server to judge.
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
    """`namespace`: where every namespaced object goes, "" for where it says; `keep_crds`: an uninstall leaves the definitions."""

    namespace: str = ""
    keep_crds: bool = False


def changed(text: bytes, changes: Changes) -> bytes:
    """The objects of `text` with the changes; an object that need not change keeps its bytes."""
    if not changes.namespace and not (changes.keep_crds and b"CustomResourceDefinition" in text):
        return text
    return b"".join(b"---\n" + _one(part, changes).strip(b"\r\n") + b"\n" for part in objects_of(text, "rendered objects"))


def _one(part: bytes, changes: Changes) -> bytes:
    document = load(part, file="rendered objects")
    kept = changes.keep_crds and _keep(document)
    moved = bool(changes.namespace) and _move(document, changes.namespace)
    return dump(document).encode() if kept or moved else part


def _keep(document: dict[str, Any]) -> bool:
    """Whether the mark that makes helm leave it had to be added."""
    meta = document.get("metadata")
    if document.get("kind") != "CustomResourceDefinition" or not isinstance(meta, dict):
        return False
    notes = meta.get("annotations") or {}
    meta["annotations"] = notes | {_KEEP: "keep"}
    return bool(notes.get(_KEEP) != "keep")


def _move(document: dict[str, Any], namespace: str) -> bool:
    if document.get("kind") == "List" or (str(document.get("kind", "")).endswith("List") and "items" in document):
        moved = [_move(item, namespace) for item in document.get("items") or [] if isinstance(item, dict)]
        return any(moved)
    if document.get("kind") in CLUSTER_SCOPED:
        return False
    meta = document.get("metadata")
    if not isinstance(meta, dict) or meta.get("namespace", namespace) == namespace:
        return False
    meta["namespace"] = namespace
    return True


async def built(text: bytes, source: Path, argv: list[str]) -> bytes:
    """kustomize over the chart's output: it joins the kustomization's resources, as in Fleet."""
    if not objects_of(text, "rendered objects"):
        return await _tool(argv).build(source, deadline=_SECONDS)
    (source / _INPUT).write_bytes(text)
    path = next(source / name for name in KUSTOMIZATIONS if (source / name).exists())
    kustomization = load(path.read_bytes(), file=path.name)
    if not isinstance(kustomization, dict | None):
        raise UsageError(f"{path.name} is not a map", next_step="Correct it.")
    known = kustomization or {}
    resources = [r for r in known.get("resources") or [] if r != _INPUT]
    path.write_text(dump(known | {"resources": [_INPUT, *resources]}))
    return await _tool(argv).build(source, deadline=_SECONDS)


def _tool(argv: list[str]) -> Kustomize:
    return Kustomize(argv[:1] if argv[-1] == "build" else argv)


def main(job_file: str) -> None:
    """Exit status 1 with one line when it cannot be done; helm shows it."""
    job = json.loads(Path(job_file).read_bytes())
    text = sys.stdin.buffer.read()
    try:
        if "kustomize" in job:
            text = asyncio.run(built(text, Path(job["source"]) / job["dir"], job["kustomize"]))
        text = changed(text, Changes(namespace=job["namespace"], keep_crds=job["keep_crds"]))
    except FleetError as error:
        sys.stderr.write(f"{error.summary}\n")
        sys.exit(1)
    sys.stdout.buffer.write(text)
