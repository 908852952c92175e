"""Fetches the archives of bundles that wait.

A bundle that waits for others may have to start while the manager is away.
"""

from __future__ import annotations

import asyncio

from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.wire import DesiredBundle

from ..deploy import install
from ..deploy.context import ReleaseContext
from ..host.log import trouble


class ArchivePrefetch:
    """`slots` bounds the fetches together with the work on releases."""

    def __init__(self, context: ReleaseContext, slots: asyncio.Semaphore) -> None:
        self._context, self._slots = context, slots
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, bundle: DesiredBundle) -> None:
        """Start a fetch, unless the archive is there or a fetch of it runs."""
        path = self._context.state_dir / "archives" / bundle.archive
        if bundle.archive not in self._tasks and not path.exists():
            self._tasks[bundle.archive] = asyncio.create_task(self._fetch(bundle))

    async def _fetch(self, bundle: DesiredBundle) -> None:
        try:
            async with self._slots:
                await install.archive(self._context, bundle)
        except (FleetError, OSError) as error:
            trouble(f"bundle {bundle.name}", f"its archive cannot be fetched ahead: {error}")
        finally:
            del self._tasks[bundle.archive]
