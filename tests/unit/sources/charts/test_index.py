"""One chart's entries of an index, the same whether they are cut out or the whole is read."""

from __future__ import annotations

import json

import pytest
import yaml

from fleetctl.core.model.errors import InvalidFile
from fleetctl.sources.charts import index

ENTRIES = {
    f"chart-{n}": [
        {
            "name": f"chart-{n}",
            "version": f"{v}.0.0",
            "description": "text: - with\n  odd: lines\n" * 9,
            "urls": [f"c{n}-{v}.tgz"],
        }
        for v in range(40)
    ]
    for n in range(30)
}


@pytest.mark.parametrize("chart", ["chart-0", "chart-7", "chart-29", "none"])
@pytest.mark.parametrize("form", ["block", "json", "flow"])
def test_only_the_wanted_chart_counts(chart: str, form: str) -> None:
    """However the index is written, large as it is."""
    whole = {"apiVersion": "v1", "entries": ENTRIES, "generated": "2026-01-01"}
    text = (
        json.dumps(whole)
        if form == "json"
        else yaml.dump(whole, Dumper=yaml.CSafeDumper, default_flow_style=form == "flow")
    )
    assert len(text) > 256 * 1024
    found = index.versions(text.encode(), chart, file="index")
    assert list(found.values()) == ENTRIES.get(chart, [])


def test_an_entry_may_refer_to_another() -> None:
    """An alias that leads out of the cut is found by reading all."""
    filler = "".join(f"  f{n}:\n  - version: 1.0.0\n    home: {'x' * 500}\n" for n in range(600))
    text = (
        f"entries:\n  base: &base\n  - version: 1.0.0\n{filler}  web: *base\n  other:\n  - *base\n"
    )
    assert list(index.versions(text.encode(), "web", file="index")) == ["1.0.0"]


@pytest.mark.parametrize(
    "data",
    [
        b"<html></html>",
        b"a: 1",
        b"{",
        b"[1]",
        b"entries: []",
        b"\xff\xfe",
        b"entries: {web: [" + b"[" * 500,
    ],
)
def test_what_is_no_index_is_refused(data: bytes) -> None:
    """One line."""
    with pytest.raises(InvalidFile):
        index.versions(data, "web", file="index of https://charts.example")


def test_entries_without_a_version_are_passed_over() -> None:
    """As helm does."""
    data = b"entries: {web: [{version: 1.0.0}, {name: x}, 7, null]}"
    assert list(index.versions(data, "web", file="index")) == ["1.0.0"]


def test_an_index_with_very_long_numbers_is_read_in_linear_time() -> None:
    """JSON with whole numbers of thousands of digits is read as YAML, where they are bounded."""
    long = "9" * 4000
    text = f'{{"entries": {{"web": [{{"version": "1.0.0", "size": {long}}}]}}, "x": [{long}]}}'
    assert list(index.versions(text.encode(), "web", file="index")) == ["1.0.0"]
