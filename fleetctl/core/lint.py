"""What is wrong, or hardly meant, in a fleet.yaml: all of it at once, each with its place and what to do.

Rule: an error is what fleetctl refuses, when it reads the file, when it scans the repository or on a cluster; a warning is what it takes
and what has no effect, or another one than it seems to have. Whatever `fleetyaml.parse` refuses is an error here, and the reading goes on
behind it. `# fleetctl: ignore[CODE]` at the end of a line silences a warning there; an error cannot be silenced.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from fleetctl.core import advice, advicefiles
from fleetctl.core.errors import FleetError, InvalidFile
from fleetctl.core.fleetyaml import parse
from fleetctl.core.gitrepo import CRITERIA
from fleetctl.core.lintcodes import RULES, Severity
from fleetctl.core.schedule import spec_of
from fleetctl.core.schema import Document, Node, documents, walk
from fleetctl.core.shape import Path, as_text, nearest
from fleetctl.core.yamldoc import Place, load, places

__all__ = ["RULES", "Finding", "Severity", "lint", "lint_ignore", "lint_manifest"]
_IGNORE = re.compile(r"#\s*fleetctl:\s*ignore\[([\w\s,-]*)\]")
_LONGEST = 120


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`line` and `column` count from 1; `path` is the key, `helm.valuesFiles[0]`, or "" for the whole file."""

    severity: Severity
    code: str
    file: str
    line: int
    column: int
    path: str
    summary: str
    next_step: str


class Said(NamedTuple):
    """A finding that does not know its file yet."""

    code: str
    path: Path
    summary: str
    next_step: str


def lint(text: bytes, *, file: str = "fleet.yaml", files: Collection[str] | None = None) -> list[Finding]:
    """The findings in one fleet.yaml, in the order of its lines. Never raises.

    files: paths of the bundle's other files, relative to the folder of `file`; None when they are not known.
    """
    if file.rpartition("/")[2] == "fleet.yml" and "fleet.yaml" in (files or ()):
        said = Said("both-fleet-files", (), "is not read: fleet.yaml stands beside it and wins", "Keep one of the two files.")
        return _placed([said], file, {}, text)
    try:
        document = load(text, file=file, strict=True)
        where = places(text, file=file)
    except InvalidFile as why:
        return [_of_error(why, "yaml", file)]
    if document is None:
        return []
    root = documents()["fleet.yaml"].root
    found = list(_mistakes(document, root, ()))
    if isinstance(document, dict):
        found += _senseless(document)
        found += [Said(*one) for one in advice.advice(document, None if files is None else frozenset(files))]
    findings = _placed(found, file, where, text)
    if not any(f.severity is Severity.ERROR for f in findings):
        findings = [*_refused(text, file, where), *findings]
    return findings


def lint_ignore(text: bytes, *, file: str, files: Collection[str]) -> list[Finding]:
    """The lines of a .fleetignore that match nothing. files: paths below its folder, relative to it."""
    said = [Said("ignore-line", (at,), summary, step) for at, summary, step in advicefiles.ignored(text, files)]
    return _placed(said, file, {(one.path[0],): Place(int(one.path[0]), 1) for one in said}, text)


def lint_manifest(text: bytes, *, file: str) -> list[Finding]:
    """The mistakes in a file with one GitRepo, Cluster, ClusterGroup or Schedule. Never raises."""
    try:
        document = load(text, file=file, strict=True)
        where = places(text, file=file)
    except InvalidFile as why:
        return [_of_error(why, "yaml", file)]
    known = documents().get(str(document.get("kind")).lower()) if isinstance(document, dict) else None
    if known is None or not isinstance(document, dict):
        return []
    return _placed(list(_manifest(document, known)), file, where, text)


def kind_of(text: bytes) -> str:
    """Which document a file holds, by its `kind`: gitrepo, cluster, clustergroup, schedule, or fleet.yaml for anything else."""
    try:
        document = load(text)
    except InvalidFile:
        return "fleet.yaml"
    kind = str(document.get("kind")).lower() if isinstance(document, dict) and "apiVersion" in document else ""
    return kind if kind in documents() else "fleet.yaml"


