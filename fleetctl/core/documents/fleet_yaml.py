"""`fleet.yaml`: what a directory says of its bundle, checked strictly.

Keys and defaults: rancher/fleet `bundlereader` (FleetYAML = own keys + BundleSpec +
BundleDeploymentOptions). Keys count in any letter case, and a key that nobody knows is a warning,
as in Fleet; a typing error is an error with its line and the right key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec

from fleetctl.core.documents.bundle_check import MODES, check_rollout
from fleetctl.core.documents.convert import Note, Origin, convert, dotted_path, known_values
from fleetctl.core.documents.diff_entries import useless_entries
from fleetctl.core.documents.fields import FLEET_YAML
from fleetctl.core.documents.gitrepo import GitTarget
from fleetctl.core.formats.yaml import YamlDocument, load_one
from fleetctl.core.model.bundle import Target
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.model.ids import is_name
from fleetctl.core.model.options import INTERNAL, Options
from fleetctl.core.model.status import State
from fleetctl.core.model.wire import Dependency

_OPTION_KEYS = frozenset(Options.__struct_encode_fields__) - INTERNAL
_NO_MAP = "Write keys such as `defaultNamespace: web`."
IMAGE_SCANS_STEP = (
    "Remove it, and update images with another tool. Rancher Fleet refuses it too, unless image"
    " scans are enabled."
)


class OwnKeys(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
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
    """A fleet.yaml as the scan uses it. `values_files` of customizations stay in their options
    until the files are read; `notes` are warnings.
    """

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
    moved_from: str = ""
    notes: list[Note] = []


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key below `kind`, dotted; what users name themselves (values, labels, selectors) ends a
    path.
    """
    hints = get_type_hints(kind)
    for name, field in zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True):
        yield prefix + name
        inner = [hints[field], *get_args(hints[field])]
        inner += [arg for part in inner for arg in get_args(part)]
        for struct in inner:
            if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
                yield from _keys(struct, f"{prefix}{name}.")


# Every key of a fleet.yaml.
KEYS = tuple(
    key for key in dict.fromkeys([*_keys(OwnKeys), *_keys(Options)]) if key not in INTERNAL
)


def parse(text: bytes, *, file: str = "fleet.yaml", strict: bool = False) -> FleetYaml:
    """The fleet.yaml `text`; `strict` refuses what is a warning otherwise. Raises InvalidFile with
    line and column.
    """
    return parse_document(load_one(text, file=file, strict=True), file=file, strict=strict)


def parse_document(
    document: YamlDocument, *, file: str = "fleet.yaml", strict: bool = False
) -> FleetYaml:
    """As `parse`, of a document that is read already."""
    if document.value is None:
        return FleetYaml()
    origin = Origin(file, document.places, table=FLEET_YAML, strict=strict)
    if not isinstance(document.value, dict):
        raise InvalidFile(
            "is not a map of keys",
            file=file,
            line=document.place.line,
            column=document.place.column,
            next_step=_NO_MAP,
        )
    own_keys, option_keys = _split(document.value, OwnKeys, origin)
    bundle_keys = convert(own_keys, OwnKeys, origin)
    _check(bundle_keys, origin)
    return FleetYaml(
        name=bundle_keys.name,
        labels=bundle_keys.labels,
        paused=bundle_keys.paused,
        options=_options(option_keys, origin),
        customizations=_targets(bundle_keys.target_customizations, "targetCustomizations", origin),
        customization_mode=bundle_keys.target_customization_mode or "FirstMatch",
        targets=_targets(bundle_keys.targets, "targets", origin),
        override_targets=bundle_keys.override_targets,
        depends_on=bundle_keys.depends_on,
        rollout_strategy=check_rollout(
            bundle_keys.rollout_strategy, origin.below("rolloutStrategy")
        ),
        moved_from=bundle_keys.moved_from,
        notes=origin.notes,
    )


def _split(
    value: dict[str, Any], kind: type[msgspec.Struct], origin: Origin
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of `kind`, and those that are options."""
    values = known_values(value, [*kind.__struct_encode_fields__, *_OPTION_KEYS], origin)
    own_values = {key: item for key, item in values.items() if key not in _OPTION_KEYS}
    return own_values, {key: item for key, item in values.items() if key in _OPTION_KEYS}


def _targets(items: list[dict[str, Any]], key: str, origin: Origin) -> list[Target]:
    targets: list[Target] = []
    for at, item in enumerate(items):
        target_origin = origin.below(key, at)
        own_keys, option_keys = _split(item, _Customization, target_origin)
        customization = convert(own_keys, _Customization, target_origin)
        _check_criteria(customization, target_origin)
        options = _options(option_keys, target_origin)
        targets.append(
            customization.target(do_not_deploy=customization.do_not_deploy, options=options)
        )
    return targets


def _options(keys: dict[str, Any], origin: Origin) -> Options:
    """Warns of entries of `diff` that leave nothing out."""
    options = convert(keys, Options, origin)
    for at, patch in enumerate(options.diff.compare_patches or [] if options.diff else []):
        for path, summary, step in useless_entries(patch):
            key = dotted_path(path)
            origin.warn(
                "diff-operation",
                f"`diff.comparePatches[{at}].{key}`: {summary}",
                ("diff", "comparePatches", at, *path),
                step,
            )
    return options


def _check_criteria(target: GitTarget, origin: Origin) -> None:
    if target.states_no_criterion:
        raise origin.error(
            "states no criterion and would match no cluster",
            (),
            "Write `clusterSelector: {}` for all clusters.",
        )


def _check(own_keys: OwnKeys, origin: Origin) -> None:
    if own_keys.moved_from and not is_name(own_keys.moved_from, limit=53):
        summary = f"movedFrom: {own_keys.moved_from!r} is not the name of a bundle"
        raise origin.error(summary, ("movedFrom",), "See `fleetctl get bundles`.")
    if own_keys.target_customization_mode not in {"", *MODES}:
        summary = (
            f"targetCustomizationMode: {own_keys.target_customization_mode!r} is none of"
            f" {', '.join(MODES)}"
        )
        raise origin.error(summary, ("targetCustomizationMode",), "Write FirstMatch or AllMatches.")
    if own_keys.image_scans:
        raise origin.error(
            "imageScans: images are not updated in Git in this version",
            ("imageScans",),
            IMAGE_SCANS_STEP,
        )
    for at, target in enumerate(own_keys.override_targets or ()):
        _check_criteria(target, origin.below("overrideTargets", at))
    for at, dependency in enumerate(own_keys.depends_on):
        if not dependency.name and dependency.selector is None:
            summary = "dependsOn: an entry names neither a bundle nor a selector"
            raise origin.error(
                summary, ("dependsOn", at), f"Write `name:`; states are {', '.join(State)}."
            )
