"""Zones by name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleetctl.core.model.errors import UsageError
from fleetctl.zones import zone_of


def test_a_zone_knows_its_summer() -> None:
    assert [
        str(datetime(2026, month, 1, tzinfo=zone_of("Europe/Berlin")).utcoffset())
        for month in (1, 7)
    ] == ["1:00:00", "2:00:00"]
    assert zone_of("") is zone_of("UTC") is UTC


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("Europe/Berln", "Did you mean Europe/Berlin?"),
        ("America", "America/"),
        ("../etc/passwd", "IANA"),
        ("Local", ""),
        ("a\0b", "IANA"),
    ],
)
def test_a_wrong_one_is_refused(name: str, step: str) -> None:
    """A folder of zones, a path, and Fleet's Local, too, which would be the manager's own."""
    with pytest.raises(UsageError, match="there is no time zone") as caught:
        zone_of(name)
    assert step in caught.value.next_step
