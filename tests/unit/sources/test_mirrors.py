"""A mirror stands for whole origins and whole path segments."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.core.model.errors import UsageError
from fleetctl.sources.mirrors import mirror_url, parse_mirrors
from manager.config import parse

MIRRORS = {"https://a.example": "http://m", "https://a.example/team/": "http://n/x/"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", "http://m"),
        ("https://a.example/", "http://m/"),
        ("https://a.example/web?x=1", "http://m/web?x=1"),
        ("HTTPS://A.example:443/web", "http://m/web"),
        ("https://a.example/team", "http://n/x/"),
        ("https://a.example/team/web", "http://n/x/web"),
        ("https://a.example/teamwork", "http://m/teamwork"),
    ],
)
def test_the_longest_prefix_of_whole_segments_counts(url: str, expected: str) -> None:
    assert mirror_url(url, MIRRORS) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example.evil/web",
        "https://a.example@evil.example/web",
        "https://a.example:8443/web",
        "http://a.example/web",
        "https://a.example./web",
        "https://a.example\\@evil/web",
        "https://a.example/team/../admin",
        "https://a.example/team/%2e%2e/admin",
        "https://a.example/team/..%5cadmin",
        "https://evil.example/https://a.example/",
        "https://[a.example/web",
        "https://a.example:0/web",
        "git@a.example:team/web",
        "",
    ],
)
def test_what_only_begins_alike_is_not_mirrored(url: str) -> None:
    assert mirror_url(url, MIRRORS) == url


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "https://a.example=",
        "=https://m",
        "a.example=https://m",
        "https://a.example=m",
        "https://a.example=file:///etc",
        "https://=https://m",
        "https://a.example/?x=https://m",
        "https://a.example/#x=https://m",
        "https://a.example:99999=https://m",
        "https://a.example=https://user:secret@m",
        "https://user@a.example=https://m",
        "https://a.example/../x=https://m",
        "https://a.example=https://m\\x",
    ],
)
def test_a_mirror_that_is_not_plain_is_refused_at_the_start(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["serve", "--data-dir", str(tmp_path), "--mirror", text])
    assert "--mirror" in caught.value.summary + caught.value.subject
    assert caught.value.next_step
    assert "secret" not in caught.value.summary


def test_one_prefix_has_one_mirror() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_mirrors(["https://a.example=https://m", "https://A.example:443/=https://n"])


def test_a_query_of_the_mirror_is_refused() -> None:
    with pytest.raises(UsageError):
        parse_mirrors(["https://a.example=https://m/?x="])
