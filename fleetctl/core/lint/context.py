"""One place of a fleet.yaml as its rules see it: the top level, or one customization laid over it.

Rule: a rule looks at what one place states (the top level, or one customization) together with what
holds there (the customization laid over the top level), and speaks only of keys that this place
itself states, so that nothing is said twice. Values may be of any type: wrong ones are reported
elsewhere and count as not stated here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fleetctl.core.documents.convert import Path
from fleetctl.core.model.options import merge_values

Advice = tuple[str, Path, str, str]  # code, key, summary, next step


class Layer(NamedTuple):
    """`own` is what this place states, `all` what holds there; `files` of the bundle, None when not
    known.
    """

    prefix: Path
    own: dict[str, Any]
    all: dict[str, Any]
    files: frozenset[str] | None

    def helm(self, key: str) -> Any:
        return as_map(self.all.get("helm")).get(key)

    def own_helm(self, key: str) -> Any:
        return as_map(self.own.get("helm")).get(key)

    @property
    def is_custom(self) -> bool:
        return bool(self.prefix)

    def at(self, *path: str | int) -> Path:
        """Where a key of this place stands."""
        return (*self.prefix, *path)


def layers(document: dict[str, Any], files: frozenset[str] | None) -> Iterator[Layer]:
    """The top level, and each customization."""
    yield Layer((), document, document, files)
    for key in ("targets", "targetCustomizations"):
        for at, item in enumerate(as_list(document.get(key))):
            if isinstance(item, dict):
                yield Layer((key, at), item, _merge_layer(document, item), files)


def _merge_layer(document: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    stated_values = {key: value for key, value in item.items() if value is not None}
    merged_document = merge_values(document, stated_values)
    if "correctDrift" in stated_values:
        merged_document["correctDrift"] = stated_values["correctDrift"]
    operations = [
        *as_list(as_map(document.get("yaml")).get("overlays")),
        *as_list(as_map(item.get("yaml")).get("overlays")),
    ]
    return merged_document | ({"yaml": {"overlays": operations}} if operations else {})


def as_map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_str(value: Any) -> str:
    return value if isinstance(value, str) else ""
