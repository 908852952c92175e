"""The documents that people write as trees of keys: types from the structs that read them, words
from `fields.py`.

A node of the tree knows what may stand there; `explain`, the checks of `lint.py` and the JSON
Schema (draft-07, which editors take) are all made from it, so that none of them can say what
another one denies.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from fleetctl.core.documents import fields, fleet_yaml
from fleetctl.core.documents.convert import nearest
from fleetctl.core.documents.fields import Field
from fleetctl.core.documents.gitrepo import GitRepoSpec
from fleetctl.core.model import options
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout.schedule import ScheduleSpec

Kinds = tuple[type[msgspec.Struct], ...]
API_VERSION = "fleet.cattle.io/v1alpha1"
_SELECTORS = frozenset({"clusterSelector", "clusterGroupSelector", "selector"})
# The structs that read fleet.yaml keep these as data for a second look; what they hold is said
# here.
_OWN_KINDS: Kinds = (fleet_yaml.OwnKeys, options.Options)
_CUSTOMIZATION: Kinds = (fleet_yaml._Customization, options.Options)
_INSIDE: Mapping[str, Kinds] = {
    "targetCustomizations": _CUSTOMIZATION,
    "targets": _CUSTOMIZATION,
    "rolloutStrategy": (fields.RolloutStrategy,),
    "imageScans": (fields.ImageScan,),
}


class SchemaNode(msgspec.Struct, frozen=True, kw_only=True):
    """One key. `keys`: those below it, for an object or a list of objects; `kind`: the type of a
    value (an item's, in a list).

    `path` is Fleet's way to write it: `helm.valuesFiles[]`. `merge` says what a customization does
    to it, "" when it has no say.
    """

    path: str
    field: Field
    kind: Any
    keys: Mapping[str, SchemaNode] = {}
    is_list: bool = False
    is_map: bool = False
    is_nullable: bool = True
    is_required: bool = False
    merge: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2].removesuffix("[]")

    @property
    def type(self) -> str:
        """In words: `string`, `list of strings`, `map of strings`, `object`, …"""
        singular, plural = self._words()
        return (
            f"list of {plural}"
            if self.is_list
            else f"map of {plural}"
            if self.is_map and plural
            else singular
        )

    @property
    def type_of_one(self) -> str:
        """Of a value, or of one item of a list or map."""
        singular, plural = self._words()
        return (
            plural.removesuffix("s")
            if self.is_map and plural
            else "any value"
            if self.is_map
            else singular
        )

    def _words(self) -> tuple[str, str]:
        if self.keys:
            return "object", "objects"
        if self.is_map:
            return "map", "" if self.kind is Any else "strings"
        names = {str: "string", int: "integer", bool: "boolean", float: "number", Any: "any value"}
        if get_origin(self.kind) is dict:
            return "map", "maps of strings"
        if isinstance(self.kind, type) and issubclass(self.kind, StrEnum):
            return "string", "strings"
        if get_origin(self.kind) in {Union, types.UnionType}:
            parts = [names[part] for part in get_args(self.kind)]
            return " or ".join(reversed(parts[:2])) if len(parts) == 2 else "string", "strings"
        return names[self.kind], f"{names[self.kind]}s"

    @property
    def choices(self) -> tuple[str, ...]:
        if isinstance(self.kind, type) and issubclass(self.kind, StrEnum):
            return tuple(str(word) for word in self.kind)
        return self.field.choices


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: how a command line names it; `kind`: as Kubernetes writes it."""

    name: str
    kind: str
    title: str
    root: SchemaNode

    @property
    def is_manifest(self) -> bool:
        return self.name != "fleet.yaml"


@cache
def documents() -> Mapping[str, Document]:
    """By name: fleet.yaml, gitrepo, cluster, clustergroup, schedule."""
    all_documents = (
        Document(
            name="fleet.yaml",
            kind="",
            title="The bundle of one folder: name, options, targets.",
            root=_fleet_yaml(),
        ),
        _manifest("GitRepo", "A Git repository to deploy from.", GitRepoSpec, fields.GITREPO),
        _manifest("Cluster", "A cluster that gets bundles.", fields.ClusterSpec, fields.CLUSTER),
        _manifest(
            "ClusterGroup",
            "A named selector of clusters.",
            fields.ClusterGroupSpec,
            fields.CLUSTERGROUP,
        ),
        _manifest(
            "Schedule",
            "Windows in which clusters may change, or may not.",
            ScheduleSpec,
            fields.SCHEDULE,
        ),
    )
    return {document.name: document for document in all_documents}


def table_of(name: str) -> Mapping[str, Field]:
    """Every key of the document `name` in words, by its path."""
    tables = {
        "fleet.yaml": fields.FLEET_YAML,
        "gitrepo": fields.GITREPO,
        "cluster": fields.CLUSTER,
        "clustergroup": fields.CLUSTERGROUP,
        "schedule": fields.SCHEDULE,
    }
    return tables[name]


def _fleet_yaml() -> SchemaNode:
    return SchemaNode(
        path="",
        field=Field(text="The bundle of one folder: name, options, targets."),
        kind=dict,
        keys=_keys(_OWN_KINDS, "", fields.FLEET_YAML),
    )


def _manifest(
    kind: str, text: str, spec: type[msgspec.Struct], table: Mapping[str, Field]
) -> Document:
    inner = SchemaNode(
        path="spec", field=table["spec"], kind=dict, keys=_keys((spec,), "spec", table)
    )
    root = SchemaNode(path="", field=Field(text=text), kind=dict, keys={"spec": inner})
    return Document(name=kind.lower(), kind=kind, title=text, root=root)


def _keys(kinds: Kinds, prefix: str, table: Mapping[str, Field]) -> dict[str, SchemaNode]:
    nodes: dict[str, SchemaNode] = {}
    for kind in kinds:
        hints = get_type_hints(kind)
        for info in msgspec.structs.fields(kind):
            if kind is options.Options and info.encode_name in options.INTERNAL:
                continue
            node = _node(hints[info.name], f"{prefix}.{info.encode_name}".lstrip("."), table)
            # A null counts as not written, so only a key that is required must not be null.
            nodes[info.encode_name] = msgspec.structs.replace(
                node, is_nullable=not info.required, is_required=info.required
            )
    return nodes


def _node(hint: Any, path: str, table: Mapping[str, Field]) -> SchemaNode:
    kind, is_nullable = _bare(hint)
    name = path.rpartition(".")[2]
    is_list, is_map = get_origin(kind) is list, get_origin(kind) is dict
    if is_list:
        path, kind = f"{path}[]", get_args(kind)[0]
    structs = _structs(name, kind)
    if structs:
        is_map = False
    elif is_map:
        kind = get_args(kind)[1]
    keys = _keys(structs, path, table) if structs else {}
    row = _row(path, table)
    return SchemaNode(
        path=path,
        field=row,
        kind=kind,
        keys=keys,
        is_list=is_list,
        is_map=is_map,
        is_nullable=is_nullable,
        merge=_merge(path),
    )


def _structs(name: str, kind: Any) -> Kinds:
    """What the objects at a key are made of; () when they are none."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return (kind,)
    if name in _SELECTORS:
        return (fields.LabelSelector,)
    return _INSIDE.get(name, ()) if get_origin(kind) is dict else ()


def _row(path: str, table: Mapping[str, Field]) -> Field:
    """A customization's keys have the words of the same keys at the top."""
    if path in table:
        return table[path]
    head, _, rest = path.partition(".")
    return fields.OPTIONS[rest] if head in {"targetCustomizations[]", "targets[]"} else table[path]


def _merge(path: str) -> str:
    """What a customization does to a key, by the same sets that do it."""
    head, _, rest = path.partition(".")
    option = rest if head in {"targetCustomizations[]", "targets[]"} else path
    if option not in fields.OPTIONS:
        return ""
    if option.split(".")[0].removesuffix("[]") == "correctDrift":
        return "replaced with all of correctDrift"
    if "[]." in option:
        return "with its entry"
    hints = {"overlays", "values_from", "compare_patches", "downstream_resources"} & set(
        options._APPENDED_LISTS
    )
    if option.removesuffix("[]").rpartition(".")[2] in {_camel(name) for name in hints}:
        return "added to"
    if option in {
        "helm.values",
        "helm.templateValues",
        "namespaceLabels",
        "namespaceAnnotations",
        "helm",
        "kustomize",
        "yaml",
        "diff",
        "ignore",
    }:
        return "merged key by key"
    return "replaced"


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _bare(hint: Any) -> tuple[Any, bool]:
    """`X | None` as (X, True)."""
    if get_origin(hint) not in {Union, types.UnionType} or type(None) not in get_args(hint):
        return hint, hint is Any
    rest = [part for part in get_args(hint) if part is not type(None)]
    return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), True  # noqa: UP007 - made at run time


