"""Jobs in forked children: results, every limit, and what a caller is told when a fork dies."""

from __future__ import annotations

import asyncio
import time

import pytest

from fleetctl.core.model.errors import DeadlineError, FleetError, UnavailableError
from fleetctl.tools.isolation.fork_server import ForkServer, JobLimits

LIMITS = JobLimits(seconds=120, cpu=1, memory=300 << 20, result=4 << 20)
SHORT = JobLimits(seconds=0.3, cpu=1)


@pytest.fixture(scope="module")
def server():
    server = ForkServer("tests.support.processes.fork_jobs")
    yield server
    server.close()


def run(server: ForkServer, data: bytes, limits: JobLimits = LIMITS) -> bytes:
    return asyncio.run(server.run(data, limits, subject="the scan of repo a"))


def test_a_job_returns_its_result_and_large_ones_too(server):
    """Both directions are larger than a socket's buffer."""
    assert run(server, b"echo a b") == b"a b"
    assert len(run(server, b"echo " + b"x" * (3 << 20))) == 3 << 20


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"spin", UnavailableError, "needs more than 1 s of CPU time"),
        (b"sleep 30", DeadlineError, "did not end within 0.3 s"),
        (b"memory", UnavailableError, "needs more memory"),
        (b"raise", UnavailableError, "internal error: AttributeError: list has no keys"),
        (b"die", UnavailableError, "was killed by SIGKILL"),
        (b"large 5000000", UnavailableError, "is larger than 4194304 bytes"),
    ],
)
def test_a_job_that_breaks_a_limit_is_an_error_and_the_next_one_runs(server, data, error, message):
    """The server outlives its forks."""
    with pytest.raises(error, match=message) as caught:
        run(server, data, SHORT if b"sleep" in data else LIMITS)
    assert "the scan of repo a" in caught.value.summary
    assert caught.value.next_step
    assert run(server, b"echo next") == b"next"


def test_jobs_run_at_the_same_time_and_a_cancelled_one_is_killed(server):
    """A slow job delays no other."""

    async def together() -> float:
        slow = asyncio.create_task(server.run(b"sleep 60", JobLimits(), subject="s"))
        await server.run(b"echo x", LIMITS, subject="s")
        began = time.monotonic()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        return time.monotonic() - began

    assert asyncio.run(together()) < 30


def test_a_server_that_died_is_started_again(server):
    """The caller of the next job does not notice."""
    assert server._process
    server._process.kill()
    server._process.wait()
    assert run(server, b"echo again") == b"again"


def test_a_module_that_cannot_be_loaded_is_an_error(server):
    """Not a wait."""
    broken = ForkServer("tests.support.no_such_module")
    try:
        with pytest.raises(FleetError):
            run(broken, b"echo x")
    finally:
        broken.close()
