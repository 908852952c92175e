"""Fields that an upgrade leaves to others: those under a rule of `diff.comparePatches`, and those
that a controller owns.

Rule: helm applies with force, so that Git wins over a hand edit; whatever is not Git's is therefore
given to helm with the value that it has in the cluster at that moment. Nothing is read for a
release that does not exist yet, and of kinds that no controller writes only objects that a rule
names.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from fleetctl.core.model.errors import NotFound, ToolFailed
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.text.json_pointer import pointer_steps
from fleetctl.tools.field_substitution import Substitute, key_of, lookup, projected

from ..drift.diff import MISSING, FieldChange, differences, to_changes
from ..drift.field_owners import controller_pointers
from ..drift.ignore_rules import Rules
from ..kube.client import Kube

# No controller of Kubernetes or of the usual add-ons writes a field of these that a manifest
# states.
_PLAIN = frozenset(
    {
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRoleBinding",
        "Namespace",
        "NetworkPolicy",
    }
)
_AT_ONCE = 8


async def substitutes(
    kube: Kube, rules: Rules, objects: Iterable[JsonObject], namespace: str
) -> list[Substitute]:
    """What of `objects`, which are about to be applied or were applied last, has to be left as it
    is now. Raises ClusterUnreachable.
    """
    limit = asyncio.Semaphore(_AT_ONCE)
    items_to_read = [item for item in objects if may_concern(item, rules, namespace)]
    for api, kind in dict.fromkeys(
        (str(item.get("apiVersion")), str(item.get("kind"))) for item in items_to_read
    ):
        # once for all of a kind, not once for each that asks at the same time
        with contextlib.suppress(NotFound, ToolFailed):
            await kube.discovery.resource(api, kind)

    async def find_substitute(item: JsonObject) -> Substitute | None:
        async with limit:
            live_item = await read_live(kube, item, namespace)
        return substitute_for(item, live_item, rules, namespace) if live_item else None

    found_substitutes = await asyncio.gather(*(find_substitute(item) for item in items_to_read))
    return [substitute for substitute in found_substitutes if substitute is not None]


def may_concern(item: JsonObject, rules: Rules, namespace: str) -> bool:
    """Whether somebody else may own a field of `item`."""
    if item.get("kind") not in _PLAIN:
        return True
    item_with_namespace = {
        **item,
        "metadata": {"namespace": namespace, **(item.get("metadata") or {})},
    }
    return rules.passes_over(item_with_namespace) or bool(rules.pointers(item_with_namespace))


def substitute_for(
    item: JsonObject, live: JsonObject, rules: Rules, namespace: str
) -> Substitute | None:
    """None when every field that is somebody else's has the stated value. A field under a rule
    counts even when `item` does not state it: the manifest that will be applied may.
    """
    group, kind, place, name = key_of(item, namespace)
    pointers = (
        [""]
        if rules.passes_over(live)
        else [*rules.pointers(live), *_controller_pointers(item, live)]
    )
    values: JsonObject = {}
    gone_pointers: list[str] = []
    for pointer in pointers:
        steps = pointer_steps(pointer)
        (is_stated, stated_value), (is_live, live_value) = lookup(item, steps), lookup(live, steps)
        if is_live and (not is_stated or _differ(stated_value, live_value)):
            values[pointer] = live_value
        elif is_stated and not is_live:
            gone_pointers.append(pointer)
    if not (values or gone_pointers):
        return None
    return Substitute(
        group=group, kind=kind, namespace=place, name=name, live=values, gone=gone_pointers
    )


def _controller_pointers(item: JsonObject, live: JsonObject) -> list[str]:
    """Pointers of stated fields that a controller has set otherwise, and of replicas that an
    autoscaler has set though none were stated.
    """
    field_changes = to_changes(item, differences(item, live))
    is_live, replicas = lookup(live, ["spec", "replicas"])
    if is_live and not lookup(item, ["spec", "replicas"])[0]:
        field_changes.append(FieldChange("/spec/replicas", MISSING, replicas))
    return sorted(controller_pointers(live, field_changes))


def _differ(stated_value: Any, live_value: Any) -> bool:
    """Whether what is stated has another value; what the live one holds beyond that does not
    count.
    """
    return bool(differences({"": stated_value}, {"": projected(stated_value, live_value)}))


async def read_live(kube: Kube, item: JsonObject, namespace: str) -> JsonObject | None:
    """The object as it is in the cluster, None when it is not there, or nobody may read it. Raises
    ClusterUnreachable.
    """
    _, kind, place, name = key_of(item, namespace)
    try:
        return (
            await kube.call(
                "GET", await kube.object_path(str(item.get("apiVersion")), kind, place, name)
            )
            or None
        )
    except (NotFound, ToolFailed):  # what cannot be read is helm's to judge
        return None
