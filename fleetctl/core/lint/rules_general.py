"""What a fleet.yaml says without effect, or with another one than it seems: the rules behind the
warnings of `lint.py`.

Those of a chart, of the bundle's files and of targets stand in files of their own; those of
namespaces, settings and diffs are here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fleetctl.core.documents.convert import Path
from fleetctl.core.documents.diff_entries import useless_entries
from fleetctl.core.formats.regex import InvalidRegex, compile_regex
from fleetctl.core.lint import rules_files, rules_helm, rules_targets
from fleetctl.core.lint.context import Advice, Layer, as_list, as_map, as_str, layers
from fleetctl.core.model.ids import is_name
from fleetctl.core.model.options import ComparePatch

_PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


def _namespaces(layer: Layer) -> Iterator[Advice]:
    namespace, default_namespace = (
        as_str(layer.all.get("namespace")),
        as_str(layer.all.get("defaultNamespace")),
    )
    if (
        as_str(layer.own.get("defaultNamespace"))
        and default_namespace != "-"
        and namespace
        and namespace != "-"
    ):
        summary = f"`defaultNamespace` has no effect: `namespace` puts everything into {namespace}"
        yield "two-namespaces", layer.at("defaultNamespace"), summary, "Remove one of the two."
    if (
        layer.all.get("deleteNamespace") is True
        and (namespace or default_namespace) in _PROTECTED_NAMESPACES
    ):
        keys = [
            key
            for key in ("deleteNamespace", "namespace", "defaultNamespace")
            if layer.own.get(key)
        ]
        if keys:
            summary = f"the namespace {namespace or default_namespace} is never deleted"
            yield (
                "protected-namespace",
                layer.at(keys[0]),
                summary,
                "Remove `deleteNamespace`, or name another namespace.",
            )
    for key, limit in (("namespace", 63), ("defaultNamespace", 63)):
        name = as_str(layer.own.get(key))
        if name and not is_name(name, limit=limit) and not (layer.is_custom and name == "-"):
            yield (
                "invalid-name",
                layer.at(key),
                f"`{key}`: {name[:80]!r} is not a valid namespace",
                "Use small letters, digits and -.",
            )
    name = as_str(layer.own_helm("releaseName"))
    if name and not is_name(name, limit=53):
        summary = f"`helm.releaseName`: {name[:80]!r} is not a valid release name"
        yield (
            "invalid-name",
            layer.at("helm", "releaseName"),
            summary,
            "Use at most 53 small letters, digits, - and dots.",
        )


def _settings(layer: Layer) -> Iterator[Advice]:
    if layer.own.get("forceSyncGeneration") is not None:
        step = "Set it in the GitRepo."
        yield (
            "force-sync-generation",
            layer.at("forceSyncGeneration"),
            "the GitRepo's `forceSyncGeneration` wins over this one",
            step,
        )
    drift = as_map(layer.own.get("correctDrift"))
    for key in ("force", "keepFailHistory"):
        if drift.get(key) is True and drift.get("enabled") is not True:
            summary = f"`correctDrift.{key}` does nothing without `correctDrift.enabled`"
            yield (
                "correct-drift-off",
                layer.at("correctDrift", key),
                summary,
                "Add `enabled: true`.",
            )


def _diff(layer: Layer) -> Iterator[Advice]:
    for at, patch in enumerate(as_list(as_map(layer.own.get("diff")).get("comparePatches"))):
        if not isinstance(patch, dict):
            continue
        place = layer.at("diff", "comparePatches", at)
        missing = [key for key in ("apiVersion", "kind") if not as_str(patch.get(key))]
        if missing:
            summary = (
                f"the entry of `diff.comparePatches` has no {' and no '.join(missing)}, so it fits"
                " no object"
            )
            yield "diff-incomplete", place, summary, f"Write `{missing[0]}:`."
        problem = _no_pattern(as_str(patch.get("name")))
        if problem:
            summary = f"`name` is no regular expression: {problem}"
            yield (
                "diff-pattern",
                (*place, "name"),
                summary,
                "Correct it, or write the object's name.",
            )
        yield from _diff_fields(patch, place)


def _diff_fields(patch: dict[str, Any], place: Path) -> Iterator[Advice]:
    """Pointers and operations that leave nothing out."""
    try:
        entry = msgspec.convert(
            {key: patch.get(key) for key in ("jsonPointers", "operations")}, ComparePatch
        )
    except msgspec.ValidationError:
        return  # a wrong type, which is an error of its own
    for path, summary, step in useless_entries(entry, known_only=True):
        yield "diff-operation", (*place, *path), summary, step


def _no_pattern(text: str) -> str:
    """What is wrong with it as a regular expression, or ""."""
    try:
        compile_regex(text)
    except InvalidRegex as error:
        return " ".join(str(error).split())[:100]
    return ""


_LAYER_RULES = (*rules_helm.RULES, *rules_files.RULES, _namespaces, _settings, _diff)


def advice(document: dict[str, Any], files: frozenset[str] | None) -> Iterator[Advice]:
    """Everything that is worth saying of one fleet.yaml, in no order. files: of the bundle's
    folder, None when not known.
    """
    for layer in layers(document, files):
        for rule in _LAYER_RULES:
            yield from rule(layer)
    for look in rules_targets.RULES:
        yield from look(document)
