"""Which Python versions have known security holes that concern a manager or an agent."""

from __future__ import annotations

from collections.abc import Sequence

# Minor version: the first patch level with the fix of CVE-2024-6232 (tarfile, quadratic time).
_FIRST_SAFE_PATCH = {(3, 11): 10, (3, 12): 6}


def describe_hole(version: Sequence[int]) -> str:
    """A warning in one line for `sys.version_info`, or "" for a version without known holes."""
    major, minor, patch = version[:3]
    first_safe = _FIRST_SAFE_PATCH.get((major, minor), 0)
    if patch >= first_safe:
        return ""
    safe = f"{major}.{minor}.{first_safe}"
    return f"Python {major}.{minor}.{patch} has CVE-2024-6232; upgrade to Python {safe} or later"
