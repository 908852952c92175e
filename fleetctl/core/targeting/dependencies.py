"""What `dependsOn` means on one cluster: decided by the agent, explained by the manager. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Dependency


class DependencyBundle(Protocol):
    """What is meant for the cluster: a DesiredBundle of the wire, or what the manager holds of
    it.
    """

    @property
    def name(self) -> BundleName: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def depends_on(self) -> Sequence[Dependency]: ...


def cycle(
    bundle: DependencyBundle, bundles: Mapping[BundleName, DependencyBundle]
) -> list[BundleName]:
    """The names from the bundle back to itself, or nothing. A reference to nobody is to nobody."""
    open_: list[tuple[DependencyBundle, list[BundleName]]] = [(bundle, [bundle.name])]
    visited_names: set[BundleName] = set()
    while open_:
        name, path = open_.pop()
        for dependency in name.depends_on:
            for other in (b for b in bundles.values() if is_meant(dependency, b.name, b.labels)):
                if other.name == name.name and not dependency.name:
                    continue  # a selector that picks its own bundle too means the others
                if other.name == bundle.name:
                    return [*path, bundle.name]
                if other.name not in visited_names:
                    visited_names.add(other.name)
                    open_.append((other, [*path, other.name]))
    return []


def is_meant(dependency: Dependency, name: BundleName, labels: Mapping[str, str]) -> bool:
    """Whether an entry of dependsOn means the bundle of this name; one that says nothing means
    nobody, as in Fleet.
    """
    if not dependency.name and dependency.selector is None:
        return False
    if dependency.name and dependency.name != name:
        return False
    return dependency.selector is None or _matches(dependency.selector, labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A LabelSelector of dependsOn."""
    if any(
        labels.get(key) != str(value) for key, value in (selector.get("matchLabels") or {}).items()
    ):
        return False
    for term in selector.get("matchExpressions") or []:
        key, values = str(term.get("key")), [str(v) for v in term.get("values") or []]
        bundle_labels = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not bundle_labels.get(str(term.get("operator")), False):
            return False
    return True
