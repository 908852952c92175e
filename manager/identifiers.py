"""Creates the identifiers of stored objects."""

from __future__ import annotations

import secrets

from fleetctl.core.model.ids import ClusterId


def new_uid() -> str:
    """A random identifier in the form of a UUID."""
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_cluster_id() -> ClusterId:
    return ClusterId(f"c-{secrets.token_hex(10)}")
