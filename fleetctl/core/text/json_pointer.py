"""JSON pointers (RFC 6901): `~1` is a slash, `~0` a tilde, and "" the whole document."""

from __future__ import annotations


def pointer_steps(pointer: str) -> list[str]:
    """Return the keys and indexes of `pointer`, which is empty or begins with a slash."""
    if not pointer:
        return []
    return [unescape_step(step) for step in pointer[1:].split("/")]


def unescape_step(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


def pointer_below(pointer: str, step: str | int) -> str:
    """Return the pointer of the entry `step` of the value at `pointer`."""
    return f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}"
