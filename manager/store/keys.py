"""Keys that identify rows in more than one table."""

from __future__ import annotations

from typing import TypeAlias

from fleetctl.core.model.ids import BundleName, Workspace

BundleKey: TypeAlias = tuple[Workspace, BundleName]
