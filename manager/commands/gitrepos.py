"""What a person has the manager do with a GitRepo: read Git now, and confirm held removals."""

from __future__ import annotations

from ..fleet_views import FleetViews
from ..ingest.scanner import Scanner


class GitRepoCommands:
    """Commands on GitRepos."""

    def __init__(self, views: FleetViews, scanner: Scanner) -> None:
        self._views, self._scanner = views, scanner

    async def sync(self, workspace: str, name: str) -> None:
        """Have the GitRepo scanned now. Raises NotFound."""
        await self._views.get_object("GitRepo", workspace, name)
        self._scanner.poke(workspace, name, again=True)

    async def confirm(self, workspace: str, name: str, removals: int, commit: str) -> None:
        """Confirm the removals that a scan of `commit` holds. Raises Conflict when their number
        differs.
        """
        await self._scanner.confirm(workspace, name, removals, commit)
