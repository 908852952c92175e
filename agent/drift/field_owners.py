"""Which stated fields a controller of Kubernetes has set as its duty, by the object's
managedFields: those are no drift. Pure.

An autoscaler's replicas, an injected CA bundle, a vertical autoscaler's requests: whoever states a
first value for them in Git does not mean to hold it. A person's field managers (kubectl, an editor,
a dashboard) are never among them, whatever they change.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any

from fleetctl.core.model.json_object import JsonObject
from fleetctl.tools.field_substitution import list_index

from .diff import MISSING, FieldChange, steps_of

# By how their names begin.
_CONTROLLERS = (
    "kube-controller-manager",
    "horizontal-pod-autoscaler",
    "cert-manager-cainjector",
    "cainjector",
    "vpa-",
    "keda",
)
_PEOPLE = (
    "kubectl",
    "helm",
    "k9s",
    "lens",
    "dashboard",
    "rancher",
    "node-fetch",
    "mozilla",
    "okhttp",
    "unknown",
    "before-first-apply",
)
_SPACE = re.compile(r"\s*")


def controller_pointers(live: JsonObject, field_changes: Iterable[FieldChange]) -> set[str]:
    """The pointers of those changes that are a controller's."""
    entries = [
        part
        for part in (live.get("metadata") or {}).get("managedFields") or []
        if isinstance(part, dict)
    ]
    controller_fields = [part.get("fieldsV1") or {} for part in entries if _is_controller(part)]
    pointers = {
        c.pointer
        for c in field_changes
        if c.pointer.endswith("/caBundle") and is_placeholder(c.git_value)
    }
    for change in field_changes:
        if any(_owns(fields, live, steps_of(change.pointer)) for fields in controller_fields):
            pointers.add(change.pointer)
    return pointers


def is_placeholder(bundle: Any) -> bool:
    """Whether a stated CA bundle means "to be filled in": nothing, "" (which the API server drops),
    or white space in base64.
    """
    if bundle is MISSING or bundle is None:
        return True
    try:
        return (
            isinstance(bundle, str)
            and _SPACE.fullmatch(base64.b64decode(bundle, validate=True).decode()) is not None
        )
    except ValueError:
        return False


def _is_controller(entry: JsonObject) -> bool:
    name = str(entry.get("manager", "")).lower()
    if name.startswith(_CONTROLLERS):
        return True
    # Whatever scales through the subresource and is no person's tool is an autoscaler.
    return entry.get("subresource") == "scale" and not name.startswith(_PEOPLE)


def _owns(fields: Any, item: Any, steps: list[str]) -> bool:
    """Whether fieldsV1 names the field, or the whole of which it is a part. Owning something below
    it is not enough.
    """
    for step in steps:
        if not isinstance(fields, dict):
            return False
        if not fields:
            return True  # the whole is owned as one value
        name, item = _step(fields, item, step)
        if name not in fields:
            return False
        fields = fields[name]
    return not set(fields or ()) - {"."}


def _step(fields: JsonObject, item: Any, step: str) -> tuple[str, Any]:
    """(the name that fieldsV1 has for a step of the pointer, what the object has there)."""
    if isinstance(item, list) and step.isdigit():
        index = list_index(step, item)
        value = item[index] if index is not None else None
        return next((name for name in fields if _fits(name, value)), ""), value
    return f"f:{step}", item.get(step) if isinstance(item, dict) else None


def _fits(name: str, value: Any) -> bool:
    """`k:{"name":"web"}` is an item by its keys, `v:"web"` one of a set by its value."""
    sort, _, text = name.partition(":")
    try:
        value_in_name = json.loads(text) if sort in {"k", "v"} else None
    except ValueError:
        return False
    if sort == "k" and isinstance(value_in_name, dict) and isinstance(value, dict):
        return all(value.get(key) == key_value for key, key_value in value_in_name.items())
    return sort == "v" and value_in_name == value
