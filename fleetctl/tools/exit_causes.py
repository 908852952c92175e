"""Why a tool ended that did not end by itself: a crash of its own (a Go panic), a limit, or a
signal.
"""

from __future__ import annotations

import re
import signal

from fleetctl.core.model.errors import ToolDied
from fleetctl.tools.process import Completed, ProcessLimits

_TRACE = re.compile(rb"^goroutine \d+ ", re.MULTILINE)
_CRASH = re.compile(rb"^(?:panic|fatal error|runtime): .*$", re.MULTILINE)
_MEMORY = re.compile(
    rb"out of memory|cannot allocate memory|failed to (?:create new OS thread|allocate)"
)
_SHELL = 128  # a shell reports a child that died of signal N as 128 + N
_MAX_WORDS = 300


def describe_death(
    completed: Completed, limits: ProcessLimits, *, tool: str, subject: str
) -> ToolDied | None:
    """The death of `tool` as an error; None when it ended by itself, with a message of its own."""
    if crash := _crash(completed.stderr):
        if _MEMORY.search(completed.stderr):
            return _out_of_memory(tool, limits, subject)
        step = (
            f"Report the trace to the developers of {tool}, or try another version of"
            f" {tool}; the input may cause the crash."
        )
        return ToolDied(f"{tool} crashed: {crash}", subject=subject, next_step=step)
    number = -completed.returncode if completed.returncode < 0 else completed.returncode - _SHELL
    if number == signal.SIGXCPU or (
        number == signal.SIGKILL and 0 < limits.cpu <= completed.seconds
    ):
        step = "Make the input smaller."
        return ToolDied(
            f"{tool} used more than {limits.cpu} s of CPU time and was ended",
            subject=subject,
            next_step=step,
        )
    if number == signal.SIGKILL:
        summary = (
            f"{tool} was killed (SIGKILL) after {completed.seconds:.1f} s: too little memory"
            " on this machine, or somebody killed it"
        )
        return ToolDied(
            summary,
            subject=subject,
            next_step="Look for `Out of memory` in dmesg and at the memory limit of the agent.",
        )
    if (
        number in signal.valid_signals()
        and completed.returncode != 0
        and (completed.returncode < 0 or not completed.stderr.strip())
    ):
        name = signal.Signals(number).name
        summary = f"{tool} was ended by signal {name} after {completed.seconds:.1f} s"
        return ToolDied(
            summary,
            subject=subject,
            next_step="The agent tries again; read dmesg if it happens again.",
        )
    return None


def _crash(stderr: bytes) -> str:
    """The line that says why, of a trace of Go's runtime."""
    if not _TRACE.search(stderr):
        return ""
    match = _CRASH.search(stderr)
    text = match[0].decode("utf-8", "replace") if match else ""
    return "".join(c if c.isprintable() else " " for c in text)[:_MAX_WORDS]


def _out_of_memory(tool: str, limits: ProcessLimits, subject: str) -> ToolDied:
    limit = (
        f"more than {limits.memory // 1024**2} MiB of memory"
        if limits.memory
        else "more memory than available"
    )
    return ToolDied(
        f"{tool} needed {limit} and was ended",
        subject=subject,
        next_step="Make the input smaller, or split the bundle.",
    )
