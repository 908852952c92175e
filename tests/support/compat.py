"""docs/fleet-compat.md, written from the corpus: `python -m tests.support.compat`."""

from __future__ import annotations

from pathlib import Path

from tests.support.cases import Case, cases

PAGE = Path(__file__).parents[2] / "docs" / "fleet-compat.md"
_HEAD = """# fleet.yaml and GitRepo, compared with Rancher Fleet

Repositories that were written for Rancher Fleet work unchanged. Each row below is a case of `tests/conformance/fleet_yaml`, which the tests
run; this page is written from them (`python -m tests.support.compat`). *same*: what Fleet does. *better*: Fleet does something that nobody
means, and the last column says what happens here. *not yet*: read and shown, but without the effect.

"""
_GROUPS = (
    ("Names, labels and state", ("name", "labels", "paused", "rolloutStrategy", "imageScans", "dependsOn")),
    ("Which clusters", ("targets", "targetCustomizations", "targetCustomizationMode", "overrideTargets")),
    ("Namespaces and lifetime", ("defaultNamespace", "namespace", "createNamespace", "deleteNamespace", "keepResources", "serviceAccount")),
    ("Helm", ("helm", "deleteCRDResources")),
    ("Raw YAML and Kustomize", ("yaml", "kustomize")),
    ("Drift, differences and copies", ("diff", "ignore", "correctDrift", "downstreamResources", "forceSyncGeneration")),
)


def page() -> str:
    rows: dict[str, list[str]] = {}
    for case in cases():
        rows.setdefault(_group(case), []).append(_row(case))
    tables = []
    for title in (*(name for name, _ in _GROUPS), "Others"):
        if title in rows:
            head = f"## {title}\n\n| what | keys | compared | why |\n| --- | --- | --- | --- |\n"
            tables.append(head + "\n".join(rows[title]) + "\n")
    return _HEAD + "\n".join(tables)


def _group(case: Case) -> str:
    first = case.keys[0].partition(".")[0]
    return next((title for title, keys in _GROUPS if first in keys), "Others")


def _row(case: Case) -> str:
    keys = ", ".join(f"`{key}`" for key in case.keys[:4]) + (", …" if len(case.keys) > 4 else "")
    return f"| {_cell(case.about)} | {keys} | {case.verdict} | {_cell(case.why)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
