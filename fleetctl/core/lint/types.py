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
from fleetctl.core.documents.json_schema import SchemaNode, documents, table_of
from fleetctl.core.documents.key_names import CASE, dotted_path, judge, nearest
from fleetctl.core.documents.schedule import problems
from fleetctl.core.documents.unused_keys import CODE as NO_EFFECT
from fleetctl.core.documents.unused_keys import insecure, is_insecure_key, reason

_LONGEST = 120
# Kinds that only `core.documents.object_check` judges.
_WITHOUT_TABLE = frozenset({"clusterregistrationtoken", "bundle", "bundledeployment"})


class TypeFinding(NamedTuple):
    """A finding that does not know its file yet."""

    code: str
    path: Path
    summary: str
    next_step: str


class Checker(NamedTuple):
    """`kind`: the document that is checked; `table`: all its keys, for hints."""

    kind: str
    table: Mapping[str, Any]

    def mistakes(self, value: Any, node: SchemaNode, path: Path) -> Iterator[TypeFinding]:
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

    def _item(self, value: Any, node: SchemaNode, path: Path) -> Iterator[TypeFinding]:
        """One value, or one item of a list or map."""
        if node.keys:
            yield from self._object(value, node, path)
            return
        if value is None and node.kind is not bool and node.kind is not int:
            return
        text = as_text(value, node.kind)
        if isinstance(value, float) and text != value:
            summary = f"{_name(path)} is the number {value}, which counts as the text {text!r}"
            yield TypeFinding("number-as-text", path, summary, "Put quotes around it.")
        try:
            msgspec.convert(text, node.kind)
        except msgspec.ValidationError:
            is_word = isinstance(value, str) and node.choices
            yield (
                _judge_unknown_value(value, node, path)
                if is_word
                else _wrong(value, node.type_of_one, path)
            )
            return
        if node.choices and value not in node.choices and (value or node.name == "operator"):
            yield _judge_unknown_value(value, node, path)

    def _object(self, value: Any, node: SchemaNode, path: Path) -> Iterator[TypeFinding]:
        if not isinstance(value, dict):
            yield _wrong(value, "object", path)
            return
        seen_keys = set()
        for key, item in value.items():
            name = key if key in node.keys else ""
            if not name:
                findings, name = self._judge_unknown(key, item, node, path)
                yield from findings
            if name and item is not None:
                seen_keys.add(name)
                yield from self.mistakes(item, node.keys[name], (*path, key))
        for key, child in node.keys.items():
            if child.is_required and key not in seen_keys:
                yield TypeFinding(
                    "missing-key",
                    path,
                    f"{_name((*path, key))} is missing",
                    f"Write it: {child.field.text}",
                )

    def _judge_unknown(
        self, key: str, item: Any, node: SchemaNode, path: Path
    ) -> tuple[list[TypeFinding], str]:
        """(findings, the key that is meant or "")."""
        key_path = (*path, key)
        if path == ("spec",) and is_insecure_key(self.kind, key):
            return [
                TypeFinding("refused", key_path, summary, step) for summary, step in insecure(item)
            ], ""
        cause = reason(self.kind, key) if path == ("spec",) else ""
        if cause:
            finding = TypeFinding(
                NO_EFFECT,
                key_path,
                f"key {_name(key_path)} has no effect: {cause}",
                "Remove it, or leave it for Rancher Fleet.",
            )
            return ([finding] if item not in (None, "", {}, [], False) else []), ""
        judgement = judge(key, list(node.keys), path, self.table)
        if judgement.code != CASE and any(
            isinstance(step, str) and is_selector(step) for step in path
        ):
            return [
                TypeFinding(
                    "unknown-key",
                    key_path,
                    f"unknown key {_name(key_path)}",
                    selector_step(key, list(node.keys)),
                )
            ], ""
        return [
            TypeFinding(judgement.code, key_path, judgement.summary, judgement.next_step)
        ], judgement.key


def canonical(value: Any, node: SchemaNode) -> Any:
    """`value` with the known keys in their right spelling and without those that are null, as
    `shape.fit` has them.
    """
    if node.is_list and isinstance(value, list):
        return [_canonical_object(item, node) for item in value]
    return _canonical_object(value, node)


def _canonical_object(value: Any, node: SchemaNode) -> Any:
    if not node.keys or not isinstance(value, dict):
        return value
    lower = {key.lower(): key for key in node.keys}
    canonical_values: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in node.keys else lower.get(key.lower(), "")
        if name and item is not None and (name == key or value.get(name) is None):
            canonical_values[name] = canonical(item, node.keys[name])
    return canonical_values


def manifest(value: dict[str, Any], path: Path) -> Iterator[TypeFinding]:
    """The mistakes in one object of Fleet; `path`: where it is in its document."""
    kind = str(value["kind"])
    document = documents().get(kind.lower())
    if document is None or not document.is_manifest:
        if kind.lower() not in _WITHOUT_TABLE:
            problem = (
                "is not enforced in this version"
                if kind in NOT_ENFORCED
                else "is not a kind that fleetctl knows"
            )
            yield TypeFinding(
                "refused",
                (*path, "kind"),
                f"{kind[:80]} {problem}, and `fleetctl apply` refuses it",
                "Remove the object.",
            )
        return
    spec = value.get("spec")
    checker = Checker(document.kind, table_of(document.name))
    node = document.root.keys["spec"]
    type_findings = list(checker.mistakes({} if spec is None else spec, node, ("spec",)))
    canonical_spec = canonical(spec, node) if isinstance(spec, dict) else {}
    if document.kind == "Schedule":
        type_findings += [
            TypeFinding("invalid-value", ("spec", *p.path), p.summary, p.next_step)
            for p in problems(canonical_spec)
        ]
    targets = canonical_spec.get("targets") if document.kind == "GitRepo" else None
    for at, target in enumerate(targets if isinstance(targets, list) else []):
        if isinstance(target, dict) and not states_criterion(target):
            type_findings.append(no_criterion(("spec", "targets", at)))
    yield from (mistake._replace(path=(*path, *mistake.path)) for mistake in type_findings)


def states_criterion(item: Mapping[str, Any]) -> bool:
    return any(item.get(key) not in (None, "") for key in CRITERIA if key != "name")


def no_criterion(path: Path) -> TypeFinding:
    step = "Write `clusterSelector: {}` for all clusters."
    return TypeFinding(
        "no-criterion", path, "the entry states no criterion and would match no cluster", step
    )


def _judge_unknown_value(value: Any, node: SchemaNode, path: Path) -> TypeFinding:
    near = nearest(str(value), list(node.choices))
    step = f"Did you mean {near}?" if near else f"Write one of {', '.join(node.choices)}."
    return TypeFinding(
        "unknown-value",
        path,
        f"{_name(path)}: {_short(value)} is none of {', '.join(node.choices)}",
        step,
    )


def _wrong(value: Any, accepts: str, path: Path) -> TypeFinding:
    prefix = f"{_name(path)}: " if path else "the file: "
    step = "Correct the value."
    if accepts == "string" and isinstance(value, bool | int | float):
        step = "Put quotes around it."
    elif accepts.startswith("list") and not isinstance(value, list | dict):
        step = "Write it as a list, one `- ` for each item."
    elif not path:
        step = "Write keys such as `defaultNamespace: web`."
    return TypeFinding(
        "wrong-type", path, f"{prefix}expected {_a(accepts)}, got {_kind(value)}", step
    )


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
