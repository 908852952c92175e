"""Writes docs/fleet-yaml.md from the table of keys: `python -m tests.support.pages.fleet_yaml`."""

from __future__ import annotations

from pathlib import Path

from fleetctl.core.documents.json_schema import Document, SchemaNode, documents, walk

PAGE = Path(__file__).parents[3] / "docs" / "fleet-yaml.md"
_HEAD = """# What people write

Every key of fleet.yaml and of the manifests, as `fleetctl explain` shows them (this page is written by `python -m tests.support.pages.fleet_yaml`).
`fleetctl validate` checks files against them, and an editor can: with the YAML language server, write

```yaml
# yaml-language-server: $schema=https://fleet.example.com:7443/schemas/fleet.yaml.json
```

with your manager's address, or the path of a file that `fleetctl explain fleet.yaml --schema` wrote. *Per target*: what an entry of
`targetCustomizations` does to the key.
"""  # noqa: E501


def page() -> str:
    return _HEAD + "".join(_section(document) for document in documents().values())


def _section(document: Document) -> str:
    rows = "\n".join(
        _row(node)
        for node in walk(document.root)
        if "targets[]." not in node.path or document.is_manifest
    )
    table = (
        "| key | type | default | per target | meaning |\n| --- | --- | --- | --- | ---"
        f" |\n{rows}\n"
    )
    return f"\n## {document.name}\n\n{document.title}\n\n{table}"


def _row(node: SchemaNode) -> str:
    text = " ".join(filter(None, (node.field.text, node.field.later)))
    cells = (f"`{node.path}`", node.type, node.field.default, node.merge, text)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
