"""Names in URL paths."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fleetctl.core.formats.url_path import below, core_path, in_namespace, relative, url_path
from fleetctl.core.model.errors import UsageError

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/", "a\nb", "a\0"])
def test_what_cannot_be_one_segment_is_refused(name: str) -> None:
    """By every function, at every place."""
    for build in (
        url_path,
        core_path,
        relative,
        lambda n: in_namespace(n, "secrets"),
        lambda n: below("/x", "a", n),
    ):
        with pytest.raises(UsageError, match="is not a name"):
            build(name)


def test_what_has_a_meaning_in_a_url_is_quoted() -> None:
    """A name stays one segment, and a query stays a query."""
    assert url_path("a?b#c", "%2e%2e", "system:x", "é") == "/a%3Fb%23c/%252e%252e/system%3Ax/%C3%A9"
    assert (
        in_namespace("n", "secrets", labelSelector="a=b,c&d")
        == "/api/v1/namespaces/n/secrets?labelSelector=a%3Db%2Cc%26d"
    )


def test_paths_are_built_nowhere_else() -> None:
    """No f-string in the programs puts a name into a path of an API, and no call takes a path that
    it builds itself.
    """
    wrong: list[str] = []
    for folder in ("agent", "fleetctl", "manager"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            shown = path.relative_to(ROOT)
            nodes = ast.walk(ast.parse(path.read_text()))
            wrong += [
                f"{shown}:{getattr(node, 'lineno', 0)}" for node in nodes if _builds_path(node)
            ]
    assert wrong == []


def _builds_path(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr):
        first = node.values[0]
        text = first.value if isinstance(first, ast.Constant) else ""
        return (
            isinstance(text, str)
            and text.startswith(("/api/v1/namespaces", "/apis/", "/agent/v1/"))
            and len(node.values) > 1
        )
    if not (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"call", "read", "download"}
    ):
        return False
    return any(_joins_segments(part) for part in node.args[:2])


def _joins_segments(part: ast.AST) -> bool:
    """Whether an f-string has a slash followed by a value before its query."""
    if not isinstance(part, ast.JoinedStr):
        return False
    slash = False
    for piece in part.values:
        if isinstance(piece, ast.Constant):
            text = str(piece.value)
            if "?" in text:
                return False
            slash = "/" in text or slash
        elif slash:
            return True
    return False
