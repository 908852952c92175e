"""The one door for processes: argument lists only, a total deadline, bounded output, and children
that never outlive us.

Rule: a child gets a process group of its own and dies with its parent (PR_SET_PDEATHSIG, set by a
small wrapper before exec, because running Python between fork and exec is not safe in a process
with threads). At the deadline the whole group is killed. The wrapper is util-linux' setpriv and the
shell, which cost 3 ms, or Python where these are not to be had, which costs 14 ms (measured on 2
cores).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fleetctl.core.model.errors import DeadlineError, ToolFailed, ToolMissing

# Runs as `setpriv --pdeathsig KILL -- sh -c SHELL PARENT CPU MEMORY argv...`; the parent may have
# gone before the signal was set.
_SHELL = (
    'parent=$0 cpu=$1 memory=$2; shift 2; [ "$PPID" = "$parent" ] || exit 137; '
    # The soft limit first: a hard limit below it is refused. A child is what the kernel ends first
    # when memory runs out.
    '{ [ "$cpu" = 0 ] || { ulimit -St "$cpu"; ulimit -Ht $((cpu + 5)); }; [ "$memory" = 0 ] ||'
    ' ulimit -d $((memory / 1024)); echo 800 >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"'
)
# Runs as `python -I -S -c LEASH PARENT CPU MEMORY argv...`.
_LEASH = (
    "import ctypes,os,resource,signal,sys\n"
    "parent,cpu,memory=map(int,sys.argv[1:4])\n"
    "sys.platform=='linux' and ctypes.CDLL(None).prctl(1,int(signal.SIGKILL),0,0,0)\n"
    "os.getppid()==parent or sys.exit(137)\n"
    "cpu and resource.setrlimit(resource.RLIMIT_CPU,(cpu,cpu+5))\n"
    "memory and resource.setrlimit(resource.RLIMIT_DATA,(memory,memory))\n"
    "try: open('/proc/self/oom_score_adj','w').write('800')\n"
    "except OSError: pass\n"
    "os.execvpe(sys.argv[4],sys.argv[4:],os.environ)\n"
)
_MISSING = 127
_SYSTEM = "/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """`cpu` seconds, `memory` bytes of data, `output` bytes of each stream; 0 is no limit."""

    cpu: int = 0
    memory: int = 0
    output: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """`returncode`: minus the number of the signal that ended it; `seconds`: how long it ran."""

    returncode: int
    stdout: bytes
    stderr: bytes
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Command:
    """`argv[0]` is looked up in the PATH of `env`; `env` is the child's whole environment; `stdin`
    never reaches the command line; `inherits`: open files that the child and what it starts keep.
    `network`: False runs it in an empty network namespace, where this machine allows that.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stdin: bytes = b""
    limits: ProcessLimits = ProcessLimits()
    inherits: tuple[int, ...] = ()
    network: bool = True


async def run(command: Command, *, deadline: float) -> Completed:
    """Run to the end, at most `deadline` seconds. Raises ToolMissing, DeadlineError, or ToolFailed
    when it prints more than it may.
    """
    name = Path(command.argv[0]).name
    began = time.monotonic()
    process = await start(command)
    try:
        async with asyncio.timeout(deadline):
            out, err, _ = await asyncio.gather(
                _read(process.stdout, command.limits.output),
                _read(process.stderr, command.limits.output),
                _feed(process, command.stdin),
            )
            code = await process.wait()
    except TimeoutError as error:
        raise DeadlineError(
            f"{name} did not end within {deadline:g} s",
            subject=name,
            next_step="Check what it waits for.",
        ) from error
    except _TooMuch as error:
        limit = command.limits.output
        raise ToolFailed(
            f"{name} printed more than {limit} bytes",
            subject=name,
            next_step="Split the input.",
        ) from error
    finally:
        await end(process)
    if code == _MISSING and (b"FileNotFoundError" in err or b": not found" in err):
        raise ToolMissing(
            f"{command.argv[0]} is not on this machine",
            subject=name,
            next_step=f"Install {name} and put it on PATH.",
        )
    return Completed(code, out, err, time.monotonic() - began)


def start_server(
    argv: Sequence[str], env: Mapping[str, str], *, inherits: int
) -> subprocess.Popen[bytes]:
    """Start a process of this package; it has the open file `inherits` under the same number, and
    ends when the other end is closed.
    """
    silent = subprocess.DEVNULL
    return subprocess.Popen(
        argv,
        env=dict(env),
        stdin=silent,
        stdout=silent,
        pass_fds=(inherits,),
        start_new_session=True,
    )


class _TooMuch(Exception):
    """A stream went past its limit."""


async def start(command: Command) -> asyncio.subprocess.Process:
    """A child with pipes, for callers that speak with it; whoever starts it must `end` it."""
    limits = command.limits
    isolation = () if command.network else without_network()
    leash = [*isolation, *_wrapper(), str(os.getpid()), str(limits.cpu), str(limits.memory)]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *leash,
        *command.argv,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=dict(command.env),
        cwd=command.cwd,
        start_new_session=True,
        pass_fds=command.inherits,
    )


@cache
def _wrapper() -> list[str]:
    setpriv, shell = shutil.which("setpriv", path=_SYSTEM), shutil.which("sh", path=_SYSTEM)
    if setpriv and shell:
        probe = subprocess.run(
            [setpriv, "--pdeathsig", "KILL", "--", shell, "-c", ":"],
            capture_output=True,
            check=False,
        )
        if probe.returncode == 0:
            return [setpriv, "--pdeathsig", "KILL", "--", shell, "-c", _SHELL]
    return [sys.executable, "-I", "-S", "-c", _leash()]


@cache
def without_network() -> tuple[str, ...]:
    """What starts a program in a network namespace of its own, in which not even loopback is up; ()
    where that is not allowed.

    It comes before the wrapper, because a change of credentials clears the parent-death signal.
    """
    unshare = shutil.which("unshare", path=_SYSTEM)
    for flags in (["--net"], ["--user", "--map-root-user", "--net"]) if unshare else ():
        argv = (str(unshare), *flags, "--")
        probe = subprocess.run([*argv, "/bin/true"], capture_output=True, check=False)
        if probe.returncode == 0:
            return argv
    return ()


def _leash() -> str:
    """The wrapper; a program that is not there ends it with 127 and the name of the error."""
    body = _LEASH.splitlines()
    tail = (
        f"try: {body[-1]}\nexcept FileNotFoundError: sys.stderr.write('FileNotFoundError');"
        f" sys.exit({_MISSING})\n"
    )
    return "\n".join(body[:-1]) + "\n" + tail


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    assert stream is not None
    content = bytearray()
    while chunk := await stream.read(65536):
        content += chunk
        if limit and len(content) > limit:
            raise _TooMuch
    return bytes(content)


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    # it may end before it has read everything
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole group, also what the child left behind, and reap the child."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # Closing the transport first frees the pipes: with one that nobody reads any more, wait() would
    # never return.
    process._transport.close()  # type: ignore[attr-defined]
    await process.wait()
