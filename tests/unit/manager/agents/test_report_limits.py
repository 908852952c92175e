"""What an agent reports is bounded: odd numbers and names are refused with their field, long texts
are cut.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fleetctl.core.model import wire
from fleetctl.core.model.errors import UsageError
from manager.agents.report_limits import limit_report


def status(**fields: Any) -> wire.StatusRequest:
    return msgspec.convert({"instance": "instance1", "seq": 1, **fields}, wire.StatusRequest)


def deployment(**fields: Any) -> dict[str, Any]:
    return {"bundle": "shop", "generation": 1, "state": "Ready", **fields}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"seq": 2**70}, "seq"),
        ({"page": 0}, "page 0 of 1"),
        ({"page": 3, "pages": 2}, "page 3 of 2"),
        ({"pages": 10**9}, "page 1 of 1000000000"),
        ({"deployments": [deployment(generation=2**64)]}, r"deployments\[0\]\.generation"),
        ({"deployments": [deployment(), deployment(applied=-1)]}, r"deployments\[1\]\.applied"),
        ({"deployments": [deployment(bundle="../x")]}, r"deployments\[0\]\.bundle"),
        (
            {
                "deployments": [
                    deployment(release={"name": "a", "namespace": "b", "revision": 2**65})
                ]
            },
            "release.revision",
        ),
        ({"upgrade": {"wish": 2**70, "version": "1", "state": "done"}}, "upgrade.wish"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_field(
    fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(UsageError, match=place):
        limit_report(status(**fields))


def test_long_texts_are_cut_and_the_last_entry_of_a_bundle_counts() -> None:
    long = "x" * 500_000
    resource = {"apiVersion": "v1", "kind": "Pod", "name": long, "patch": long}
    entry = deployment(
        message=long, hint=long, at="yesterday", code=long, resources=[resource], generation=2
    )
    cut = limit_report(
        status(agentVersion=long, tools={long: long}, deployments=[deployment(), entry])
    )
    assert [report.generation for report in cut.deployments] == [2]
    assert cut.deployments[0].at == ""
    assert len(msgspec.json.encode(cut)) < 20_000


def test_an_ordinary_report_is_left_as_it_is() -> None:
    ordinary = status(deployments=[deployment(at="2026-11-28T23:00:00.5Z", message="all is well")])
    assert limit_report(ordinary) == ordinary
