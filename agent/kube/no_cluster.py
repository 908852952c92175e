"""The client of an agent without a cluster: its manifests go into a directory."""

from __future__ import annotations

from collections.abc import Mapping

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.json_object import JsonObject

from .client import Kube
from .discovery import Discovery


class NoCluster(Kube):
    """Refuses every call."""

    is_there = False

    def __init__(self) -> None:
        self._client = self._old_client = None
        self.discovery = Discovery(self)

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        raise UsageError(
            "a directory target has no cluster to read from",
            subject=path,
            next_step="Leave out valuesFrom, or use a cluster.",
        )