def _manifest(document: dict[str, Any], known: Document) -> Iterator[Said]:
    spec = document.get("spec")
    found = list(_mistakes({} if spec is None else spec, known.root.keys["spec"], ("spec",)))
    yield from found
    if known.name == "schedule" and not found:
        yield from _schedule(spec)
    targets = spec.get("targets") if isinstance(spec, dict) and known.name == "gitrepo" else None
    for at, target in enumerate(targets if isinstance(targets, list) else []):
        if isinstance(target, dict) and not _states_criterion(target):
            yield _no_criterion(("spec", "targets", at))


def _schedule(spec: Any) -> Iterator[Said]:
    """What the reader of a Schedule refuses, at the key that it names. Time zones are left to whoever has their names."""
    try:
        spec_of(spec)
    except FleetError as why:
        yield Said("refused", tuple(why.subject.split(".")), why.summary, why.next_step)


def _mistakes(value: Any, node: Node, path: Path) -> Iterator[Said]:
    """Unknown keys and wrong types at any depth."""
    if value is None:
        if not node.is_nullable:
            yield Said("wrong-type", path, f"{_name(path)} is empty, it takes {_a(node.type)}", "Give it a value, or remove the key.")
    elif node.is_list:
        if not isinstance(value, list):
            yield _wrong(value, node.type, path)
            return
        for at, item in enumerate(value):
            yield from _one(item, node, (*path, at))
    elif node.is_map:
        if not isinstance(value, dict):
            yield _wrong(value, node.type, path)
            return
        for key, item in value.items():
            yield from _one(item, node, (*path, key))
    else:
        yield from _one(value, node, path)


def _one(value: Any, node: Node, path: Path) -> Iterator[Said]:
    """One value, or one item of a list or map."""
    if node.keys:
        yield from _object(value, node, path)
        return
    kept = as_text(value, node.kind)
    if isinstance(value, float) and kept != value:
        yield Said(
            "number-as-text", path, f"{_name(path)} is the number {value}, which counts as the text {kept!r}", "Put quotes around it."
        )
    try:
        msgspec.convert(kept, node.kind)
    except msgspec.ValidationError:
        if isinstance(value, str) and node.choices:
            yield _unknown_value(value, node, path)
        else:
            yield _wrong(value, node.type_of_one, path)
        return
    if node.choices and value not in node.choices and (value or node.name == "operator"):
        yield _unknown_value(value, node, path)


def _object(value: Any, node: Node, path: Path) -> Iterator[Said]:
    if not isinstance(value, dict):
        yield _wrong(value, "object", path)
        return
    for key, item in value.items():
        if key in node.keys:
            yield from _mistakes(item, node.keys[key], (*path, key))
        else:
            yield _unknown(key, node, path)
    for key, child in node.keys.items():
        if child.is_required and key not in value:
            yield Said("missing-key", path, f"{_name((*path, key))} is missing", f"Write it: {child.field.text}")


def _senseless(document: Mapping[str, Any]) -> Iterator[Said]:
    """What every type allows and `parse` refuses all the same."""
    for key in ("targetCustomizations", "targets"):
        for at, item in enumerate(_list(document.get(key))):
            if isinstance(item, dict) and not _states_criterion(item):
                yield _no_criterion((key, at))
    for at, item in enumerate(_list(document.get("dependsOn"))):
        if isinstance(item, dict) and not item.get("name") and item.get("selector") is None:
            yield Said("empty-dependency", ("dependsOn", at), "the entry names neither a bundle nor a selector", "Write `name:`.")


def _states_criterion(item: Mapping[str, Any]) -> bool:
    return any(item.get(key) is not None for key in CRITERIA if key != "name")


def _no_criterion(path: Path) -> Said:
    step = "Write `clusterSelector: {}` for all clusters."
    return Said("no-criterion", path, "the entry states no criterion and would match no cluster", step)