def walk(node: SchemaNode) -> Iterator[SchemaNode]:
    """All keys below, parents first, in the order of the structs."""
    for child in node.keys.values():
        yield child
        yield from walk(child)


def topics() -> list[str]:
    """The name of each document and of each of its keys, as `find` takes them."""
    names = []
    for document in documents().values():
        names.append(document.name)
        names += [f"{document.name}.{node.path.replace('[]', '')}" for node in walk(document.root)]
    return names


def find(text: str) -> tuple[Document, SchemaNode]:
    """`fleet.yaml.helm.values`, `gitrepo.spec.paths`; without a document's name it is fleet.yaml's.
    Raises UsageError with the nearest.
    """
    document, steps = _document(text)
    node = document.root
    for at, step in enumerate(steps):
        name = step.removesuffix("[]")
        names = {key.lower(): key for key in node.keys}
        if name.lower() not in names:
            raise _no_field(document, node, steps[: at + 1], name)
        node = node.keys[names[name.lower()]]
    return document, node


def _document(text: str) -> tuple[Document, list[str]]:
    by_name = documents()
    lower = text.lower()
    for name in ("fleet.yaml", "fleet.yml"):
        if lower == name or lower.startswith(f"{name}."):
            return by_name["fleet.yaml"], [s for s in text[len(name) + 1 :].split(".") if s]
    head, *rest = [step for step in text.split(".") if step] or [""]
    aliases = {
        "gr": "gitrepo",
        "gitrepos": "gitrepo",
        "cl": "cluster",
        "clusters": "cluster",
        "cg": "clustergroup",
        "clustergroups": "clustergroup",
    }
    name = aliases.get(head.lower(), head.lower())
    if name in by_name:
        return by_name[name], rest
    top = {key.lower() for key in by_name["fleet.yaml"].root.keys}
    if head.removesuffix("[]").lower() in top or rest:
        return by_name["fleet.yaml"], [head, *rest]
    near = nearest(head, [*by_name, *by_name["fleet.yaml"].root.keys])
    step = (
        f"Did you mean {near}?"
        if near
        else f"Valid names are {', '.join(by_name)}, and the keys below them."
    )
    raise UsageError(
        f"there is nothing named {head[:80]!r} to explain", subject="explain", next_step=step
    )


