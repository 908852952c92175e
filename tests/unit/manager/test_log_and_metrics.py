"""Log lines cannot be faked by what they hold; metrics are Prometheus text."""

from __future__ import annotations

import json
import logging

import pytest

from manager import log, metrics


def line(*, as_json: bool, **fields: object) -> str:
    record = logging.LogRecord("fleet-manager", logging.INFO, "", 0, "enrolled", (), None)
    record.fields = fields
    return log._Formatter(as_json=as_json).format(record)


def test_event_is_one_line_whatever_it_holds():
    """A newline in a value stays inside its quotes."""
    text = line(as_json=False, name='a b"\nlevel=error event=faked', plain="x-1")
    assert "\n" not in text
    assert text.endswith("plain=x-1")
    assert json.loads(line(as_json=True, name="a\nb"))["name"] == "a\nb"


def test_long_values_are_cut():
    """Nobody fills the log with one field."""
    assert len(line(as_json=False, name="x" * 100_000)) < 3000


def test_metrics_are_sorted_by_family_with_types():
    """Counters end in _total; a bad name is refused."""
    counters = metrics.Counters()
    counters.count("api", 204)
    text = metrics.text(
        {'fleet_clusters{state="Ready"}': 2, "fleet_load": 0.5}, counters.as_metrics()
    )
    assert "# TYPE fleet_http_requests_total counter" in text
    assert 'fleet_http_requests_total{area="api",status="2xx"} 1' in text
    assert "fleet_load 0.5" in text
    with pytest.raises(ValueError, match="not a metric"):
        metrics.text({"bad name": 1.0})
