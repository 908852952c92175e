"""Statements about agent releases: what is signed, the file, the runtime that they name, and which
version is newer.
"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from fleetctl.core.model.agent_release import (
    AgentRelease,
    Runtime,
    is_newer,
    of_file,
    release_bytes,
    runtime_of,
    to_file,
)
from fleetctl.core.model.errors import UsageError

RELEASE = AgentRelease(
    version="0.2.0",
    python="cpython-3.11",
    platform="x86_64-linux-gnu",
    size=1234,
    sha256="ab" * 32,
    key_id="00" * 8,
    signature="c2ln",
)


def test_the_signed_bytes_are_these():
    """Frozen: what was signed once must verify for ever."""
    assert release_bytes(RELEASE) == (
        b"fleet-agent-release-v1\n0.2.0\ncpython-3.11\nx86_64-linux-gnu\n1234\n"
        + b"ab" * 32
        + b"\nreplaces-older"
    )


def test_every_field_but_the_signature_is_signed():
    """Changing any of them changes the bytes."""
    others = {
        "version": "0.2.1",
        "python": "cpython-3.12",
        "platform": "aarch64-linux-gnu",
        "size": 1,
        "sha256": "cd" * 32,
    }
    changed = [
        msgspec.structs.replace(RELEASE, **{name: value})
        for name, value in (others | {"replaces_newer": True}).items()
    ]
    assert len({release_bytes(r) for r in [RELEASE, *changed]}) == len(changed) + 1


def test_a_signature_file_reads_back_as_itself():
    """With and without the permission to replace a newer version."""
    for release in (RELEASE, msgspec.structs.replace(RELEASE, replaces_newer=True)):
        assert of_file(to_file(release), file="x.sig") == release


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.2.0\nevil"},
        {"version": "../../etc/passwd"},
        {"version": ""},
        {"python": "cpython 3.11"},
        {"platform": "x\n"},
        {"sha256": "AB" * 32},
        {"size": 0},
        {"size": 1 << 40},
        {"format": "fleet-agent-release-v2"},
        {"size": "1234"},
    ],
)
def test_a_file_that_is_not_a_statement_is_refused(change: dict[str, object]):
    """No field can hold another's line, and a version is never a path."""
    fields = {"format": "fleet-agent-release-v1"} | msgspec.to_builtins(RELEASE) | change
    with pytest.raises(UsageError):
        of_file(msgspec.json.encode(fields), file="x.sig")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"null", b'{"format":"fleet-agent-release-v1"}']
)
def test_bytes_that_are_no_statement_are_refused(data: bytes):
    """One line, never a trace."""
    with pytest.raises(UsageError):
        of_file(data, file="x.sig")


def test_the_runtime_is_what_compiled_libraries_must_fit():
    """Python, machine and C library, as extension modules are named."""
    assert runtime_of(".cpython-311-x86_64-linux-gnu.so") == Runtime(
        "cpython-3.11", "x86_64-linux-gnu"
    )
    assert runtime_of(".cpython-313-aarch64-linux-musl.so") == Runtime(
        "cpython-3.13", "aarch64-linux-musl"
    )
    assert runtime_of(".cpython-312-darwin.so") == Runtime("cpython-3.12", "darwin")
    assert runtime_of(".so") == Runtime("unknown", "unknown")


def test_versions_in_their_order():
    """Each is newer than every one before it, and none than itself."""
    rising = [
        "0.1.0a1",
        "0.1.0rc1",
        "0.1.0",
        "0.1.0+build.2",
        "0.1.0+build.10",
        "0.1.1",
        "0.2",
        "0.10.0",
        "1.0",
        "v2.0",
    ]
    for (at, one), (other_at, other) in itertools.product(enumerate(rising), repeat=2):
        assert is_newer(one, other) == (at > other_at), (one, other)
    assert is_newer("1.0.0", "1.0") is False


def test_a_version_without_numbers_is_neither():
    """Who cannot tell says so."""
    assert is_newer("main", "0.1.0") is None
