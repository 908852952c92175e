"""YAML as helm and Fleet read it, behind a guard.

Rule: every parse counts its nodes, depth, aliases and merge keys on the event stream, before anything is built, so that a few hundred
bytes cannot take a minute or a gigabyte. Scalars are YAML 1.1 as in `sigs.k8s.io/yaml`: `no` is false, `0644` is 420; timestamps stay
text, keys become text. Of a key that stands twice the last one counts, as in helm; what people write for fleetctl itself is read strictly,
because there nobody means it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from fleetctl.core.errors import InvalidFile

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class YamlLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the text, nodes after aliases are expanded, nesting, documents."""

    size: int = 5 * 1024 * 1024
    nodes: int = 200_000
    depth: int = 200
    documents: int = 5_000


DEFAULT_LIMITS = YamlLimits()


class Place(msgspec.Struct, frozen=True):
    """Where a value stands, counted from 1."""

    line: int
    column: int


class _Loader(_BASE):  # type: ignore[misc]
    """The fast loader with go-yaml's scalars, text keys and no duplicate ones."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own registry, filled below


# Plain scalars by the rules of go-yaml v2 (`resolve.go`), which helm, kubectl and Fleet use: no sexagesimals, no timestamps, `y` and `n`
# are booleans, `1e3` is a number, `0o17` and `017` are octal.
_PLAIN = (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"[yY]|[nN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
)
for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), ["" if c == "\0" else c for c in _first])


def _mapping(loader: Any, node: Any) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    yield found
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        found[_key(loader.construct_object(key_node, deep=True), key_node)] = loader.construct_object(value_node, deep=True)


def _strict_mapping(loader: Any, node: Any) -> Iterator[dict[str, Any]]:
    own: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag != "tag:yaml.org,2002:merge":
            key = _key(loader.construct_object(key_node, deep=True), key_node)
            if key in own:
                raise _refused(f"key {key!r} stands twice", key_node)
            own.add(key)
    yield from _mapping(loader, node)


class _Strict(_Loader):
    """Refuses a key that stands twice."""


class Dumper(_DUMPER):  # type: ignore[misc]
    """Quotes whatever the loader above would not read as text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _bool(loader: Any, node: Any) -> bool:
    return str(loader.construct_scalar(node)).lower() in {"y", "yes", "true", "on"}


def _int(loader: Any, node: Any) -> int:
    """go-yaml's strconv.ParseInt with base 0; numbers beyond 64 bits are refused because JSON peers cannot hold them."""
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2]) or (8 if digits.startswith("0") and len(digits) > 1 else 10)
    value = sign * int(digits, 8) if base == 8 and digits[:2] != "0o" else sign * int(digits, base)
    if not -(2**63) <= value < 2**64:
        raise _refused("a number beyond 64 bits", node)
    return value


