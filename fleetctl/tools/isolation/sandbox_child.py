"""The child of fleetctl/tools/isolation/sandbox.py: reads requests from stdin, works under limits,
writes answers to stdout.

`cpu` seconds of a request are set as the soft limit of the process, on top of what it has used: at
the limit the kernel ends it with SIGXCPU. Where memory runs out Python raises MemoryError, which is
answered; then the process ends.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.options import Options
from fleetctl.core.rendering.render import plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.tools import post_renderer
from fleetctl.tools.chart_builder.examine import examine
from fleetctl.tools.post_renderer import Changes

MEMORY, BUG = "memory", "bug"
_MAX_REQUESTS = 1_000
_MAX_RESIDENT = 128 * 1024 * 1024
_MAX_REQUEST = 512 * 1024 * 1024


class Request(msgspec.Struct, frozen=True):
    operation: str
    cpu: int
    body: bytes


class SandboxFailure(msgspec.Struct, frozen=True):
    code: str
    summary: str
    subject: str = ""
    next_step: str = ""


class SandboxAnswer(msgspec.Struct, frozen=True):
    """`is_last`: the process ends after it."""

    body: bytes = b""
    failure: SandboxFailure | None = None
    is_last: bool = False


class PlanRequest(msgspec.Struct, frozen=True):
    """`details`: JSON of the options, the facts and what `valuesFrom` has brought."""

    archive: str
    bundle: BundleName
    details: bytes


class ChangeRequest(msgspec.Struct, frozen=True):
    text: bytes
    changes: Changes


def _plan(request: PlanRequest) -> Any:
    options, facts, values = msgspec.json.decode(
        request.details, type=tuple[Options, ClusterFacts, list[dict[str, Any]]]
    )
    files = unpack(Path(request.archive).read_bytes())
    return examine(plan(files, options, facts, bundle=request.bundle, values_from=values))


def _change(request: ChangeRequest) -> Any:
    return post_renderer.change_objects(request.text, request.changes)


OPERATIONS: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Any]]] = {
    "plan": (PlanRequest, _plan),
    "change": (ChangeRequest, _change),
}


def main() -> None:
    """Serve until stdin ends."""
    requests, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not become an answer
    for _ in range(_MAX_REQUESTS):
        data = _read(requests)
        if data is None:
            return
        answer = work(data)
        _write(out, answer)
        if answer.is_last:
            return


def work(data: bytes) -> SandboxAnswer:
    """Do one request. Never raises."""
    try:
        request = msgspec.msgpack.decode(data, type=Request)
        kind, operation = OPERATIONS[request.operation]
        _limit(request.cpu)
        body = msgspec.msgpack.encode(operation(msgspec.msgpack.decode(request.body, type=kind)))
        return SandboxAnswer(body=body, is_last=_resident() > _MAX_RESIDENT)
    except FleetError as error:
        return SandboxAnswer(
            failure=SandboxFailure(error.code, error.summary, error.subject, error.next_step)
        )
    except MemoryError:
        return SandboxAnswer(failure=SandboxFailure(MEMORY, "out of memory"), is_last=True)
    except Exception as error:
        return SandboxAnswer(
            failure=SandboxFailure(BUG, f"{type(error).__name__}: {error}"[:2000]), is_last=True
        )


def _resident() -> int:
    """Bytes of memory that this process holds; not ru_maxrss, which begins with that of the process
    that started it.
    """
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _limit(seconds: int) -> None:
    """`seconds` of CPU time from now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    data = stream.read(size) if size <= _MAX_REQUEST else b""
    return data if len(data) == size else None


def _write(stream: BinaryIO, answer: SandboxAnswer) -> None:
    data = msgspec.msgpack.encode(answer)
    stream.write(len(data).to_bytes(4, "big"))
    stream.write(data)
    stream.flush()
