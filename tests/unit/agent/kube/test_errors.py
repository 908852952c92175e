"""The API server's refusals as errors of the agent."""

from __future__ import annotations

import pytest

from agent.kube.errors import refuse
from fleetctl.core.model.errors import Throttled


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("999", 300.0),
        ("²", 1.0),
        ("9" * 5000, 1.0),
        ("", 1.0),
        ("Wed", 1.0),
    ],
)
def test_how_long_a_throttled_request_waits(text: str, seconds: float) -> None:
    """Between 1 and 300 seconds; what is no number is 1."""
    with pytest.raises(Throttled) as caught:
        refuse(429, b"", {"retry-after": text}, "/api/v1/pods")
    assert caught.value.after == seconds
