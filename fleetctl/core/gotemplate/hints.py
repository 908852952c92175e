"""How to write a template that does not fail for a key that is missing."""

from __future__ import annotations

import json
from typing import Any

from fleetctl.core.gotemplate.parse import Call, Chain, Constant, Dot, Pipe, Variable

_LONGEST = 60


def default_of(pipe: Pipe) -> str:
    """The constant of a `default` in `pipe`, as text of a template; "" when there is none."""
    for command in pipe.commands:
        first, *rest = command.args
        if (
            isinstance(first, Call)
            and first.name == "default"
            and rest
            and isinstance(rest[0], Constant)
        ):
            return _constant(rest[0].value)
    return ""


def optional(chain: Chain, at: int, default: str) -> str:
    """`get .ClusterValues "count" | default 3`: a template for `chain`, whose field number `at` may
    be missing.
    """
    base = _text(Chain(chain.at, chain.base, chain.fields[:at]))
    rest = [json.dumps(name) for name in chain.fields[at:]]
    if len(rest) == 1:
        return f"get {base or '.'} {rest[0]} | default {default}"[:300]
    return f"dig {' '.join(rest)} {default} {base or '.'}"[:300]


def _text(node: Any) -> str:
    if isinstance(node, Dot):
        return ""
    if isinstance(node, Chain):
        return _text(node.base) + "".join(f".{name}" for name in node.fields)
    return str(node.name) if isinstance(node, Variable) else "(…)"


def _constant(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else "VALUE"
