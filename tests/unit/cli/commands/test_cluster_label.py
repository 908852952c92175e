"""The lines that `fleetctl cluster label` prints for changes of bundles."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.cli.commands.cluster.label import effect_line

SOURCE = {"target": "prod", "customization": ""}


@pytest.mark.parametrize(
    ("effect", "line"),
    [
        ({"what": "added", "new": SOURCE}, "would deploy bundle/web to 1 cluster (a): target prod"),
        (
            {"what": "removed", "old": SOURCE, "clusters": 7},
            "would remove bundle/web from 7 clusters (a and 6 more)",
        ),
        (
            {
                "what": "changed",
                "old": SOURCE,
                "new": {"target": "dev", "customization": "s"},
                "why": ["options", "target", "customization"],
            },
            (
                "would redeploy bundle/web on 1 cluster (a): target prod -> dev, customization (no"
                " name) -> s, options"
            ),
        ),
        (
            {
                "what": "told",
                "old": SOURCE,
                "new": {"target": "dev", "customization": ""},
                "why": ["target"],
            },
            "would update bundle/web on 1 cluster (a) without deploying again: target prod -> dev",
        ),
    ],
)
def test_a_line_names_what_happens_where_and_why(effect: dict[str, Any], line: str) -> None:
    whole = {"bundle": "web", "clusters": 1, "names": ["a"]} | effect
    assert effect_line(whole, dry_run=True) == line
    assert effect_line(whole, dry_run=False).startswith(line.split()[1] + "s ")
