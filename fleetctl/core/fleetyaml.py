"""`fleet.yaml`: what a directory says of its bundle, checked strictly.

Keys and defaults: rancher/fleet `bundlereader` (FleetYAML = own keys + BundleSpec + BundleDeploymentOptions). Fleet ignores a key that it
does not know; here it is an error with its line and the nearest key. Positions come from PyYAML's own marks, so that the values that are
checked and the places that are named stem from one parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec

from fleetctl.core.bundle import Target
from fleetctl.core.errors import UsageError
from fleetctl.core.gitrepo import CRITERIA, GitTarget
from fleetctl.core.ids import is_name
from fleetctl.core.options import INTERNAL, Options
from fleetctl.core.shape import Origin, convert, unknown_key
from fleetctl.core.status import State
from fleetctl.core.strategy import strategy_of
from fleetctl.core.wire import Dependency
from fleetctl.core.yamldoc import load, places

_OPTION_KEYS = frozenset(Options.__struct_encode_fields__) - INTERNAL
_MODES = ("FirstMatch", "AllMatches")


class _Own(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The keys of fleet.yaml that are not options."""

    name: str = ""
    labels: dict[str, str] = {}
    paused: bool = False
    rollout_strategy: dict[str, Any] | None = None
    target_customization_mode: str = ""
    target_customizations: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    override_targets: list[GitTarget] | None = None
    depends_on: list[Dependency] = []
    image_scans: list[dict[str, Any]] = []
    moved_from: str = ""


class _Customization(GitTarget, frozen=True, kw_only=True, rename="camel"):
    do_not_deploy: bool = False


class FleetYaml(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet.yaml as the scan uses it. `values_files` of customizations stay in their options until the files are read."""

    name: str = ""
    labels: dict[str, str] = {}
    paused: bool = False
    options: Options = Options()
    customizations: list[Target] = []
    customization_mode: str = "FirstMatch"
    targets: list[Target] = []
    override_targets: list[GitTarget] | None = None
    depends_on: list[Dependency] = []
    rollout_strategy: dict[str, Any] | None = None
    scans_images: bool = False
    moved_from: str = ""


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key below `kind`, dotted; what users name themselves (values, labels, selectors) ends a path."""
    hints = get_type_hints(kind)
    for name, field in zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True):
        yield prefix + name
        inner = [hints[field], *get_args(hints[field])]
        inner += [arg for part in inner for arg in get_args(part)]
        for struct in inner:
            if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
                yield from _keys(struct, f"{prefix}{name}.")


# Every key of a fleet.yaml.
KEYS = tuple(key for key in dict.fromkeys([*_keys(_Own), *_keys(Options)]) if key not in INTERNAL)


def parse(text: bytes, *, file: str = "fleet.yaml") -> FleetYaml:
    """The fleet.yaml `text`. Raises InvalidFile with line and column."""
    document = load(text, file=file, strict=True)
    if document is None:
        return FleetYaml()
    origin = Origin(file, places(text, file=file))
    if not isinstance(document, dict):
        raise origin.error("holds no map of keys", (), "Write keys such as `defaultNamespace: web`.")
    own = convert(_split(document, _Own, origin), _Own, origin)
    _check(own, origin)
    return FleetYaml(
        name=own.name,
        labels=own.labels,
        paused=own.paused,
        options=_options(document, origin),
        customizations=_targets(own.target_customizations, "targetCustomizations", origin),
        customization_mode=own.target_customization_mode or "FirstMatch",
        targets=_targets(own.targets, "targets", origin),
        override_targets=own.override_targets,
        depends_on=own.depends_on,
        rollout_strategy=own.rollout_strategy,
        scans_images=bool(own.image_scans),
        moved_from=own.moved_from,
    )


def _split(document: dict[str, Any], kind: type[msgspec.Struct], origin: Origin) -> dict[str, Any]:
    """The keys of `document` that are not options; a null counts as not written."""
    known = [*kind.__struct_encode_fields__, *_OPTION_KEYS]
    for key in document:
        if key not in known:
            raise unknown_key(key, known, origin)
    return {k: v for k, v in document.items() if k not in _OPTION_KEYS and v is not None}


def _options(document: dict[str, Any], origin: Origin) -> Options:
    return convert({k: v for k, v in document.items() if k in _OPTION_KEYS}, Options, origin)


def _targets(items: list[dict[str, Any]], key: str, origin: Origin) -> list[Target]:
    found: list[Target] = []
    for at, item in enumerate(items):
        here = Origin(origin.file, origin.places, (*origin.under, key, at))
        own = convert(_split(item, _Customization, here), _Customization, here)
        if not any(item.get(k) is not None for k in CRITERIA if k != "name"):
            raise here.error("states no criterion and would match no cluster", (), "Write `clusterSelector: {}` for all clusters.")
        found.append(own.target(do_not_deploy=own.do_not_deploy, options=_options(item, here)))
    return found


def _check(own: _Own, origin: Origin) -> None:
    if own.moved_from and not is_name(own.moved_from, limit=53):
        summary = f"movedFrom: {own.moved_from!r} is not the name of a bundle"
        raise origin.error(summary, ("movedFrom",), "See `fleetctl get bundles`.")
    try:
        strategy_of(own.rollout_strategy)
    except UsageError as why:
        raise origin.error(why.summary, ("rolloutStrategy",), why.next_step) from why
    if own.target_customization_mode not in {"", *_MODES}:
        summary = f"targetCustomizationMode: {own.target_customization_mode!r} is none of {', '.join(_MODES)}"
        raise origin.error(summary, ("targetCustomizationMode",), "Write FirstMatch or AllMatches.")
    for at, scan in enumerate(own.image_scans):
        if scan.get("image") and not scan.get("tagName"):
            raise origin.error("imageScans: an entry names an image and no tagName", ("imageScans", at), "Write `tagName:`.")
    for at, dependency in enumerate(own.depends_on):
        if not dependency.name and dependency.selector is None:
            summary = "dependsOn: an entry names neither a bundle nor a selector"
            raise origin.error(summary, ("dependsOn", at), f"Write `name:`; states are {', '.join(State)}.")
