"""Prometheus text (exposition format 0.0.4): the service's numbers and the door's own counters.
Names and labels only, no secrets.

A key of the service's mapping may carry labels in Prometheus' own form:
`fleet_clusters{state="Ready"}`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_KEY = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^\n]*\})?")


class Counters:
    """Requests by area and status class, and what was shed; kept in memory since the start."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()

    def count(self, area: str, status: int) -> None:
        self.requests[area, f"{status // 100}xx"] += 1

    def as_metrics(self) -> dict[str, float]:
        return {
            f'fleet_http_requests_total{{area="{a}",status="{s}"}}': float(n)
            for (a, s), n in self.requests.items()
        }


def text(*sources: Mapping[str, float]) -> str:
    """All numbers, sorted, each family with its type. Raises ValueError on a key that is not a
    metric's name.
    """
    lines: list[str] = []
    family = ""
    for key, value in sorted((k, v) for source in sources for k, v in source.items()):
        values = _KEY.fullmatch(key)
        if not values:
            raise ValueError(f"not a metric: {key!r}")
        if values[1] != family:
            family = values[1]
            lines.append(f"# TYPE {family} {'counter' if family.endswith('_total') else 'gauge'}")
        lines.append(f"{key} {value:g}" if value != int(value) else f"{key} {int(value)}")
    return "\n".join(lines) + "\n"
