"""A bundle that helm's record cannot hold, as several releases: whole objects spread over parts.

Rule: part 1 is the release itself, part n is called `NAME.part-N`, which no bundle may be called; an object keeps its part over the
generations, and one that must move is handed over, never deleted and made again.
"""

from __future__ import annotations

from agent.journal import Entry
from fleetctl.core.render import part_name
from fleetctl.tools.helm import Release

PART = "fleetctl-part"  # label of every part's record but the first


def releases_of(entry: Entry) -> list[Release]:
    """Every release that holds something of the bundle, the bundle's own first; empty when none was ever made."""
    if not entry.release:
        return []
    return [Release(part_name(entry.release, part), entry.namespace) for part in (1, *entry.parts)]
