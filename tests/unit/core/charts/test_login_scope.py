"""The login for chart repositories goes only to addresses that the pattern names from the start."""

from __future__ import annotations

import time

import pytest

from fleetctl.core.charts.login_scope import check_pattern, describe_wide_pattern, may_have_login
from fleetctl.core.model.errors import UsageError

PATTERN = r"https://charts\.example\.com/team"


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        (PATTERN, "https://charts.example.com/team"),
        (PATTERN, "https://charts.example.com/team/web-1.0.0.tgz?sig=1"),
        (PATTERN, "HTTPS://Charts.EXAMPLE.com:443/team"),
        (f"^{PATTERN}$", "https://charts.example.com/team"),
        (r"https://charts\.example\.com", "https://charts.example.com"),
        (r"https://charts\.example\.com:443/", "https://charts.example.com/"),
        (r"https://charts\.example\.com:8443", "https://charts.example.com:8443/x"),
        (r"https://charts.example.com/*", "https://charts.example.com/team"),
        (r"charts\.example\.com/", "https://charts.example.com/team"),
        (r"ghcr\.io/acme/", "oci://ghcr.io/acme/web"),
        (r"oci://ghcr\.io/acme/.*|https://a\.example", "https://a.example/x"),
        (r"http://127\.0\.0\.1:8080/", "http://127.0.0.1:8080/charts"),
        (r"https://\[::1\]:8443/", "https://[::1]:8443/charts"),
        (PATTERN, "https://charts.example.com/index/../team/web-1.0.0.tgz"),
        (PATTERN, "https://charts.example.com/./team/."),
        (PATTERN, "https://charts.example.com/team/v1%2E0/..web/web-1.0.0.tgz"),
        (
            r"https://git\.example/p/group%2Fproject/",
            "https://git.example/p/group%2Fproject/stable",
        ),
    ],
)
def test_a_named_address_gets_the_login(pattern: str, address: str) -> None:
    assert may_have_login(pattern, address)


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/?https://charts.example.com/team",
        "https://evil.example/https://charts.example.com/team",
        "https://evil.example/#https://charts.example.com/team",
        "https://charts.example.com/team@evil.example/",
        "https://charts.example.com@evil.example/team",
        "https://charts.example.com%2fteam@evil.example/team",
        "https://charts.example.com.evil.example/team",
        "https://charts.example.com./team",
        "https://charts.example.com:444/team",
        "http://charts.example.com/team",
        "http://charts.example.com:443/team",
        "oci://charts.example.com/team",
        "https://charts.example.com\\@evil.example/team",
        "https://evil.example\\.charts.example.com/team",
        "https://charts.example.com/other",
        "https://charts.example.com/team-of-others",
        "https://charts.example.com/team/../other",
        "https://charts.example.com/team/./..",
        "https://charts.example.com/team/x/../../other",
        "https://charts.example.com/team/%2e%2E/other",
        "https://charts.example.com/team/.%2e/other",
        "https://charts.example.com/team/%252e%252e/other",
        "https://charts.example.com/team%2f..%2fother",
        "https://charts.example.com/team%5C..%5Cother",
        "https://charts.example.com/team/x%2F%2e%2E%2f..%2Fother",
        "https://charts.example.com/team/..;/other",
        "https://charts.example.com/team/..;a=b/other",
        "https://ch\u0430rts.example.com/team",
        "https://charts\u3002example.com/team",
        "https://charts.example.com\n/team",
        " https://charts.example.com/team",
        "//charts.example.com/team",
        "charts.example.com/team",
        "",
    ],
)
def test_another_address_gets_no_login(address: str) -> None:
    assert not may_have_login(PATTERN, address)


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("", "https://charts.example.com/"),
        (r"charts\.example\.com/", "http://charts.example.com/"),
        (r"charts\.example\.com", "https://evil.example/charts.example.com"),
        (r"https://charts", "https://charts.example.com/"),
        (r"https://charts\.example\.com", "https://charts.example.com.evil.example/"),
        (r".*\?x=1", "https://evil.example/?x=1"),
        (r"a)|(?:.*", "https://evil.example/"),
        (r"(?=x)", "https://evil.example/"),
    ],
)
def test_a_pattern_fits_from_the_start_and_the_whole_host(pattern: str, address: str) -> None:
    assert not may_have_login(pattern, address)


def test_a_pattern_takes_linear_time() -> None:
    """Each of these occupies a backtracking engine for years."""
    address = "https://" + "a" * 60 + ".example/" + "a" * 1900 + "!"
    started = time.perf_counter()
    for pattern in ("((a+))+$", "https://(a|aa)+$", "(.*.*.*=)+x", "((((.*)*)*)*)*=$"):
        assert not may_have_login(pattern, address)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("pattern", ["(", "a**", "(?=x)", r"(a)\1", "a{1,5000}", "a)|(?:b"])
def test_a_pattern_that_go_refuses_is_an_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="not a regular expression"):
        check_pattern(pattern, "GitRepo web")


@pytest.mark.parametrize(
    "pattern",
    [
        "https://charts.example.com/",
        r"https://.*\.example\.com/",
        r"https://charts\.example\.com.*",
        r"https://charts\.example\.com/?.*",
        r"https://charts\.example\.com/*x",
        r"https://charts\.example\.com/|.*",
        r"https://(a|b)\.example/",
        ".*",
        r"HTTPS://a\.example/",
        r".*charts\.example\.com/",
    ],
)
def test_a_host_that_is_not_literal_is_warned_of(pattern: str) -> None:
    assert "not literal" in describe_wide_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        PATTERN,
        f"^{PATTERN}/.*$",
        r"https?://localhost:8080/",
        r"oci://ghcr\.io/acme/(web|api)",
        r"https://a\.example|https://b\.example/x",
        r"charts\.example\.com/",
        r"https://\[::1\]:8443/",
    ],
)
def test_a_literal_host_is_not_warned_of(pattern: str) -> None:
    assert describe_wide_pattern(pattern) == ""
