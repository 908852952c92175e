"""Version constraints as helm reads them.

Terms are joined by a comma or a space (and) and by `||` (or): `=1.2`, `!=1.2.3`, `>`, `>=`, `<`,
`<=`, `~1.2.3`, `^1.2`, `1.2.x`, `*`, and `1.2 - 2.3`. A prerelease matches only where a term of the
same group names one.

Source: github.com/Masterminds/semver v3 `constraints.go`, followed case by case; the tests compare
with helm's own `semverCompare`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fleetctl.core.model.errors import UsageError

_TAIL = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = re.compile(r"v?(\d{1,18})(?:\.(\d{1,18}))?(?:\.(\d{1,18}))?" + _TAIL)
_OPS = r"=|!=|>=|=>|<=|=<|>|<|~>|~|\^|"
_PART = r"\d{1,18}|[xX*]"
_TERM = re.compile(rf"({_OPS})\s*v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?{_TAIL}")
_JOINT = re.compile(r"\s*,\s*|\s+")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")


# Masterminds/semver has the first; `_HYPHEN` takes time quadratic in the length of a word.
_MAX_VERSION, _MAX_CONSTRAINT = 256, 1_000


class Version(NamedTuple):
    """Sorts as SemVer 2 says: `pre` is (1,) for a release, else (0, parts)."""

    major: int
    minor: int
    patch: int
    pre: tuple[object, ...]

    @property
    def is_prerelease(self) -> bool:
        return self.pre[0] == 0


class _Term(NamedTuple):
    """`given` parts of the version: 3 are a full one, 2 lack the patch, 1 the minor too, 0 is `*`;
    what lacks counts as 0 in `at`.
    """

    holds: Callable[[Version, _Term], bool]
    at: Version
    given: int


def parse(text: str) -> Version | None:
    """`text` as a version, missing parts being 0; None when it is none."""
    match = _VERSION.fullmatch(text.strip()) if len(text) <= _MAX_VERSION else None
    if not match:
        return None
    major, minor, patch = (int(part or 0) for part in match.group(1, 2, 3))
    return Version(major, minor, patch, _pre(match[4]))


def best(constraint: str, versions: Iterable[str]) -> str | None:
    """The highest of `versions` that the constraint allows; "" allows every release. Raises
    UsageError on a wrong constraint.
    """
    if len(constraint) > _MAX_CONSTRAINT:
        step = "Write it like 1.2.3, ~1.2, ^2 or >=1.0 <2.0."
        raise UsageError(
            f"a version constraint longer than {_MAX_CONSTRAINT} characters",
            subject=constraint[:100],
            next_step=step,
        )
    text = _HYPHEN.sub(r">=\1, <=\2", constraint) if constraint.strip() else "*"
    groups = [_group(part, constraint) for part in text.split("||")]
    candidates = [(version, text) for text in versions if (version := parse(text)) is not None]
    matching = [
        (version, text)
        for version, text in candidates
        if any(_all(group, version) for group in groups)
    ]
    return max(matching)[1] if matching else None


def _pre(text: str | None) -> tuple[object, ...]:
    if not text:
        return (1,)
    parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in text.split(".")]
    return (0, tuple(parts))


def _group(text: str, whole: str) -> list[_Term]:
    """The terms that must all hold."""
    terms: list[_Term] = []
    at, text = 0, text.strip()
    while at < len(text) or not terms:
        match = _TERM.match(text, at)
        joint = _JOINT.match(text, match.end()) if match else None
        end = match.end() if match else at
        if match is None or (end < len(text) and (joint is None or joint.end() == len(text))):
            step = "Write it like 1.2.3, ~1.2, ^2 or >=1.0 <2.0."
            raise UsageError(
                f"version constraint {whole!r} is not understood", subject=whole, next_step=step
            )
        terms.append(_term(match))
        at = joint.end() if joint else end
    return terms


def _term(match: re.Match[str]) -> _Term:
    parts = []
    for part in match.group(2, 3, 4):
        if part is None or not part.isdigit():
            break
        parts.append(int(part))
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return _Term(_CHECKS[match[1]], Version(major, minor, patch, _pre(match[5])), len(parts))


def _all(group: list[_Term], version: Version) -> bool:
    if version.is_prerelease and not any(term.at.is_prerelease for term in group):
        return False
    return all(term.holds(version, term) for term in group)


def _equal(version: Version, term: _Term) -> bool:
    return version == term.at if term.given == 3 else _tilde(version, term)


def _not_equal(version: Version, term: _Term) -> bool:
    if term.given in {3, 0}:
        return version != term.at
    if version[: term.given] != term.at[: term.given]:
        return True
    return (
        term.given == 2
        and (version.is_prerelease or term.at.is_prerelease)
        and version.pre != term.at.pre
    )


def _greater(version: Version, term: _Term) -> bool:
    return (
        version > term.at if term.given in {3, 0} else version[: term.given] > term.at[: term.given]
    )


def _less_or_equal(version: Version, term: _Term) -> bool:
    if term.given == 3:
        return version <= term.at
    return version[: term.given or 2] <= term.at[: term.given or 2]


def _tilde(version: Version, term: _Term) -> bool:
    if version < term.at:
        return False
    if term.at[:3] == (0, 0, 0) and term.given in {3, 0}:
        return True
    return version[: min(term.given, 2)] == term.at[: min(term.given, 2)]


def _caret(version: Version, term: _Term) -> bool:
    if version < term.at:
        return False
    if term.at.major or term.given == 1:
        return version.major == term.at.major
    if term.at.minor or term.given == 2:
        return version[:2] == term.at[:2]
    return version[:3] == term.at[:3]


_CHECKS: dict[str, Callable[[Version, _Term], bool]] = {
    "": _equal,
    "=": _equal,
    "!=": _not_equal,
    ">": _greater,
    "<": lambda version, term: version < term.at,
    ">=": lambda version, term: version >= term.at,
    "=>": lambda version, term: version >= term.at,
    "<=": _less_or_equal,
    "=<": _less_or_equal,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}
