"""Objects of Fleet as people write them and as `kubectl get -o yaml` prints them: one reader for
each kind's metadata and spec.

What Kubernetes itself writes is passed over, null counts as not written, and keys of Fleet without
effect are warnings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fleetctl.core.documents.convert import Note, Origin, Path, convert, fit, report
from fleetctl.core.documents.fields import (
    CLUSTER,
    CLUSTERGROUP,
    GITREPO,
    SCHEDULE,
    ClusterGroupSpec,
    ClusterSpec,
    Field,
    TokenSpec,
)
from fleetctl.core.documents.gitrepo import GitRepoSpec, gitrepo_spec
from fleetctl.core.documents.key_names import CASE, judge
from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.documents.unused_keys import KUBERNETES_META, without_effect
from fleetctl.core.formats.yaml_stream import is_object
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import ClusterName, GroupName, Workspace
from fleetctl.core.rollout.schedule import ScheduleSpec

GROUP = "fleet.cattle.io"
_META = ("name", "namespace", "labels", "annotations")
_TABLES: dict[str, dict[str, Field]] = {
    "GitRepo": GITREPO,
    "Cluster": CLUSTER,
    "ClusterGroup": CLUSTERGROUP,
    "Schedule": SCHEDULE,
}
KINDS: dict[str, type[msgspec.Struct]] = {
    "GitRepo": GitRepoSpec,
    "Cluster": ClusterSpec,
    "ClusterGroup": ClusterGroupSpec,
    "ClusterRegistrationToken": TokenSpec,
    "Schedule": ScheduleSpec,
}


def objects(document: Any) -> Iterator[tuple[Any, Path]]:
    """(object, its path in the document): the items of a List, else the document itself."""
    if (
        isinstance(document, dict)
        and document.get("kind") == "List"
        and isinstance(document.get("items"), list)
    ):
        yield from ((item, ("items", at)) for at, item in enumerate(document["items"]))
    else:
        yield document, ()


def is_fleets(value: Any) -> bool:
    """Whether it is an object of Fleet's own group, and not of another one with a kind of the same
    name.
    """
    return is_object(value) and value["apiVersion"].rpartition("/")[0] == GROUP


def kind_of(value: Any) -> str:
    """The kind of an object of Fleet, also of one without an apiVersion; "" for anything else."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return ""
    version = value.get("apiVersion")
    return value["kind"] if version is None or is_fleets(value) else ""


def origin_of(kind: str, file: str, notes: list[Note]) -> Origin:
    return Origin(file, table=_TABLES.get(kind, {}), notes=notes)


def meta_of(document: Any, origin: Origin) -> dict[str, Any]:
    """name, namespace, labels and annotations, the latter two as text. Raises InvalidFile."""
    meta = document.get("metadata")
    if not isinstance(meta, dict | None):
        raise origin.error(
            "metadata is not a map of keys", ("metadata",), "Write `name:` below `metadata:`."
        )
    fields: dict[str, Any] = {}
    for key, value in (meta or {}).items():
        if key in KUBERNETES_META or value is None:
            continue
        if key not in _META:
            judgement = judge(key, _META, ("metadata",), {})
            report(judgement, origin, ("metadata", key))
            if judgement.code != CASE:
                continue
            key = judgement.key
        fields[key] = _meta_value(key, value, origin)
    return fields


def spec_in(kind: str, stated_spec: Any, origin: Origin) -> dict[str, Any]:
    """The spec of an object of `kind` in the right spelling, with the keys that have no effect.
    Raises InvalidFile, UsageError.
    """
    spec_origin = origin.below("spec")
    if not isinstance(stated_spec, dict | None):
        raise spec_origin.error(
            "spec is not a map of keys", (), "Write the keys of the spec below it."
        )
    spec = stated_spec or {}
    if kind == "GitRepo":
        gitrepo_spec(spec, spec_origin)
    elif kind == "Schedule":
        spec_of(spec)
    effective = without_effect(kind, spec, spec_origin)
    result: dict[str, Any] = fit(effective, KINDS[kind], spec_origin)
    convert(result, KINDS[kind], spec_origin)
    return result | {
        key: value for key, value in spec.items() if key not in effective and value is not None
    }


def cluster_of(document: dict[str, Any], origin: Origin, workspace: str) -> Cluster:
    """Raises InvalidFile."""
    meta, spec = meta_of(document, origin), spec_in("Cluster", document.get("spec"), origin)
    return Cluster(
        workspace=Workspace(meta.get("namespace") or workspace),
        name=ClusterName(_name(meta, origin)),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        values=spec.get("templateValues") or {},
    )


def group_of(document: dict[str, Any], origin: Origin, workspace: str) -> Group:
    """Raises InvalidFile."""
    meta, spec = meta_of(document, origin), spec_in("ClusterGroup", document.get("spec"), origin)
    place = Workspace(meta.get("namespace") or workspace)
    return Group(
        workspace=place,
        name=GroupName(_name(meta, origin)),
        selector=spec.get("selector"),
        labels=meta.get("labels") or {},
    )


def _name(meta: dict[str, Any], origin: Origin) -> str:
    name = meta.get("name")
    if not name:
        raise origin.error(
            "metadata.name is missing", ("metadata",), "Write `name:` below `metadata:`."
        )
    return str(name)


def _meta_value(key: str, value: Any, origin: Origin) -> Any:
    if key in {"name", "namespace"}:
        if not isinstance(value, str):
            raise origin.error(
                f"metadata.{key} is not text", ("metadata", key), "Put quotes around it."
            )
        return value
    if not isinstance(value, dict) or any(
        not isinstance(item, str | None) for item in value.values()
    ):
        raise origin.error(
            f"metadata.{key} must map text to text",
            ("metadata", key),
            "Put quotes around its values.",
        )
    return {name: item or "" for name, item in value.items()}
