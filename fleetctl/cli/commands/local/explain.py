"""`fleetctl explain`: the keys of fleet.yaml and of the manifests, as `kubectl explain` shows those
of Kubernetes.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.core.documents.json_schema import Document, SchemaNode, find, json_schema
from fleetctl.core.model.errors import UsageError

_MOST_COLUMNS = 100


def explain(
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC", help="fleet.yaml, fleet.yaml.helm.values, gitrepo.spec.paths, …"
        ),
    ] = "fleet.yaml",
    recursive: Annotated[
        bool,
        typer.Option("--recursive", help="Print all keys below it, without their descriptions."),
    ] = False,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schema of a whole document, for editors."),
    ] = False,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="Output format: table, json or yaml.")
    ] = Format.TABLE,
) -> None:
    """Explain a key: its meaning, its type, its default, and how a customization changes it."""
    document, node = find(topic)
    if schema:
        if node is not document.root:
            raise UsageError(
                "a schema is of a whole document",
                subject="--schema",
                next_step=f"Write `explain {document.name} --schema`.",
            )
        out.document(json_schema(document), Format.JSON)
    elif output in {Format.JSON, Format.YAML}:
        out.document(_plain(document, node), output)
    else:
        _print_node(document, node, recursive=recursive)


def _print_node(document: Document, node: SchemaNode, *, recursive: bool) -> None:
    width = min(_MOST_COLUMNS, shutil.get_terminal_size().columns)
    out.line(f"KIND:     {document.name}")
    if node is not document.root:
        out.line(f"FIELD:    {node.path.replace('[]', '')} <{node.type}>")
    for title, text in _facts(node):
        out.line(f"{title + ':':<10}{text}")
    out.line()
    out.line("DESCRIPTION:")
    for text in (node.field.text, node.field.later):
        for row in textwrap.wrap(text, width - 4):
            out.line(f"    {row}")
    if node.keys:
        out.line()
        out.line("FIELDS:")
        _fields(node, width, 1, recursive=recursive)


def _facts(node: SchemaNode) -> Iterator[tuple[str, str]]:
    if node.field.default:
        yield "DEFAULT", node.field.default
    if node.choices:
        yield "ONE OF", ", ".join(node.choices)
    if node.field.style:
        yield "FOR", node.field.style
    if node.merge:
        yield "TARGETS", node.merge


def _fields(node: SchemaNode, width: int, depth: int, *, recursive: bool) -> None:
    space = "  " * depth
    for key, child in node.keys.items():
        required = " -required-" if child.is_required else ""
        out.line(f"{space}{key}  <{child.type}>{required}")
        if recursive:
            _fields(child, width, depth + 1, recursive=True)
            continue
        for row in textwrap.wrap(child.field.text, width - 6):
            out.line(f"{space}  {row}")


def _plain(document: Document, node: SchemaNode) -> dict[str, Any]:
    document_ = {
        "document": document.name,
        "path": node.path,
        "type": node.type if node is not document.root else "object",
        "default": node.field.default,
        "description": node.field.text,
        "choices": list(node.choices) if node is not document.root else [],
        "perTarget": node.merge,
        "fields": {key: child.type for key, child in node.keys.items()},
    }
    return {key: value for key, value in document_.items() if value}
