"""What a bundle says must not count: fields and objects of `diff.comparePatches`, conditions of `ignore.conditions`, and fields that a
controller of Kubernetes owns. Pure.

How rules match follows rancher/fleet `internal/cmd/agent/deployer/desiredset`: kind and API group are equal, an empty namespace or name is
any, a name is also tried as a regular expression. Fields are taken out of both sides before they are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fleetctl.core.options import ComparePatch, Options
from fleetctl.core.template.errors import Mistake
from fleetctl.core.template.regex import compiled

# Who changes stated fields as its duty: the autoscaler's replicas, injected CA bundles.
_CONTROLLERS = ("kube-controller-manager", "horizontal-pod-autoscaler", "cert-manager-cainjector", "vpa-", "keda")


@dataclass(frozen=True)
class Rules:
    """`conditions`: each a map that a condition must hold to be passed over."""

    patches: Sequence[ComparePatch] = ()
    conditions: Sequence[dict[str, str]] = ()

    def passes_over(self, item: dict[str, Any]) -> bool:
        """Whether the whole object is left to itself."""
        return any(operation.op == "ignore" for rule in self._for(item) for operation in rule.operations or [])

    def pointers(self, item: dict[str, Any]) -> list[str]:
        """JSON pointers of the fields that do not count."""
        found: list[str] = []
        for rule in self._for(item):
            found += rule.json_pointers or []
            found += [operation.path for operation in rule.operations or [] if operation.op == "remove"]
        return [pointer for pointer in found if pointer.startswith("/")]

    def _for(self, item: dict[str, Any]) -> Iterable[ComparePatch]:
        return (rule for rule in self.patches if _matches(rule, item))

    def healthy_view(self, live: dict[str, Any]) -> dict[str, Any]:
        """The live object without the conditions that do not count."""
        status = live.get("status")
        conditions = status.get("conditions") if isinstance(status, dict) else None
        if not self.conditions or not isinstance(status, dict) or not isinstance(conditions, list):
            return live
        kept = [c for c in conditions if not any(_holds(c, wanted) for wanted in self.conditions)]
        return {**live, "status": {**status, "conditions": kept}}


NONE = Rules()


def rules_of(options: Options) -> Rules:
    patches = (options.diff.compare_patches if options.diff else None) or ()
    conditions = (options.ignore.conditions if options.ignore else None) or ()
    return Rules(patches, conditions)


def without(item: dict[str, Any], pointers: Iterable[str]) -> dict[str, Any]:
    """`item` without the fields at `pointers`; what is not there is not there."""
    found: Any = item
    for pointer in pointers:
        found = _cut(found, [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")])
    return found if isinstance(found, dict) else {}


def owned_by_controllers(live: dict[str, Any], paths: Iterable[str]) -> set[str]:
    """Those of `paths` whose field a controller has set, by the object's managedFields. Fields inside lists are not looked into."""
    entries = [
        part.get("fieldsV1") or {}
        for part in (live.get("metadata") or {}).get("managedFields") or []
        if str(part.get("manager", "")).startswith(_CONTROLLERS)
    ]
    return {path for path in paths if any(_owns(entry, path[1:].split("/")) for entry in entries)}


def _owns(fields: Any, steps: list[str]) -> bool:
    for step in steps:
        name = "f:" + step.replace("~1", "/").replace("~0", "~")
        if not isinstance(fields, dict) or name not in fields:
            return False
        fields = fields[name]
    return True


def _matches(rule: ComparePatch, item: dict[str, Any]) -> bool:
    meta = item.get("metadata") or {}
    if rule.kind and rule.kind != item.get("kind"):
        return False
    if rule.api_version and _group(rule.api_version) != _group(str(item.get("apiVersion", ""))):
        return False
    if rule.namespace and rule.namespace != (meta.get("namespace") or ""):
        return False
    return not rule.name or rule.name == meta.get("name") or _fits(rule.name, str(meta.get("name", "")))


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _fits(pattern: str, name: str) -> bool:
    try:
        return compiled(pattern).search(name) is not None
    except Mistake:
        return False


def _holds(condition: Any, wanted: dict[str, str]) -> bool:
    return isinstance(condition, dict) and bool(wanted) and all(str(condition.get(key)) == value for key, value in wanted.items())


def _cut(value: Any, steps: list[str]) -> Any:
    head, *rest = steps
    if isinstance(value, dict) and head in value:
        if not rest:
            return {key: item for key, item in value.items() if key != head}
        return {**value, head: _cut(value[head], rest)}
    if isinstance(value, list) and head.isdigit() and int(head) < len(value):
        at = int(head)
        return [*value[:at], *([_cut(value[at], rest)] if rest else []), *value[at + 1 :]]
    return value
