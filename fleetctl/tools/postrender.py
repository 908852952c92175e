"""What a chart's output goes through when it must change: kustomize over it, and a namespace that is forced.

Runs as helm's post-renderer: objects on stdin, objects on stdout. A document that need not change passes byte for byte.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from fleetctl.core.errors import FleetError, UsageError
from fleetctl.core.render import KUSTOMIZATIONS, objects_of
from fleetctl.core.yamldoc import dump, load
from fleetctl.tools.kustomize import Kustomize

_INPUT = "fleet-manifests.yaml"
_SECONDS = 60.0
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


def forced(text: bytes, namespace: str) -> bytes:
    """Every namespaced object in `namespace`."""
    return b"".join(b"---\n" + _moved(part, namespace).strip(b"\r\n") + b"\n" for part in objects_of(text, "rendered objects"))


def _moved(part: bytes, namespace: str) -> bytes:
    document = load(part, file="rendered objects")
    changed = _move(document, namespace)
    return dump(document).encode() if changed else part


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
    (source / _INPUT).write_bytes(text)
    path = next(source / name for name in KUSTOMIZATIONS if (source / name).exists())
    kustomization = load(path.read_bytes(), file=path.name)
    if not isinstance(kustomization, dict | None):
        raise UsageError(f"{path.name} is not a map", next_step="Correct it.")
    known = kustomization or {}
    resources = [r for r in known.get("resources") or [] if r != _INPUT]
    path.write_text(dump(known | {"resources": [*resources, _INPUT]}))
    tool = Kustomize(argv[:1] if argv[-1] == "build" else argv)
    return await tool.build(source, deadline=_SECONDS)


def main(job_file: str) -> None:
    """Exit status 1 with one line when it cannot be done; helm shows it."""
    job = json.loads(Path(job_file).read_bytes())
    text = sys.stdin.buffer.read()
    try:
        if "kustomize" in job:
            text = asyncio.run(built(text, Path(job["source"]) / job["dir"], job["kustomize"]))
        if job["namespace"]:
            text = forced(text, job["namespace"])
    except FleetError as error:
        sys.stderr.write(f"{error.summary}\n")
        sys.exit(1)
    sys.stdout.buffer.write(text)