def _refused(text: bytes, file: str, where: Mapping[Path, Place]) -> list[Finding]:
    """The net below: what `parse` refuses and nothing above has seen."""
    try:
        parse(text, file=file)
    except InvalidFile as why:
        return [_of_error(why, "refused", file)]
    except FleetError as why:
        key = next((path for path in where if len(path) == 1 and str(path[0]) in why.summary), ())
        return _placed([Said("refused", key, why.summary, why.next_step)], file, where, text)
    return []


def _of_error(why: InvalidFile, code: str, file: str) -> Finding:
    summary = why.summary.removeprefix(file + (f":{why.line}" if why.line else "") + (f":{why.column}" if why.line and why.column else ""))
    return Finding(
        severity=Severity.ERROR,
        code=code,
        file=file,
        line=why.line or 1,
        column=why.column or 1,
        path="",
        summary=summary.removeprefix(": "),
        next_step=why.next_step,
    )


def _placed(said: Iterable[Said], file: str, where: Mapping[Path, Place], text: bytes) -> list[Finding]:
    silenced = _silenced(text)
    found: list[Finding] = []
    for one in dict.fromkeys(said):
        place, severity = _place(where, one.path), RULES[one.code].severity
        if severity is Severity.WARNING and one.code in silenced.get(place.line, ()):
            continue
        found.append(
            Finding(
                severity=severity,
                code=one.code,
                file=file,
                line=place.line,
                column=place.column,
                path=dotted(one.path),
                summary=one.summary,
                next_step=one.next_step,
            )
        )
    return sorted(found, key=lambda f: (f.line, f.column, f.code))


def _place(where: Mapping[Path, Place], path: Path) -> Place:
    """Of the key, or of the nearest one above it that the file writes."""
    while path and path not in where:
        path = path[:-1]
    return where.get(path, Place(1, 1))


def _silenced(text: bytes) -> dict[int, set[str]]:
    if b"fleetctl:" not in text:
        return {}
    found: dict[int, set[str]] = {}
    for at, line in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        codes = _IGNORE.search(line)
        if codes:
            found[at] = {code.strip() for code in codes[1].split(",")}
    return found


def _unknown(key: str, node: Node, path: Path) -> Said:
    near = nearest(key, list(node.keys)) or _elsewhere(key, node)
    known = ", ".join(sorted(node.keys)[:12]) + (", …" if len(node.keys) > 12 else "")
    step = f"Did you mean `{near}`?" if near else f"Remove it; known here: {known}."
    return Said("unknown-key", (*path, key), f"unknown key {_name((*path, key))}", step)


def _elsewhere(key: str, node: Node) -> str | None:
    """A key of that name further down: `values` at the top is `helm.values`."""
    inner = (child.path for child in walk(node) if child.name.lower() == key.lower())
    return next((path for path in inner if "[]." not in path.removeprefix(node.path)), None)


def _unknown_value(value: Any, node: Node, path: Path) -> Said:
    near = nearest(str(value), list(node.choices))
    step = f"Did you mean {near}?" if near else f"Write one of {', '.join(node.choices)}."
    return Said("unknown-value", path, f"{_name(path)}: {_short(value)} is none of {', '.join(node.choices)}", step)


def _wrong(value: Any, wanted: str, path: Path) -> Said:
    what = f"{_name(path)} is" if path else "the file is"
    step = "Correct the value."
    if wanted == "string" and isinstance(value, bool | int | float):
        step = "Put quotes around it."
    elif wanted.startswith("list") and not isinstance(value, list | dict):
        step = "Write it as a list, one `- ` for each item."
    elif not path:
        step = "Write keys such as `defaultNamespace: web`."
    return Said("wrong-type", path, f"{what} {_kind(value)}, it takes {_a(wanted)}", step)


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"the text {_short(value)}" if isinstance(value, str) else f"the number {value}"


def _a(type_: str) -> str:
    return type_ if type_ == "any value" else f"{'an' if type_[0] in 'aeiou' else 'a'} {type_.replace('object', 'map')}"


def _name(path: Path) -> str:
    return f"`{dotted(path)}`"


def _short(value: Any) -> str:
    text = repr(str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + "…'"


def dotted(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
