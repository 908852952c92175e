"""Versions sort as SemVer 2 says, and constraints choose as helm does."""

from __future__ import annotations

import pytest

from fleetctl.core.formats.semver import best, parse
from fleetctl.core.model.errors import UsageError

KNOWN = (
    "0.3.0",
    "1.0.0",
    "v1.2.0",
    "1.2.5",
    "1.10.1",
    "2.0.0-rc.1",
    "2.0.0-rc.10",
    "not-a-version",
    "3.0.0-alpha",
)


@pytest.mark.parametrize(
    ("constraint", "chosen"),
    [
        ("", "1.10.1"),
        ("*", "1.10.1"),
        ("1.2", "1.2.5"),
        ("~1.2.0", "1.2.5"),
        ("^0", "0.3.0"),
        ("1.2.0", "v1.2.0"),
        (">1.2.5", "1.10.1"),
        ("1.0 - 1.2", "1.2.5"),
        ("<1 || >= 2.0.0-0, < 3.0.0-0", "2.0.0-rc.10"),
        (">=2.0.0", None),
        ("!=1.10.x", "1.2.5"),
        (">2 <1", None),
    ],
)
def test_the_highest_allowed_version_is_chosen(constraint: str, chosen: str | None) -> None:
    """Prereleases only where the constraint names one; what is no version is passed over."""
    assert best(constraint, KNOWN) == chosen


@pytest.mark.parametrize(
    "constraint",
    ["latest", "1.2.3,", "||", "1 ||", ">", "1.2.3.4", "^1,,^2", "1.2.3-", "^1 - ^2", "1" * 400],
)
def test_a_wrong_constraint_is_refused(constraint: str) -> None:
    """With an example of a right one, and without a long walk."""
    with pytest.raises(UsageError, match="is not understood"):
        best(constraint, KNOWN)


def test_versions_sort_as_semver_says() -> None:
    """The list of the specification, section 11."""
    texts = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ]
    versions = [parse(text) for text in texts]
    assert versions == sorted(versions)
    assert parse("1.0.0+a") == parse("1.0.0+b") == parse("v1")
    assert parse("1.x") is parse("") is None
