"""Checks bundles that were scanned elsewhere and sent in, as strictly as the scan checks a
fleet.yaml.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fleetctl.core.documents.convert import Origin, convert, fit, fit_selector
from fleetctl.core.documents.fields import RolloutStrategy
from fleetctl.core.model.bundle import BundleSpec, Target
from fleetctl.core.model.ids import is_name
from fleetctl.core.model.wire import Dependency
from fleetctl.core.rollout.strategy import mistakes

MODES = ("FirstMatch", "AllMatches")
_SELECTORS = ("cluster_selector", "cluster_group_selector")


def check_bundle(spec: BundleSpec) -> BundleSpec:
    """`spec` with its selectors and rollout strategy in their right form. Raises InvalidFile naming
    the key.
    """
    origin = Origin(f"bundle {spec.name[:80]}")
    if not is_name(spec.name, limit=53):
        raise origin.error(
            f"name: {spec.name[:80]!r} is not the name of a bundle",
            (),
            "Use at most 53 small letters, digits and -.",
        )
    if spec.customization_mode not in MODES:
        summary = (
            f"customizationMode: {spec.customization_mode[:40]!r} is none of {', '.join(MODES)}"
        )
        raise origin.error(summary, (), "Write FirstMatch or AllMatches.")
    return msgspec.structs.replace(
        spec,
        targets=[
            _target(target, origin.below("targets", at)) for at, target in enumerate(spec.targets)
        ],
        customizations=[
            _target(target, origin.below("customizations", at))
            for at, target in enumerate(spec.customizations)
        ],
        depends_on=[
            _dependency(item, origin.below("dependsOn", at))
            for at, item in enumerate(spec.depends_on)
        ],
        rollout_strategy=check_rollout(spec.rollout_strategy, origin.below("rolloutStrategy")),
    )


def check_rollout(value: dict[str, Any] | None, origin: Origin) -> dict[str, Any] | None:
    """A rolloutStrategy in its right form. Raises InvalidFile at the key that is wrong."""
    if value is None:
        return None
    result: dict[str, Any] = fit(value, RolloutStrategy, origin)
    convert(result, RolloutStrategy, origin)
    for mistake in mistakes(result):
        raise origin.error(mistake.summary, mistake.path, mistake.next_step)
    return result


def _target(target: Target, origin: Origin) -> Target:
    changes = {
        name: fit_selector(value, origin, (name,))
        for name in _SELECTORS
        if (value := getattr(target, name)) is not None
    }
    return msgspec.structs.replace(target, **changes) if changes else target


def _dependency(item: Dependency, origin: Origin) -> Dependency:
    if item.selector is None:
        return item
    return msgspec.structs.replace(
        item, selector=fit_selector(item.selector, origin, ("selector",))
    )
