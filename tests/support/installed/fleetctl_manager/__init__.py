"""Gives this checkout's `manager` the name that it has where fleetctl is installed."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[4] / "manager")]
