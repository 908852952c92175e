"""Prints `status.reasons`: what is wrong, on how many clusters, and the next step."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_count, format_times


def show(item: dict[str, Any]) -> None:
    """Print one line for each reason, with its hint below. Prints nothing without reasons."""
    status = item.get("status") or {}
    for reason in status.get("reasons") or []:
        for text in lines(reason):
            out.line(text)
    omitted_reasons = status.get("reasonsOmitted") or {}
    if omitted_reasons:
        out.line(
            f"and {format_count(omitted_reasons['count'], 'deployment')} more, with"
            f" {format_count(omitted_reasons['reasons'], 'other reason')}"
        )


def lines(reason: dict[str, Any]) -> list[str]:
    """`ErrApplied (3, one is paris): no such image`, and the hint."""
    example = reason.get("example") or {}
    cluster = str(example.get("cluster") or "")
    amount = f"{reason['count']}, one is {cluster}" if reason["count"] > 1 else cluster
    texts = [f"{reason['state']} ({amount}): {format_times(str(reason['cause']))}"]
    return texts + ([f"    {reason['code']}: {reason['hint']}"] if reason.get("hint") else [])
