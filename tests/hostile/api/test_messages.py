"""Messages that a chart chooses (`fail`, names of objects) are read in time that grows with their
length, in the agent's event loop.
"""

from __future__ import annotations

import time

import pytest

from agent.deploy.values_from import hide_in_errors, hide_values, without_quotes
from fleetctl.core.formats.redact import redacted
from fleetctl.core.model.errors import HelmFailed, ToolFailed
from fleetctl.tools.helm_errors import immutable_refusals, refusals, translate, unknown_kinds

PIECES = [
    "\\",
    '"\\',
    "'",
    '"a" ',
    "`a ",
    "Secret ",
    "Secret Too long: ",
    "for object a/b v1, Kind=C: ",
    "server-side apply failed for object a/b v1, Kind=C: x && ",
    'cannot patch "a" with kind B: ',
    'no matches for kind "A" in version "b" ',
    'for name: "a" namespace: "b" from "": ',
    'failed calling webhook "a": ',
    "execution error at (a): ",
    "Invalid value: ",
    "updates to ",
    "pre-install hooks failed ",
    "a/b.yaml ",
    "a.a-",
    "password: x ",
    "https://a:b@",
    "-----BEGIN PRIVATE KEY-----",
    "eyJaaaaaaaaa.",
    "bearer aaaaaaaaaaa ",
    "\x1b[31m",
    "Error: ",
]


@pytest.mark.parametrize("start", ["", '"'])
@pytest.mark.parametrize("piece", PIECES)
def test_a_long_message_is_read_in_time(start: str, piece: str) -> None:
    """Each reader that stands between helm's stderr and the report; without a bound some of these
    take days.
    """
    text = start + piece * (60_000 // len(piece)) + "!"
    began = time.process_time()
    error = translate(f"Error: {text * 3}".encode(), "release a/b")
    helm_error = error if isinstance(error, HelmFailed) else HelmFailed("helm failed")
    helm_error.output = helm_error.output or text
    refusals(helm_error), unknown_kinds(helm_error), immutable_refusals(helm_error)
    short = (start + piece * 700)[:700]
    without_quotes(short)
    redacted(short)
    hide_values(short, [{"password": "hunter22", "n": piece}])
    with pytest.raises(ToolFailed), hide_in_errors([{"a": "secret-value"}]):
        raise ToolFailed(short, subject="x", next_step="y")
    assert time.process_time() - began < 20
    assert len(error.summary) < 3_000
