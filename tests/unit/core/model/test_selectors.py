"""Label selectors of a command line."""

from __future__ import annotations

import pytest

from fleetctl.core.model.cluster import parse_selector
from fleetctl.core.model.errors import UsageError


@pytest.mark.parametrize(
    "text",
    [
        "env in (",
        "env in (eu",
        "a in ()",
        "a notin ()",
        "(",
        " ",
        "a b",
        "a=b,,c",
        "a=b)",
        "!",
        "in (a)",
    ],
)
def test_a_selector_that_is_cut_off_picks_nobody(text: str) -> None:
    """Whatever is wrong with it, it is never taken for one that states less, and so picks more."""
    with pytest.raises(UsageError, match="selector"):
        parse_selector(text)


def test_a_selector_is_a_labelselector() -> None:
    """As kubectl writes them; none at all states nothing."""
    assert parse_selector("") == {}
    assert parse_selector(
        "env=prod, tier!=gold,region in (eu, us),zone notin (a),fleet.cattle.io/cluster,!old"
    ) == {
        "matchLabels": {"env": "prod"},
        "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["gold"]},
            {"key": "region", "operator": "In", "values": ["eu", "us"]},
            {"key": "zone", "operator": "NotIn", "values": ["a"]},
            {"key": "fleet.cattle.io/cluster", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
