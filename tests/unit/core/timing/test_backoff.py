"""The waits between tries grow to a cap and are spread by jitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.timing.backoff import Backoff

BACKOFFS = st.builds(
    Backoff,
    first=st.floats(0.01, 60),
    cap=st.floats(60, 7200),
    factor=st.floats(1, 4),
    jitter=st.floats(0, 1),
)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 5), (2, 10), (3, 20), (4, 30)])
def test_the_wait_doubles_up_to_the_cap(failures: int, seconds: float) -> None:
    assert Backoff(5, 30).seconds(failures) == seconds


@pytest.mark.parametrize(("jitter", "least"), [(0.0, 20), (0.5, 10), (1.0, 0)])
def test_jitter_takes_a_random_share_of_the_wait(jitter: float, least: float) -> None:
    backoff = Backoff(5, 30, jitter=jitter)
    assert backoff.seconds(3, 0.0) == least
    assert backoff.seconds(3, 1.0) == 20


def test_very_many_failures_wait_for_the_cap() -> None:
    """A float would overflow at 2.0 ** 1024."""
    assert Backoff(1, 300).seconds(10_000) == 300


@given(BACKOFFS, st.integers(1, 2000), st.floats(0, 1))
def test_no_wait_is_longer_than_the_cap_or_shorter_than_the_one_before(
    backoff: Backoff, failures: int, fraction: float
) -> None:
    wait = backoff.seconds(failures, fraction)
    assert 0 <= wait <= backoff.cap * (1 + 1e-9)
    assert wait <= backoff.seconds(failures + 1, fraction) * (1 + 1e-9)
