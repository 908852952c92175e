"""Gives this checkout's `agent` the name that it has where fleetctl is installed."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[4] / "agent")]
