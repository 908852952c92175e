"""Bundle names as Fleet makes them, so that a fleet that moves over keeps its names (rancher/fleet
`names` and `bundlereader`).
"""

from __future__ import annotations

import hashlib
import re

from fleetctl.core.model.ids import BundleName, RepoName

_LIMIT = 53  # helm's for a release name
_MAX_PREFIX = 47


def bundle_name(repo: RepoName, path: str) -> BundleName:
    """The name for the directory `path` ("" is the root) of the repository `repo`; at most 53
    characters.
    """
    return clean(f"{repo}-{path}" if path else repo)


def clean(text: str) -> BundleName:
    """Any text as a valid name: lower case, dashes, and a hash where something was lost."""
    name = text.replace("/", "-")
    base = re.sub(r"[^a-zA-Z0-9-]+", "-", name)
    if base != name or base.lower() != base:
        base = f"{base}-{_md5(name)[:8]}"
    base = re.sub(r"-{2,}", "-", base.lower()).strip("-")
    if not re.search(r"[a-z0-9]", re.sub(r"[^a-zA-Z0-9]", "", text)):
        return BundleName(_md5(name)[:24])
    return BundleName(_limit(base))


def _limit(name: str) -> str:
    if len(name) <= _LIMIT:
        return name
    start = name[:_MAX_PREFIX]
    return start + ("" if start.endswith("-") else "-") + _md5(name)[:5]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
