"""Fleet's BundleDeploymentOptions: how one bundle is put on one cluster, and how a customization
changes that.

Keys and merge rules: rancher/fleet `pkg/apis/fleet.cattle.io/v1alpha1/bundledeployment_types.go`.
Where Fleet accepts a key in a customization and ignores it, or cannot switch a boolean off, the
customization wins here: what is stated is meant.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import msgspec

from fleetctl.core.model.ids import Digest


class _Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """None means "not stated", which a merge leaves alone."""


class KeyRef(_Options, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    key: str = ""


class ValuesFrom(_Options, frozen=True, kw_only=True):
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class HelmOptions(_Options, frozen=True, kw_only=True):
    chart: str | None = None
    repo: str | None = None
    version: str | None = None
    release_name: str | None = None
    values_files: list[str] | None = None
    values: dict[str, Any] | None = None
    template_values: dict[str, str] | None = None
    values_from: list[ValuesFrom] | None = None
    timeout_seconds: int | None = None
    wait_for_jobs: bool | None = None
    atomic: bool | None = None
    force: bool | None = None
    take_ownership: bool | None = None
    max_history: int | None = None
    disable_pre_process: bool | None = None
    disable_dns: bool | None = msgspec.field(default=None, name="disableDNS")
    skip_schema_validation: bool | None = None
    disable_dependency_update: bool | None = None


class KustomizeOptions(_Options, frozen=True, kw_only=True):
    dir: str | None = None


class YamlOptions(_Options, frozen=True, kw_only=True):
    overlays: list[str] | None = None


class Operation(_Options, frozen=True, kw_only=True):
    op: str = ""
    path: str = ""
    value: str = ""


class ComparePatch(_Options, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    json_pointers: list[str] | None = None
    operations: list[Operation] | None = None


class DiffOptions(_Options, frozen=True, kw_only=True):
    compare_patches: list[ComparePatch] | None = None


class IgnoreOptions(_Options, frozen=True, kw_only=True):
    conditions: list[dict[str, str]] | None = None


class CorrectDrift(_Options, frozen=True, kw_only=True):
    enabled: bool | None = None
    force: bool | None = None
    keep_fail_history: bool | None = None


class DownstreamResource(_Options, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""


class Options(_Options, frozen=True, kw_only=True):
    """Everything of a bundle that may differ between clusters. JSON keys are Fleet's."""

    default_namespace: str | None = None
    namespace: str | None = None
    create_namespace: bool | None = None
    namespace_labels: dict[str, str] | None = None
    namespace_annotations: dict[str, str] | None = None
    delete_namespace: bool | None = None
    keep_resources: bool | None = None
    delete_crd_resources: bool | None = msgspec.field(default=None, name="deleteCRDResources")
    service_account: str | None = None
    force_sync_generation: int | None = None
    helm: HelmOptions | None = None
    kustomize: KustomizeOptions | None = None
    yaml: YamlOptions | None = None
    diff: DiffOptions | None = None
    ignore: IgnoreOptions | None = None
    correct_drift: CorrectDrift | None = None
    downstream_resources: list[DownstreamResource] | None = None
    # of the GitRepo: everything of the bundle stays in this namespace
    target_namespace: str | None = None


# What the manager says and no fleet.yaml can: by its key.
INTERNAL = frozenset({"targetNamespace"})
# Fields whose customization replaces the whole object instead of merging into it.
_WHOLE = frozenset({"correct_drift"})
# Lists that a customization adds to; every other list is replaced. An item with the same fields
# here takes the place of the one before.
_APPENDED_LISTS: dict[str, tuple[str, ...]] = {
    "overlays": (),
    "values_from": ("config_map_key_ref", "secret_key_ref"),
    "compare_patches": ("api_version", "kind", "namespace", "name"),
    "downstream_resources": ("kind", "name"),
}
# Texts that a customization takes back with "-"; Fleet has the branch for it and never reaches it.
_CLEARED_FIELDS = frozenset({"default_namespace", "namespace", "service_account"})


def merge(base: Options, over: Options) -> Options:
    """`base` changed by what `over` states. Merging the same options twice changes nothing more."""
    return cast("Options", _merge(base, over))


def _merge(base: Any, over: Any) -> Any:
    changes: dict[str, Any] = {}
    for name in base.__struct_fields__:
        new, old = getattr(over, name), getattr(base, name)
        if new is None:
            continue
        changes[name] = _merge_field(name, old, new)
    return msgspec.structs.replace(base, **changes) if changes else base


def _merge_field(name: str, old: Any, new: Any) -> Any:
    if name in _CLEARED_FIELDS and new == "-":
        return None
    if name == "timeout_seconds" and new < 0:
        return 0
    if old is None or name in _WHOLE:
        return new
    if isinstance(new, msgspec.Struct):
        return _merge(old, new)
    if isinstance(new, dict):
        return merge_values(old, new)
    if isinstance(new, list) and name in _APPENDED_LISTS:
        return _join(old, new, _APPENDED_LISTS[name])
    return new


def _join(old: list[Any], new: list[Any], fields: tuple[str, ...]) -> list[Any]:
    items = list(old)
    for item in new:
        is_same = (
            at
            for at, old_item in enumerate(items)
            if all(getattr(old_item, f) == getattr(item, f) for f in fields)
            and (fields or old_item == item)
        )
        at = next(is_same, None)
        if at is None:
            items.append(item)
        else:
            items[at] = item
    return items


def merge_values(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Helm's deep merge: maps are merged, anything else is replaced."""
    result = dict(base)
    for key, new in over.items():
        old = result.get(key)
        result[key] = (
            merge_values(old, new) if isinstance(old, dict) and isinstance(new, dict) else new
        )
    return result


def downstream_of(options: Options) -> list[DownstreamResource]:
    """What is to be copied, each once, with the kind as Kubernetes writes it (Fleet takes it in any
    case).
    """
    kinds = {"secret": "Secret", "configmap": "ConfigMap"}
    resources = (
        DownstreamResource(kind=kinds.get(resource.kind.lower(), resource.kind), name=resource.name)
        for resource in options.downstream_resources or []
    )
    return list(dict.fromkeys(resources))


def to_json(options: Options) -> bytes:
    """The one form that is hashed and sent: sorted keys, nothing that is not stated."""
    return msgspec.json.encode(options, order="sorted")


def digest(options: Options) -> Digest:
    """What identifies a deployment's options; `diff` and `correctDrift` are left out, because
    changing them redeploys nothing.
    """
    bare = msgspec.structs.replace(options, diff=None, correct_drift=None)
    return Digest(hashlib.sha256(to_json(bare)).hexdigest())
