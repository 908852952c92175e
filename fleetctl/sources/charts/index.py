"""The index of a chart repository, of which only one chart's entries are read.

An index of a large repository has tens of megabytes; parsing all of it under the guard would take a
minute. helm writes one chart after the other in block style, so the lines of the wanted one are cut
out; where that does not fit, the whole text is parsed.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import msgspec

from fleetctl.core.formats.yaml import YamlLimits, load
from fleetctl.core.model.errors import InvalidFile
from fleetctl.sources.charts.http import decode_json

_WHOLE_UP_TO = 256 * 1024
_NODES = 2_000_000


def versions(data: bytes, chart: str, *, file: str) -> dict[str, dict[str, Any]]:
    """version → entry, in the index's order; {} when the repository has no such chart. Raises
    InvalidFile.
    """
    limits = YamlLimits(size=len(data) + 1, nodes=_NODES)
    result = None
    if data.lstrip()[:1] == b"{":
        # YAML may begin like this too
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            result = decode_json(data)
    elif len(data) > _WHOLE_UP_TO and (part := _cut_out(data, chart)):
        try:
            result = load(part, file=file, limits=limits)
        except InvalidFile:
            result = None
    if result is None:
        result = load(data, file=file, limits=limits)
    entries = result.get("entries") if isinstance(result, dict) else None
    if not isinstance(entries, dict):
        raise InvalidFile(
            "has no entries: it is not the index of a chart repository",
            file=file,
            next_step="Correct helm.repo.",
        )
    chart_entries = entries.get(chart)
    return {
        str(e["version"]): e
        for e in (chart_entries if isinstance(chart_entries, list) else [])
        if isinstance(e, dict) and "version" in e
    }


def _cut_out(data: bytes, chart: str) -> bytes | None:
    """`entries:` with the lines of one chart, None where the text is not written as helm writes
    it.
    """
    start = re.search(rb"^entries:[ \t]*\r?\n", data, re.MULTILINE)
    if not start:
        return None
    name = re.escape(chart.encode())
    pattern = re.compile(
        rb"^  (?:" + name + rb'|"' + name + rb"\"|'" + name + rb"'):[ \t]*\r?\n", re.MULTILINE
    ).search(data, start.end())
    if not pattern:
        return None
    after = re.compile(rb"^(?:[^\s#]|  [^\s\-#])", re.MULTILINE).search(data, pattern.end())
    return b"entries:\n" + data[pattern.start() : after.start() if after else len(data)]
