"""YAML as helm, kubectl and Fleet read it (go-yaml v2 behind sigs.k8s.io/yaml), behind a guard.

Rule: `yamlscalar.py` resolves scalars, `yamltree.py` builds values and counts them while they are
built. Of a duplicate key the last value counts, as in helm; files that people write for fleetctl
itself are read with `strict`, which refuses it. JSON is read as JSON where YAML would refuse it:
surrogate pairs in `\\u` escapes are one character.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec
import yaml

from fleetctl.core.formats.yaml_scalars import looks_like_a_number, resolve
from fleetctl.core.formats.yaml_tree import Builder, Path, SourcePlace, YamlDocument, YamlLimits
from fleetctl.core.model.errors import InvalidFile

__all__ = [
    "DEFAULT_LIMITS",
    "Dumper",
    "SourcePlace",
    "YamlDocument",
    "YamlLimits",
    "decode",
    "dump",
    "dump_all",
    "has_json_escapes",
    "json_for_yaml",
    "load",
    "load_all",
    "load_one",
    "places",
    "read",
]
DEFAULT_LIMITS = YamlLimits()
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MARK = "\ufeff"
# A byte order mark at the beginning of each document: editors write it, and `cat a.yaml b.yaml`
# keeps it.
_INNER_MARK = re.compile(rf"(?m)^{_MARK}(?=---)|(?<=^---\n){_MARK}|(?<=^---\r\n){_MARK}")
_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[dD][89a-fA-F][0-9a-fA-F]{2})+)")
_JSON = re.compile(r"(?m)\A\s*[{\[]|^---[^\n]*\n\s*[{\[]")
_JSON_BYTES = re.compile(_JSON.pattern.encode())
_ESCAPES = re.compile(rb"\\(?:/|u[dD][89a-fA-F])")
# In UTF-8: DEL, the C1 controls, U+2028, U+2029, U+FEFF, U+FFFE and U+FFFF.
_STEERING = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]|\xef\xbb\xbf|\xef\xbf[\xbe\xbf]")
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_TAGS = {bool: "bool", int: "int", float: "float", type(None): "null", str: "str"}


class Dumper(_DUMPER):  # type: ignore[misc]
    """Quotes texts that a YAML parser would not read as text."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode or not implicit[0]:
            return str(super().resolve(kind, value, implicit))
        name = _TAGS[type(resolve(value))]
        if name == "str" and (value == "<<" or looks_like_a_number(value)):
            name = "float"
        return f"tag:yaml.org,2002:{name}"


def load(
    text: bytes | str,
    *,
    file: str = "document",
    limits: YamlLimits = DEFAULT_LIMITS,
    strict: bool = False,
) -> Any:
    """The only document of `text` (None when empty). Raises InvalidFile with file, line and
    column.
    """
    return _only(read(text, file=file, limits=limits, strict=strict), file).value


def load_one(text: bytes | str, *, file: str = "document", strict: bool = False) -> YamlDocument:
    """The only document of `text` with its places; its value is None when `text` is empty. Raises
    InvalidFile.
    """
    return _only(read(text, file=file, strict=strict, places=True), file)


def _only(documents: list[YamlDocument], file: str) -> YamlDocument:
    if len(documents) > 1:
        raise InvalidFile(
            f"has {len(documents)} documents, one is expected",
            file=file,
            line=documents[1].place.line,
            column=documents[1].place.column,
            next_step="Remove the content after the first `---`.",
        )
    return documents[0] if documents else YamlDocument(None, {}, SourcePlace(1, 1))


def load_all(
    text: bytes | str,
    *,
    file: str = "document",
    limits: YamlLimits = DEFAULT_LIMITS,
    strict: bool = False,
) -> list[Any]:
    """The value of every document of `text`: maps, lists, text, numbers, booleans and None. Raises
    InvalidFile.
    """
    return [document.value for document in read(text, file=file, limits=limits, strict=strict)]


