"""Names of things, each a type of its own, so that a bundle's name is never passed where a
cluster's is meant.
"""

from __future__ import annotations

import re
from typing import NewType

Workspace = NewType("Workspace", str)  # Fleet's namespace: `fleet-default`, `fleet-local`
# made by the manager at enrolment, never changes: `c-` and 20 hex digits
ClusterId = NewType("ClusterId", str)
ClusterName = NewType("ClusterName", str)
GroupName = NewType("GroupName", str)
RepoName = NewType("RepoName", str)
BundleName = NewType("BundleName", str)
Digest = NewType("Digest", str)  # 64 lower-case hex digits of a SHA-256
CommitId = NewType("CommitId", str)  # 40 (or 64) lower-case hex digits
Generation = NewType("Generation", int)  # per (cluster, bundle), only grows
Epoch = NewType("Epoch", int)  # per store, raised by every restore

DEFAULT_WORKSPACE = Workspace("fleet-default")
LOCAL_WORKSPACE = Workspace("fleet-local")

# RFC 1123 subdomain, as Kubernetes demands of object names.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_name(text: str, *, limit: int = 253) -> bool:
    """Whether Kubernetes would accept `text` as an object's name of at most `limit` characters."""
    return len(text) <= limit and _NAME.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None
