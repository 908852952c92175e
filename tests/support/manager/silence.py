"""Makes clusters silent without waiting."""

from __future__ import annotations

from fleetctl.core.model.ids import ClusterId
from manager.presence import PresenceTable


def silence(live: PresenceTable, cluster: ClusterId, seconds: float) -> None:
    """The cluster was heard `seconds` earlier than it was, and the manager started earlier too."""
    presence = live.clusters[cluster]
    presence.last_seen -= seconds
    live.place(cluster, presence)
    live.start_time -= seconds
