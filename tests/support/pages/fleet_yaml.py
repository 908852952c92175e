"""Writes docs/fleet-yaml.md from the table of keys: `python -m tests.support.pages.fleet_yaml`."""

from __future__ import annotations

from pathlib import Path

from fleetctl.core.documents.json_schema import Document, SchemaNode, documents, walk

PAGE = Path(__file__).parents[3] / "docs" / "fleet-yaml.md"
_HEAD = """# Keys of fleet.yaml and of the manifests

`fleetctl explain` prints the same texts. `python -m tests.support.pages.fleet_yaml` writes this
page.

`fleetctl validate` checks files against these keys. An editor with the YAML language server can
check them too. Write this line into the file, with the address of your manager, or with the path of
a file that contains the output of `fleetctl explain fleet.yaml --schema`:

```yaml
# yaml-language-server: $schema=https://fleet.example.com:7443/schemas/fleet.yaml.json
```

The column *per target* shows how an entry of `targetCustomizations` changes the key.
"""


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
