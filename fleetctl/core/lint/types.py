"""Mistakes that the types of a document show: unknown keys, wrong types, unknown words, missing
keys; all of them, at any depth.

What a key or null means is decided as in `shape.py`, which reads the same documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.documents.convert import Path, as_text, is_selector, selector_step
from fleetctl.core.documents.gitrepo import CRITERIA, NOT_ENFORCED
from fleetctl.core.documents.json_schema import Node, documents, table_of
from fleetctl.core.documents.key_names import CASE, dotted_path, judge, nearest
from fleetctl.core.documents.schedule import problems
from fleetctl.core.documents.unused_keys import CODE as NO_EFFECT
from fleetctl.core.documents.unused_keys import insecure, is_insecure_key, reason

_LONGEST = 120
# Kinds that only `core.documents.object_check` judges.
_WITHOUT_TABLE = frozenset({"clusterregistrationtoken", "bundle", "bundledeployment"})


class Said(NamedTuple):
    """A finding that does not know its file yet."""

    code: str
    path: Path
    summary: str
    next_step: str


class Checker(NamedTuple):
    """`kind`: the document that is checked; `table`: all its keys, for hints."""

    kind: str
    table: Mapping[str, Any]

    def mistakes(self, value: Any, node: Node, path: Path) -> Iterator[Said]:
        """Unknown keys and wrong types at any depth. A null counts as not written."""
        if value is None:
            return
        if node.is_list:
            if not isinstance(value, list):
                yield _wrong(value, node.type, path)
                return
            for at, item in enumerate(value):
                yield from self._item({} if item is None and node.keys else item, node, (*path, at))
        elif node.is_map:
            if not isinstance(value, dict):
                yield _wrong(value, node.type, path)
                return
            for key, item in value.items():
                yield from self._item(item, node, (*path, key))
        else:
            yield from self._item(value, node, path)

    def _item(self, value: Any, node: Node, path: Path) -> Iterator[Said]:
        """One value, or one item of a list or map."""
        if node.keys:
            yield from self._object(value, node, path)
            return
        if value is None and node.kind is not bool and node.kind is not int:
            return
        kept = as_text(value, node.kind)
        if isinstance(value, float) and kept != value:
            summary = f"{_name(path)} is the number {value}, which counts as the text {kept!r}"
            yield Said("number-as-text", path, summary, "Put quotes around it.")
        try:
            msgspec.convert(kept, node.kind)
        except msgspec.ValidationError:
            is_word = isinstance(value, str) and node.choices
            yield (
                _unknown_value(value, node, path)
                if is_word
                else _wrong(value, node.type_of_one, path)
            )
            return
        if node.choices and value not in node.choices and (value or node.name == "operator"):
            yield _unknown_value(value, node, path)

    def _object(self, value: Any, node: Node, path: Path) -> Iterator[Said]:
        if not isinstance(value, dict):
            yield _wrong(value, "object", path)
            return
        stated = set()
        for key, item in value.items():
            name = key if key in node.keys else ""
            if not name:
                said, name = self._unknown(key, item, node, path)
                yield from said
            if name and item is not None:
                stated.add(name)
                yield from self.mistakes(item, node.keys[name], (*path, key))
        for key, child in node.keys.items():
            if child.is_required and key not in stated:
                yield Said(
                    "missing-key",
                    path,
                    f"{_name((*path, key))} is missing",
                    f"Write it: {child.field.text}",
                )

    def _unknown(self, key: str, item: Any, node: Node, path: Path) -> tuple[list[Said], str]:
        """(findings, the key that is meant or "")."""
        here = (*path, key)
        if path == ("spec",) and is_insecure_key(self.kind, key):
            return [Said("refused", here, summary, step) for summary, step in insecure(item)], ""
        why = reason(self.kind, key) if path == ("spec",) else ""
        if why:
            said = Said(
                NO_EFFECT,
                here,
                f"key {_name(here)} has no effect: {why}",
                "Remove it, or leave it for Rancher Fleet.",
            )
            return ([said] if item not in (None, "", {}, [], False) else []), ""
        judgement = judge(key, list(node.keys), path, self.table)
        if judgement.code != CASE and any(
            isinstance(step, str) and is_selector(step) for step in path
        ):
            return [
                Said(
                    "unknown-key",
                    here,
                    f"unknown key {_name(here)}",
                    selector_step(key, list(node.keys)),
                )
            ], ""
        return [Said(judgement.code, here, judgement.summary, judgement.next_step)], judgement.key


def canonical(value: Any, node: Node) -> Any:
    """`value` with the known keys in their right spelling and without those that are null, as
    `shape.fit` has them.
    """
    if node.is_list and isinstance(value, list):
        return [_canonical_object(item, node) for item in value]
    return _canonical_object(value, node)


def _canonical_object(value: Any, node: Node) -> Any:
    if not node.keys or not isinstance(value, dict):
        return value
    lower = {key.lower(): key for key in node.keys}
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in node.keys else lower.get(key.lower(), "")
        if name and item is not None and (name == key or value.get(name) is None):
            found[name] = canonical(item, node.keys[name])
    return found


def manifest(value: dict[str, Any], path: Path) -> Iterator[Said]:
    """The mistakes in one object of Fleet; `path`: where it is in its document."""
    kind = str(value["kind"])
    known = documents().get(kind.lower())
    if known is None or not known.is_manifest:
        if kind.lower() not in _WITHOUT_TABLE:
            why = (
                "is not enforced in this version"
                if kind in NOT_ENFORCED
                else "is not a kind that fleetctl knows"
            )
            yield Said(
                "refused",
                (*path, "kind"),
                f"{kind[:80]} {why}, and `fleetctl apply` refuses it",
                "Remove the object.",
            )
        return
    spec = value.get("spec")
    checker = Checker(known.kind, table_of(known.name))
    node = known.root.keys["spec"]
    found = list(checker.mistakes({} if spec is None else spec, node, ("spec",)))
    stated = canonical(spec, node) if isinstance(spec, dict) else {}
    if known.kind == "Schedule":
        found += [
            Said("invalid-value", ("spec", *p.path), p.summary, p.next_step)
            for p in problems(stated)
        ]
    targets = stated.get("targets") if known.kind == "GitRepo" else None
    for at, target in enumerate(targets if isinstance(targets, list) else []):
        if isinstance(target, dict) and not states_criterion(target):
            found.append(no_criterion(("spec", "targets", at)))
    yield from (said._replace(path=(*path, *said.path)) for said in found)


def states_criterion(item: Mapping[str, Any]) -> bool:
    return any(item.get(key) not in (None, "") for key in CRITERIA if key != "name")


def no_criterion(path: Path) -> Said:
    step = "Write `clusterSelector: {}` for all clusters."
    return Said(
        "no-criterion", path, "the entry states no criterion and would match no cluster", step
    )


def _unknown_value(value: Any, node: Node, path: Path) -> Said:
    near = nearest(str(value), list(node.choices))
    step = f"Did you mean {near}?" if near else f"Write one of {', '.join(node.choices)}."
    return Said(
        "unknown-value",
        path,
        f"{_name(path)}: {_short(value)} is none of {', '.join(node.choices)}",
        step,
    )


def _wrong(value: Any, wanted: str, path: Path) -> Said:
    prefix = f"{_name(path)}: " if path else "the file: "
    step = "Correct the value."
    if wanted == "string" and isinstance(value, bool | int | float):
        step = "Put quotes around it."
    elif wanted.startswith("list") and not isinstance(value, list | dict):
        step = "Write it as a list, one `- ` for each item."
    elif not path:
        step = "Write keys such as `defaultNamespace: web`."
    return Said("wrong-type", path, f"{prefix}expected {_a(wanted)}, got {_kind(value)}", step)


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"the text {_short(value)}" if isinstance(value, str) else f"the number {value}"


def _a(type_: str) -> str:
    text = type_.replace("object", "map")
    return text if text == "any value" else f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _name(path: Path) -> str:
    return f"`{dotted_path(path)}`"


def _short(value: Any) -> str:
    text = repr(str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + "…'"