def read(
    text: bytes | str,
    *,
    file: str = "document",
    limits: YamlLimits = DEFAULT_LIMITS,
    strict: bool = False,
    places: bool = False,
) -> list[YamlDocument]:
    """Every document of `text`; `places`: with the place of each key and item. `strict` refuses
    duplicate keys.

    Raises InvalidFile with file, line and column.
    """
    source = decode(text, file, limits)
    try:
        try:
            return Builder(file, limits, strict=strict, places=places).read(
                yaml.parse(source, Loader=_PARSER)
            )
        except yaml.YAMLError:
            if not _has_surrogates(source):
                raise
        source = _SURROGATES.sub(_characters, source)
        return Builder(file, limits, strict=strict, places=places).read(
            yaml.parse(source, Loader=_PARSER)
        )
    except yaml.YAMLError as error:
        raise _translate(error, file, source) from error
    except (ValueError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        raise InvalidFile(
            f"not readable as YAML: {_one_line(error)}", file=file, next_step="Correct the value."
        ) from error


def decode(text: bytes | str, file: str = "document", limits: YamlLimits = DEFAULT_LIMITS) -> str:
    """`text` without byte order marks: UTF-8, or UTF-16 with its mark, as go-yaml takes them.
    Raises InvalidFile.
    """
    if len(text) > limits.size:
        raise InvalidFile(
            f"{len(text)} bytes are more than {limits.size}", file=file, next_step="Split the file."
        )
    if isinstance(text, bytes):
        text = _from_bytes(text, file)
    text = text.removeprefix(_MARK)
    return _INNER_MARK.sub("", text) if _MARK in text else text


def _from_bytes(data: bytes, file: str) -> str:
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_wide else "utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidFile(
            "is not UTF-8", file=file, line=line, next_step="Save it as UTF-8."
        ) from error


def _has_surrogates(source: str) -> bool:
    """Whether `source` has JSON that writes characters as surrogate pairs, which YAML refuses and
    JSON demands.
    """
    return _SURROGATES.search(source) is not None and _JSON.search(source) is not None


def has_json_escapes(data: bytes) -> bool:
    """Whether `data` has JSON with escapes that YAML refuses: `\\/` and surrogate pairs."""
    return _ESCAPES.search(data) is not None and _JSON_BYTES.search(data) is not None


def _characters(match: re.Match[str]) -> str:
    """The characters of `\\ud83d\\ude00`; a lone surrogate is U+FFFD, as in Go's encoding/json."""
    codes = [int(code, 16) for code in match[2].split("\\u")[1:]]
    units = b"".join(code.to_bytes(2, "big") for code in codes)
    return match[1] + units.decode("utf-16-be", "replace")


def _translate(error: yaml.YAMLError, file: str, source: str) -> InvalidFile:
    mark = getattr(error, "problem_mark", None)
    problem = _one_line(getattr(error, "problem", None) or error)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if (
        mark
        and "cannot start any token" in problem
        and source.splitlines()[mark.line : mark.line + 1]
    ):
        char = source.splitlines()[mark.line][mark.column : mark.column + 1]
        problem = (
            "a tab cannot indent; write spaces"
            if char == "\t"
            else f"{char!r} cannot begin a value; put quotes around the text"
        )
    control = _CONTROL.search(source)
    if isinstance(error, yaml.reader.ReaderError) and control:
        problem = f"the control character U+{ord(control[0]):04X} is not allowed"
        before = source[: control.start()]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return InvalidFile(
        f"not valid YAML: {problem}",
        file=file,
        line=line,
        column=column,
        next_step="Correct the YAML there.",
    )


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]


def places(text: bytes | str, *, file: str = "document") -> dict[Path, SourcePlace]:
    """The place of each key (or list item) of the first document, by its path. Raises
    InvalidFile.
    """
    documents = read(text, file=file, places=True)
    return documents[0].places if documents else {}


def json_for_yaml(value: Any) -> bytes:
    """`value` as JSON that go-yaml reads back unchanged: control characters and line breaks of
    Unicode are escaped.
    """
    text = msgspec.json.encode(value)
    if not _STEERING.search(text):
        return text
    return _STEERING.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), text)


def dump(value: Any) -> str:
    """One document for people: block style, keys in the order given, text that another parser might
    misread in quotes.
    """
    text = _dump(value, plain=True)
    # Characters that steer a terminal or turn text around are written as escapes, and then all
    # others beyond ASCII too.
    return text if all(c.isprintable() or c in "\n\t" for c in text) else _dump(value, plain=False)


def _dump(value: Any, *, plain: bool) -> str:
    return str(
        yaml.dump(
            value,
            Dumper=Dumper,
            sort_keys=False,
            allow_unicode=plain,
            default_flow_style=False,
            width=2**30,
        )
    )


def dump_all(values: list[Any]) -> str:
    return "---\n".join(dump(value) for value in values)
