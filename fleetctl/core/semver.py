"""Version constraints as helm reads them (github.com/Masterminds/semver v3).

Terms are joined by a comma or a space (and) and by `||` (or): `=1.2`, `!=1.2.3`, `>`, `>=`, `<`, `<=`, `~1.2.3`, `^1.2`, `1.2.x`, `*`, and
`1.2 - 2.3`. A prerelease matches only where the constraint's own version names one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from fleetctl.core.errors import UsageError

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_TERM = re.compile(
    r"\s*(!=|>=|=>|<=|=<|=|>|<|~>|~|\^)?\s*v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\s*"
)
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_ANY = frozenset("xX*")


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
    low: Version | None
    high: Version | None  # not included
    excluded: bool
    names_prerelease: bool


def parse(text: str) -> Version | None:
    """`text` as a version, missing parts being 0; None when it is none."""
    found = _VERSION.fullmatch(text.strip())
    if not found:
        return None
    major, minor, patch = (int(part or 0) for part in found.group(1, 2, 3))
    return Version(major, minor, patch, _pre(found[4]))


def best(constraint: str, versions: Iterable[str]) -> str | None:
    """The highest of `versions` that the constraint allows; "" allows every release. Raises UsageError on a wrong constraint."""
    either = [_terms(part) for part in (constraint.strip() or "*").split("||")]
    known = [(version, text) for text in versions if (version := parse(text)) is not None]
    allowed = [(version, text) for version, text in known if any(all(_holds(t, version) for t in terms) for terms in either)]
    return max(allowed)[1] if allowed else None


def _pre(text: str | None) -> tuple[object, ...]:
    if not text:
        return (1,)
    parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in text.split(".")]
    return (0, tuple(parts))


def _terms(text: str) -> list[_Term]:
    text = _HYPHEN.sub(r">=\1 <=\2", text)
    found, at = [], 0
    text = text.replace(",", " ")
    while at < len(text):
        match = _TERM.match(text, at)
        if not match or match.end() == at:
            step = "Write it like 1.2.3, ~1.2, ^2 or >=1.0 <2.0."
            raise UsageError(f"version constraint {text.strip()!r} is not understood", next_step=step)
        found.append(_term(match))
        at = match.end()
    return found


def _term(match: re.Match[str]) -> _Term:
    op = (match[1] or "=").replace("=>", ">=").replace("=<", "<=").replace("~>", "~")
    given = [None if part is None or part in _ANY else int(part) for part in match.group(2, 3, 4)]
    if None in given:
        given = [part if None not in given[: at + 1] else None for at, part in enumerate(given)]
    exact = None not in given
    low = Version(given[0] or 0, given[1] or 0, given[2] or 0, _pre(match[5]))
    return _range(op, low, _after(given), exact=exact)._replace(names_prerelease=match[5] is not None)


def _after(given: list[int | None]) -> Version | None:
    """The first version behind the range that a partial version stands for."""
    major, minor, patch = given
    if major is None:
        return None
    if minor is None:
        return _first(major + 1, 0, 0)
    return _first(major, minor + 1, 0) if patch is None else None


def _first(major: int, minor: int, patch: int) -> Version:
    """Below every prerelease of that version, so that a range ends before them."""
    return Version(major, minor, patch, (0, ()))


def _range(op: str, low: Version, after: Version | None, *, exact: bool) -> _Term:
    just_above = low._replace(pre=(*low.pre, ())) if exact else after
    match op:
        case ">":
            return _Term(just_above or _first(2**62, 0, 0), None, excluded=False, names_prerelease=False)
        case ">=":
            return _Term(low, None, excluded=False, names_prerelease=False)
        case "<":
            return _Term(None, low, excluded=False, names_prerelease=False)
        case "<=":
            return _Term(None, just_above, excluded=False, names_prerelease=False)
        case "~":
            return _Term(low, after or _first(low.major, low.minor + 1, 0), excluded=False, names_prerelease=False)
        case "^":
            return _Term(low, _caret(low, after), excluded=False, names_prerelease=False)
        case _:
            return _Term(low, just_above, excluded=op == "!=", names_prerelease=False)


def _caret(low: Version, after: Version | None) -> Version | None:
    if low.major:
        return _first(low.major + 1, 0, 0)
    if after is not None and not low.minor:
        return after
    return _first(0, low.minor + 1, 0) if low.minor else _first(0, 0, low.patch + 1)


def _holds(term: _Term, version: Version) -> bool:
    if version.is_prerelease and not term.names_prerelease:
        return False
    inside = (term.low is None or version >= term.low) and (term.high is None or version < term.high)
    return inside is not term.excluded
