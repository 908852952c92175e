"""The version of this program."""

from __future__ import annotations


def version() -> str:
    from importlib import metadata

    try:
        return metadata.version("fleetctl")
    except metadata.PackageNotFoundError:
        return "0+checkout"
