"""Entries of `diff.comparePatches` that leave nothing out.

Source: rancher/fleet `internal/cmd/agent/deployer/desiredset/diff.go`. Its operations have `op`,
`path` and `value` and no `from`, so that `move` and `copy` fail there, and `test` changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.core.documents.convert import Path
from fleetctl.core.documents.key_names import nearest
from fleetctl.core.model.options import ComparePatch

LEAVE_OUT = ("add", "remove", "replace")
OPERATIONS = (*LEAVE_OUT, "ignore")
_KNOWN_WITHOUT_EFFECT = ("move", "copy", "test")


def useless_entries(
    patch: ComparePatch, *, known_only: bool = False
) -> Iterator[tuple[Path, str, str]]:
    """(path below the patch, what is wrong, the next step) of each pointer and operation without
    effect. `known_only`: without operations that JSON Patch does not have either, which `fleetctl
    validate` reports as unknown values.
    """
    for at, pointer in enumerate(patch.json_pointers or []):
        if not pointer.startswith("/"):
            yield ("jsonPointers", at), _no_pointer(pointer), "Begin it with `/`."
    for at, operation in enumerate(patch.operations or []):
        place = ("operations", at)
        if operation.op in _KNOWN_WITHOUT_EFFECT:
            step = "Write `op: remove` with the path that may differ."
            yield place, f"`op: {operation.op}` leaves nothing out, in Fleet too", step
        elif operation.op not in OPERATIONS and known_only:
            continue
        elif operation.op not in OPERATIONS:
            summary = (
                f"`op: {operation.op[:40]}` is none of {', '.join(OPERATIONS)}, and leaves"
                " nothing out"
            )
            near = nearest(operation.op, OPERATIONS)
            yield place, summary, f"Did you mean {near}?" if near else "Write `op: remove`."
        elif operation.op in LEAVE_OUT and not operation.path.startswith("/"):
            yield place, f"`path`: {_no_pointer(operation.path)}", "Begin it with `/`."


def _no_pointer(text: str) -> str:
    return f"{text[:80]!r} is no JSON pointer and leaves nothing out"
