"""The version of the installed distribution."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    try:
        return metadata.version("fleetctl")
    except metadata.PackageNotFoundError:
        return "0+checkout"
