"""Adds `diff.comparePatches` rules to the text of a fleet.yaml.

Rule: only the lines of the top-level key `diff` change, and there only by additions; comments,
order and quotes stay. The result is read again: it states the old values and the rules, or it is
refused. ruamel.yaml sees only text that the guarded reader has accepted, because nested merge keys
make it hang.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from fleetctl.cli.commands.bundle.ignore_rules import Rule, rule_key
from fleetctl.core.documents import fleet_yaml
from fleetctl.core.formats.yaml import YamlDocument, decode, load_one
from fleetctl.core.formats.yaml_scalars import looks_like_a_number, resolve
from fleetctl.core.model.errors import InvalidFile

_DIFF, _RULES = "diff", "comparePatches"
_LISTS = ("jsonPointers", "operations")
_DASH = re.compile(r"(?m)^( *)-( +)\S")
_FIRST_KEY = re.compile(r"(?m)^( +)[^\s#-]")
_MERGE = re.compile(r"""(?m)^["']?<<["']?\s*:""")
_NO_CONTENT = re.compile(r"\s*$|\.\.\.\s*$")
_OUTSIDE = re.compile(r"\s*$|\.\.\.\s*$|#")  # a comment in column 1 belongs to what follows it
_PASTE = "Paste the output of `fleetctl bundle diff NAME --ignore-rule` into it."


@dataclass(frozen=True)
class FleetYamlEdit:
    """The new text of the file, and how many rules it adds and extends."""

    text: str
    added_rules: int = 0
    extended_rules: int = 0


def add_rules(data: bytes, rules: Sequence[Rule], *, file: str) -> FleetYamlEdit:
    """The fleet.yaml `data` with `rules`. Raises InvalidFile where it cannot be edited safely."""
    fleet_yaml.parse(data, file=file)
    text = decode(data, file)
    if text.encode() != data:
        step = "Save it as UTF-8 without a byte order mark."
        raise InvalidFile("is not plain UTF-8", file=file, next_step=step)
    document = load_one(data, file=file, strict=True)
    _refuse_unsafe(text, document, rules, file)
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").split("\n")
    start, end = _block(lines, document)
    block, added_rules, extended_rules = _edit_block("\n".join(lines[start:end]), rules, file)
    if not added_rules and not extended_rules:
        return FleetYamlEdit(text)
    head, tail = lines[:start], lines[end:]
    separator = [""] if start == end and head and head[-1].startswith("#") else []
    new_text = newline.join([*head, *separator, *block.rstrip("\n").split("\n"), *(tail or [""])])
    _verify(document.value, new_text, rules, file)
    return FleetYamlEdit(new_text, added_rules, extended_rules)


def _refuse_unsafe(text: str, document: YamlDocument, rules: Sequence[Rule], file: str) -> None:
    """Raises InvalidFile for a file or a rule that this module cannot edit without side effects."""
    if any(place.column != 1 for path, place in document.places.items() if len(path) == 1):
        raise InvalidFile("its keys do not begin in column 1", file=file, next_step=_PASTE)
    if _MERGE.search(text):
        summary = "merges keys at the top level (`<<`), which may contain another `diff`"
        raise InvalidFile(summary, file=file, next_step=_PASTE)
    if not all(value.isprintable() for rule in rules for value in _texts(rule)):
        summary = "a rule has control characters, which cannot be written into a file safely"
        raise InvalidFile(summary, file=file, next_step="Write the rule by hand.")


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [str(value)]


def _block(lines: list[str], document: YamlDocument) -> tuple[int, int]:
    """First line and end of the key `diff`; both the same where a new key can stand."""
    keys = {
        str(path[0]): place.line - 1 for path, place in document.places.items() if len(path) == 1
    }
    start = next((line for key, line in keys.items() if key.lower() == _DIFF), None)
    if start is None:
        end = _without_last(_NO_CONTENT, lines, len(lines), max(keys.values(), default=-1))
        return end, end
    end = min((line for line in keys.values() if line > start), default=len(lines))
    return start, _without_last(_OUTSIDE, lines, end, start)


def _without_last(pattern: re.Pattern[str], lines: list[str], end: int, lowest: int) -> int:
    while end - 1 > lowest and pattern.match(lines[end - 1]):
        end -= 1
    return end


def _edit_block(block: str, rules: Sequence[Rule], file: str) -> tuple[str, int, int]:
    """Add the rules. Returns the new block, and the numbers of new and of extended rules."""
    yaml = _round_trip(block)
    try:
        if any(getattr(event, "anchor", None) for event in yaml.parse(block)):
            summary = "`diff` uses an anchor or an alias (`&`, `*`)"
            raise InvalidFile(summary, file=file, next_step=_PASTE)
        root = yaml.load(block) or CommentedMap()
    except YAMLError as error:
        raise InvalidFile("`diff` cannot be edited", file=file, next_step=_PASTE) from error
    added_rules = extended_rules = 0
    sequence = _child(_child(root, _DIFF, CommentedMap), _RULES, CommentedSeq)
    for rule in rules:
        item = next((item for item in sequence if rule_key(item) == rule_key(rule)), None)
        if item is None:
            sequence.append(_node(rule))
            added_rules += 1
        else:
            extended_rules += _extend(item, rule)
    text = io.StringIO()
    yaml.dump(root, text)
    return text.getvalue(), added_rules, extended_rules


def _round_trip(block: str) -> YAML:
    """A reader and writer that keeps the block's own indentation."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 2**30
    key = _FIRST_KEY.search(block)
    mapping = len(key[1]) if key else 2
    dash = _DASH.search(block)
    offset = max(0, len(dash[1]) - mapping) if dash else 2
    yaml.indent(mapping=mapping, sequence=offset + (1 + len(dash[2]) if dash else 2), offset=offset)
    return yaml


def _child(parent: Any, name: str, kind: type[Any]) -> Any:
    """The value of a key in any letter case; an empty one becomes a new collection."""
    key = next((key for key in parent if str(key).lower() == name.lower()), name)
    if not parent.get(key):
        parent[key] = kind()
    return parent[key]


def _extend(item: Any, rule: Rule) -> bool:
    """Add to `item` what it lacks of `rule`. Returns whether it lacked something."""
    is_changed = False
    for name in _LISTS:
        present = _plain(next((v for k, v in item.items() if str(k).lower() == name.lower()), None))
        values = [value for value in rule.get(name) or [] if value not in (present or [])]
        if values:
            _child(item, name, CommentedSeq).extend(_node(value) for value in values)
            is_changed = True
    return is_changed


def _node(value: Any) -> Any:
    """`value` for the writer; text that another YAML reader takes for a number is quoted."""
    if isinstance(value, Mapping):
        return CommentedMap((key, _node(item)) for key, item in value.items())
    if isinstance(value, list):
        return CommentedSeq(_node(item) for item in value)
    is_text = isinstance(resolve(value), str) and not looks_like_a_number(value) and value != "<<"
    return value if is_text else DoubleQuotedScalarString(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _verify(old: Any, text: str, rules: Sequence[Rule], file: str) -> None:
    """Raises InvalidFile unless `text` states the old values and the rules, and nothing else."""
    new = load_one(text, file=file, strict=True).value
    old_rules, new_rules = _rules_of(old), _rules_of(new)
    other_keys = [
        {k: v for k, v in (value or {}).items() if k.lower() != _DIFF} for value in (old, new)
    ]
    present = {rule_key(rule): rule for rule in new_rules}
    complete = all(
        value in _list_of(present[rule_key(rule)], name)
        for rule in (*old_rules, *rules)
        for name in _LISTS
        for value in _list_of(rule, name)
    )
    if other_keys[0] != other_keys[1] or not complete or len(new_rules) < len(old_rules):
        raise InvalidFile("cannot be edited without other changes", file=file, next_step=_PASTE)


def _rules_of(value: Any) -> list[Rule]:
    diff = _value_of(value or {}, _DIFF)
    return list(_value_of(diff or {}, _RULES) or [])


def _list_of(rule: Rule, name: str) -> list[Any]:
    return list(_value_of(rule, name) or [])


def _value_of(mapping: Mapping[str, Any], name: str) -> Any:
    return next((v for k, v in mapping.items() if str(k).lower() == name.lower()), None)
