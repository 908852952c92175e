"""A scanned bundle as the Bundle document that Rancher Fleet would make of it (rancher/fleet
`bundle_types.go`): for people to read and compare, not what agents get.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

import msgspec

from fleetctl.core.charts.reference import ChartRequest
from fleetctl.core.formats.yaml import load
from fleetctl.core.model.bundle import File, Target, chart_digest
from fleetctl.core.model.options import Options
from fleetctl.core.scan.draft import Draft

API_VERSION = "fleet.cattle.io/v1alpha1"
# Go's pointers: false and 0 are written there, elsewhere they count as not said.
_POINTERS = frozenset({"createNamespace"})
# What users wrote passes as it is.
_FREE = frozenset({"values", "templateValues"})


def bundle_document(
    draft: Draft, files: dict[str, File], *, restricted: bool = False
) -> dict[str, Any]:
    """The Bundle. `files`: the draft's, with its charts; `restricted`: the GitRepo's targets are
    restrictions too.
    """
    spec = draft.spec
    meta: dict[str, Any] = {"name": spec.name, "namespace": spec.workspace}
    if spec.labels:
        meta["labels"] = spec.labels
    options = options_document(spec.options)
    options |= {"paused": True} if spec.paused else {}
    options |= {"dependsOn": msgspec.to_builtins(spec.depends_on)} if spec.depends_on else {}
    options |= {"rolloutStrategy": spec.rollout_strategy} if spec.rollout_strategy else {}
    options |= (
        {"targetCustomizationMode": spec.customization_mode}
        if spec.customization_mode != "FirstMatch"
        else {}
    )
    targets = [*spec.customizations, *spec.targets] or [
        Target(name="default", cluster_group="default")
    ]
    options["targets"] = [_target(t) for t in targets]
    if spec.overrides_targets or restricted:
        options["targetRestrictions"] = [_target(t) for t in spec.targets]
    names = {path: _file_name(path, draft.charts, files) for path in files}
    options["resources"] = [
        _resource(names[path], files[path].data) for path in sorted(files, key=names.__getitem__)
    ]
    return {"apiVersion": API_VERSION, "kind": "Bundle", "metadata": meta, "spec": options}


def options_document(options: Options) -> dict[str, Any]:
    """BundleDeploymentOptions, with what Go's `omitempty` leaves out left out."""
    document: dict[str, Any] = _prune(msgspec.to_builtins(options))
    return document


def _prune(value: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        if key in _FREE:
            result[key] = item
        elif isinstance(item, dict):
            result[key] = _prune(item)
        elif isinstance(item, list):
            result[key] = [_prune(i) if isinstance(i, dict) else i for i in item]
        elif key in _POINTERS or item not in (None, False, 0, ""):
            result[key] = item
    return {key: item for key, item in result.items() if item not in ({}, [])}


def _target(target: Target) -> dict[str, Any]:
    document: dict[str, Any] = {"name": target.name} if target.name else {}
    criteria = {
        "clusterName": target.cluster_name or None,
        "clusterSelector": target.cluster_selector,
        "clusterGroup": target.cluster_group or None,
        "clusterGroupSelector": target.cluster_group_selector,
        "doNotDeploy": target.do_not_deploy or None,
    }
    return (
        document
        | {key: item for key, item in criteria.items() if item is not None}
        | options_document(target.options)
    )


def _file_name(path: str, charts: list[ChartRequest], files: dict[str, File]) -> str:
    """Fleet keeps a fetched chart below a hash of where it came from, in the folder of its archive,
    which helm names after the chart.
    """
    if not path.startswith(".charts/"):
        return path
    request = next(r for r in charts if path.startswith(f"{r.folder}/"))
    about = load(files[f"{request.folder}/Chart.yaml"].data, file="Chart.yaml")
    name = about.get("name") if isinstance(about, dict) else ""
    digest = chart_digest(request.chart, request.repo, request.version)
    return f".chart/{digest}/{name}{path.removeprefix(request.folder)}"


def _resource(name: str, data: bytes) -> dict[str, Any]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if text or not data:
        return {"content": text, "name": name}
    return {
        "content": base64.b64encode(gzip.compress(data, mtime=0)).decode(),
        "encoding": "base64+gz",
        "name": name,
    }
