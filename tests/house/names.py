"""Count names that say nothing: bare participles, pronouns, functions that are no verb.

`python -m tests.house.names PATH...` lists them with file and line and prints the shares.

A bare participle is a name that is one past participle (`found`, `told`), or one with a number or
underscores around it. In a compound (`stored_bundles`) it describes a noun and is not counted.
Bound names are parameters, assigned variables, loop and comprehension variables, fields,
functions and classes; each is counted once per scope.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("fleetctl", "manager", "agent", "examples")

# Irregular past participles; regular ones end in -ed.
_IRREGULAR = """
arisen asked awoken become been begun bent bitten bound bought broken brought built burnt caught
chosen come cut dealt done drawn driven drunk eaten fallen fed felt fought found flown forbidden
forgotten forgiven frozen given gone got gotten grown had heard held hidden hurt kept known laid
led left lent lit lost made meant met mistaken overridden paid proven ridden risen run said seen
sent shaken shown shut slept sold spent spoken spread stood stolen struck stuck sung sunk sworn
swept taken taught told thought thrown understood undone unheard unknown unsaid untold unseen used
wanted withdrawn withheld won worn woken written
"""
# Words in -ed that are nouns or verbs.
_NO_PARTICIPLE = "bed embed exceed feed hundred need proceed red seed shed speed succeed"
_PRONOUNS = """
all another any anyone anything both each either everybody everyone everything few he her hers here
him his how it its many me mine more most my neither nobody none nothing one ones others ours own
same she some somebody someone something such that theirs them there these they this those thing
things us we what whatever when where which who whom whose why you your yours
"""
# Names that Python, mathematics or a format fixes: `paused` is a key of Fleet's documents.
_FIXED = "all any disabled enabled i none other paused required"
# Participles that are verbs too.
_VERBS_TOO = "become bound come cut hurt put read run set shut spread"
IRREGULAR = frozenset(_IRREGULAR.split())
NO_PARTICIPLE = frozenset(_NO_PARTICIPLE.split())
PRONOUNS = frozenset(_PRONOUNS.split())
FIXED = frozenset(_FIXED.split())
VERBS_TOO = frozenset(_VERBS_TOO.split())


@dataclass(frozen=True)
class Name:
    """One bound name."""

    text: str
    path: str
    line: int
    is_function: bool


def words(text: str) -> list[str]:
    """The lower-case words of an identifier."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return [word for word in re.split(r"[_\d]+", text.lower()) if word]


def is_participle(word: str) -> bool:
    if word in NO_PARTICIPLE:
        return False
    return word in IRREGULAR or (len(word) > 4 and word.endswith("ed"))


def is_bare(name: Name) -> bool:
    """Is the name one participle or one pronoun? A public constant may name a state: `PAUSED`."""
    parts = words(name.text)
    if len(parts) != 1 or parts[0] in FIXED:
        return False
    if name.text[0] != "_" and name.text.isupper():
        return False
    if name.is_function and parts[0] in VERBS_TOO:
        return False
    return is_participle(parts[0]) or parts[0] in PRONOUNS


def begins_with_participle(name: Name) -> bool:
    parts = words(name.text)
    return (
        name.is_function and bool(parts) and parts[0] not in VERBS_TOO and is_participle(parts[0])
    )


def files(paths: Iterable[str] = SOURCES) -> Iterator[Path]:
    for path in paths:
        root = ROOT / path
        yield from [root] if root.is_file() else sorted(root.rglob("*.py"))


def names(path: Path) -> list[Name]:
    """Every bound name of a module, once per scope."""
    tree = ast.parse(path.read_text("utf-8"))
    relative = str(path.relative_to(ROOT))
    found: dict[tuple[int, str], Name] = {}

    def bind(scope: int, text: str, line: int, *, is_function: bool = False) -> None:
        if text.strip("_") and not (text.startswith("__") and text.endswith("__")):
            found.setdefault((scope, text), Name(text, relative, line, is_function))

    def visit(node: ast.AST, scope: int) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bind(scope, node.name, node.lineno, is_function=True)
            scope = id(node)
            arguments = node.args
            for argument in (
                *arguments.posonlyargs,
                *arguments.args,
                *arguments.kwonlyargs,
                *filter(None, (arguments.vararg, arguments.kwarg)),
            ):
                bind(scope, argument.arg, argument.lineno)
        elif isinstance(node, ast.Lambda):
            scope = id(node)
            for argument in node.args.args:
                bind(scope, argument.arg, argument.lineno)
        elif isinstance(node, ast.ClassDef):
            bind(scope, node.name, node.lineno)
            scope = id(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bind(scope, node.id, node.lineno)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            bind(-1, node.attr, node.lineno)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bind(scope, node.name, node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, scope)

    visit(tree, 0)
    return list(found.values())


def every_name(paths: Iterable[str] = SOURCES) -> list[Name]:
    return [name for path in files(paths) for name in names(path)]


def share(names_: list[Name]) -> tuple[float, float]:
    """The share of bare names among all, and of participles among functions."""
    functions = [name for name in names_ if name.is_function]
    bare = sum(map(is_bare, names_))
    begun = sum(map(begins_with_participle, functions))
    return bare / max(1, len(names_)), begun / max(1, len(functions))


def main(paths: list[str]) -> None:
    bound = every_name(paths or SOURCES)
    for name in bound:
        if is_bare(name) or begins_with_participle(name):
            print(f"{name.path}:{name.line}: {name.text}")
    bare, begun = share(bound)
    print(
        f"{len(bound)} names: {bare:.1%} bare; functions that begin with a participle: {begun:.1%}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