def _float(loader: Any, node: Any) -> float | int:
    """A whole number stays whole, as in the JSON that helm makes of it."""
    text = str(loader.construct_scalar(node)).lower()
    if text.lstrip("+-") in {".inf", ".nan"}:
        raise _refused(f"{text} has no form in JSON", node)
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _key(value: Any, node: Any) -> str:
    """JSON's text for a key, as sigs.k8s.io/yaml makes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _refused("a key must be text", node)


def _refused(problem: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
# After the others: PyYAML gives a class a copy of what its parent has by then.
_Strict.add_constructor("tag:yaml.org,2002:map", _strict_mapping)


def load(text: bytes | str, *, file: str = "document", limits: YamlLimits = DEFAULT_LIMITS, strict: bool = False) -> Any:
    """The only document of `text` (None when empty). Raises InvalidFile with file, line and column."""
    found = load_all(text, file=file, limits=limits, strict=strict)
    if len(found) > 1:
        raise InvalidFile(f"holds {len(found)} documents, one is expected", file=file, next_step="Remove what follows the first `---`.")
    return found[0] if found else None


def load_all(text: bytes | str, *, file: str = "document", limits: YamlLimits = DEFAULT_LIMITS, strict: bool = False) -> list[Any]:
    """Every document of `text` as maps, lists, text, numbers, booleans and None; `strict` refuses a key that stands twice. Raises
    InvalidFile.
    """
    source = _decode(text, file, limits)
    try:
        _guard(source, file, limits)
        return list(yaml.load_all(source, Loader=_Strict if strict else _Loader))
    except yaml.YAMLError as why:
        raise _translate(why, file) from why
    except (ValueError, OverflowError, RecursionError, TypeError, AttributeError) as why:
        raise InvalidFile(f"not readable as YAML: {_one_line(why)}", file=file, next_step="Correct the value.") from why


def _decode(text: bytes | str, file: str, limits: YamlLimits) -> str:
    if len(text) > limits.size:
        raise InvalidFile(f"{len(text)} bytes are more than {limits.size}", file=file, next_step="Split the file.")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = text.count(b"\n", 0, why.start) + 1
        raise InvalidFile("is not UTF-8", file=file, line=line, next_step="Save it as UTF-8.") from why


def _guard(source: str, file: str, limits: YamlLimits) -> None:
    """Count what the document would become with every alias expanded."""
    count = _Count(file)
    for event in yaml.parse(source, Loader=_BASE):
        count.add(event)
        if count.nodes > limits.nodes or len(count.opened) > limits.depth or count.documents > limits.documents:
            limit = f"{limits.nodes} values, {limits.depth} levels or {limits.documents} documents"
            raise _at(file, event, f"more than {limit}")


class _Count:
    """Nodes so far with aliases expanded, and the size of each anchor that is complete."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.nodes = self.documents = 0
        self.opened: list[tuple[str | None, int]] = []
        self.sizes: dict[str, int] = {}

    def add(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            self.sizes.clear()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes:
                raise _at(self.file, event, f"alias *{event.anchor} is unknown or stands inside its own anchor")
            self.nodes += self.sizes[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.opened.pop()
            if anchor:
                self.sizes[anchor] = self.nodes - before
        elif isinstance(event, yaml.CollectionStartEvent):
            self.opened.append((event.anchor, self.nodes))
            self.nodes += 1
        elif isinstance(event, yaml.ScalarEvent):
            self.nodes += 1
            if event.anchor:
                self.sizes[event.anchor] = 1


def _at(file: str, event: Any, summary: str) -> InvalidFile:
    mark = event.start_mark
    return InvalidFile(summary, file=file, line=mark.line + 1, column=mark.column + 1, next_step="Simplify or split the file.")


def _translate(why: yaml.YAMLError, file: str) -> InvalidFile:
    mark = getattr(why, "problem_mark", None)
    problem = _one_line(getattr(why, "problem", None) or why)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return InvalidFile(f"not valid YAML: {problem}", file=file, line=line, column=column, next_step="Correct the YAML there.")


def _one_line(why: object) -> str:
    return " ".join(str(why).split())[:200]


def places(text: bytes | str, *, file: str = "document") -> dict[tuple[str | int, ...], Place]:
    """Where each key (or list item) of the first document stands, by its path. Call after `load` has accepted the text."""
    found: dict[tuple[str | int, ...], Place] = {}
    try:
        root = yaml.compose(_decode(text, file, DEFAULT_LIMITS), Loader=_BASE)
    except yaml.YAMLError as why:
        raise _translate(why, file) from why
    if root is not None:
        _walk(root, (), found)
    return found


def _walk(node: Any, path: tuple[str | int, ...], found: dict[tuple[str | int, ...], Place]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            found[here] = Place(key.start_mark.line + 1, key.start_mark.column + 1)
            _walk(value, here, found)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            found[(*path, at)] = Place(value.start_mark.line + 1, value.start_mark.column + 1)
            _walk(value, (*path, at), found)


def dump(value: Any) -> str:
    """One document for people: block style, keys in the order given, text that another parser might misread in quotes."""
    text = _dumped(value, plain=True)
    # Characters that steer a terminal or turn text around are written as escapes, and then all others beyond ASCII too.
    return text if all(c.isprintable() or c in "\n\t" for c in text) else _dumped(value, plain=False)


def _dumped(value: Any, *, plain: bool) -> str:
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=plain, default_flow_style=False, width=2**30))


def dump_all(values: list[Any]) -> str:
    return "---\n".join(dump(value) for value in values)