def _no_field(document: Document, node: SchemaNode, steps: list[str], name: str) -> UsageError:
    above = ".".join([document.name, *steps[:-1]])
    if not node.keys:
        reason = (
            "contains keys that you choose"
            if node.is_map and node.kind is Any
            else f"is a {node.type}"
        )
        return UsageError(
            f"there is no field below {above}: it {reason}",
            subject="explain",
            next_step=f"See `fleetctl explain {above}`.",
        )
    near = nearest(name, list(node.keys))
    step = f"Did you mean {above}.{near}?" if near else f"`fleetctl explain {above}` lists them."
    return UsageError(
        f"there is no field {name[:80]!r} in {above}", subject="explain", next_step=step
    )


def json_schema(document: Document) -> dict[str, Any]:
    """For editors. Shared parts (a selector, a customization) stand once, below `definitions`."""
    definitions: dict[str, Any] = {}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": document.name,
        "description": document.title,
    }
    body = _object(document.root, definitions)
    if document.is_manifest:
        head = {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": document.kind},
            "metadata": {"type": "object"},
        }
        body["properties"] = head | body["properties"] | {"status": {"type": "object"}}
        body["required"] = [*head]
    return {
        **schema,
        **body,
        **({"definitions": dict(sorted(definitions.items()))} if definitions else {}),
    }


def _object(node: SchemaNode, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    schema["properties"] = {key: _schema(child, definitions) for key, child in node.keys.items()}
    required = [key for key, child in node.keys.items() if child.is_required]
    return schema | ({"required": required} if required else {})


def _schema(node: SchemaNode, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": _description(node)}
    if not node.keys:
        value = _leaf(node)
        if node.is_list or node.is_map:
            value = (
                {"type": "array", "items": value}
                if node.is_list
                else {"type": "object", "additionalProperties": value}
            )
    else:
        value = _reference(node, definitions)
        value = {"type": "array", "items": value} if node.is_list else value
    if "$ref" in value:
        # draft-07 ignores what is beside a $ref
        value = {"anyOf": [value, {"type": "null"}]} if node.is_nullable else {"allOf": [value]}
    if node.is_nullable and isinstance(value.get("type"), str):
        value["type"] = [value["type"], "null"]
        if "enum" in value:
            value["enum"] = [*value["enum"], None]
    elif node.is_nullable and "type" in value:
        value["type"] = [*value["type"], "null"]
    return schema | value


def _reference(node: SchemaNode, definitions: dict[str, Any]) -> dict[str, Any]:
    """By the name of the key: the same name holds the same everywhere, but for the `targets` of
    other documents.
    """
    name = "labelSelector" if node.name in _SELECTORS else node.name
    body = _object(node, definitions)
    if name not in definitions:
        definitions[name] = body
    return {"$ref": f"#/definitions/{name}"} if definitions[name] == body else body


def _leaf(node: SchemaNode) -> dict[str, Any]:
    names = {str: "string", int: "integer", bool: "boolean", float: "number"}
    if node.kind is Any:
        return {}
    if node.choices:
        return {"type": "string", "enum": list(node.choices)}
    if get_origin(node.kind) is dict:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if get_origin(node.kind) in {Union, types.UnionType}:
        return {"type": sorted(names[part] for part in get_args(node.kind))}
    return {"type": names[node.kind]}


def _description(node: SchemaNode) -> str:
    row = node.field
    parts = [row.text]
    parts += [f"Without it: {row.default}."] if row.default else []
    parts += [f"Only for {STYLES[row.style]}."] if row.style else []
    parts += [f"Not in this version: {row.later}"] if row.later else []
    return " ".join(parts)


STYLES = {
    "helm": "bundles with a chart",
    "kustomize": "bundles with a kustomization.yaml",
    "raw": "bundles of plain manifests",
}
