"""What may be asked, what may be shown, and what stands for what."""

from __future__ import annotations

import asyncio

import pytest

from fleetctl.core.model.errors import RefusedError, SourceError
from fleetctl.sources.egress import EgressPolicy, origin, printable_url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://127.8.9.1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/x",
        "http://[fd00:ec2::254]/x",
        "http://100.100.100.200/x",
        "http://0.0.0.0/x",
        "http://0.1.2.3/x",
        "http://224.0.0.1/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "file:///etc/passwd",
        "http:///x",
        "gopher://example.com/x",
    ],
)
def test_addresses_of_the_machine_itself_are_refused(url: str) -> None:
    """However they are written."""
    with pytest.raises(RefusedError):
        asyncio.run(EgressPolicy().addresses(url))


@pytest.mark.parametrize(
    ("url", "policy"),
    [
        ("http://127.0.0.1/x", EgressPolicy(allow=("127.0.0.0/8",))),
        ("http://localhost:8080/x", EgressPolicy(allow=("localhost",))),
        ("https://10.1.2.3/x", EgressPolicy()),
        ("https://[fd12::1]/x", EgressPolicy()),
        ("https://192.0.2.1/x", EgressPolicy(deny=("10.0.0.0/8",))),
    ],
)
def test_what_is_listed_or_private_is_allowed(url: str, policy: EgressPolicy) -> None:
    """The addresses come back, to be connected to."""
    assert asyncio.run(policy.addresses(url))


def test_denied_networks_are_refused() -> None:
    """Private ranges too, where an administrator says so; a host that is allowed by name is not."""
    with pytest.raises(RefusedError, match=r"10.1.2.3 is at 10.1.2.3"):
        asyncio.run(EgressPolicy(deny=("10.0.0.0/8",)).addresses("https://10.1.2.3/x"))
    assert asyncio.run(
        EgressPolicy(allow=("10.1.2.3",), deny=("10.0.0.0/8",)).addresses("https://10.1.2.3/x")
    ) == ["10.1.2.3"]


def test_a_name_that_nobody_knows_is_told_apart() -> None:
    """It may be known later."""
    with pytest.raises(SourceError, match="cannot be resolved"):
        asyncio.run(EgressPolicy().addresses("https://no.such.host.invalid/x"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://ada:secret@git.example:8443/a.git", "https://git.example:8443/a.git"),
        ("https://ada:secret@[::1]:8443/a", "https://[::1]:8443/a"),
        ("https://ada:sec\x1b[31mret@git.example/a", "https://git.example/a"),
        ("https://ada:secret@git.example:port/a", "https://git.example:port/a"),
        (
            "https://git.example/a?k=secret&version=1#secret",
            "https://git.example/a?k=***&version=1",
        ),
        ("//ada:secret@git.example/a", "//git.example/a"),
        ("https:/ada:secret@git.example/a", "https:/***@git.example/a"),
        ("git@example.com:x.git", "git@example.com:x.git"),
    ],
)
def test_nothing_secret_is_shown(url: str, text: str) -> None:
    """Nor what would move a terminal's cursor."""
    assert printable_url(url) == text


def test_an_origin_is_scheme_host_and_port() -> None:
    """Default ports are the same as none."""
    assert origin("https://A.example/x") == origin("https://a.example:443/y?z")
    assert origin("https://a.example") != origin("http://a.example")
    assert origin("https://a.example:x/") != origin("https://b.example:x/")
