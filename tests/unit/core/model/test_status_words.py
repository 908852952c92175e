"""Fleet's sentences about single objects."""

from __future__ import annotations

import pytest

from fleetctl.core.model.status import Difference, ResourceStatus, sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"state": "Modified", "patch": '{"a":1}'}, 'deployment.apps shop/web modified {"a":1}'),
        ({"state": "Missing"}, "deployment.apps shop/web missing"),
        ({"state": "Orphaned"}, "deployment.apps shop/web extra"),
        (
            {"state": "Modified", "owner": "x/y"},
            "deployment.apps shop/web is not owned by us: release x/y has it",
        ),
        ({"state": "NotReady", "message": "0 of 1"}, "deployment.apps shop/web: 0 of 1"),
        (
            {"state": "Missing", "namespace": "", "api_version": "v1", "kind": "Node"},
            "node.v1 web missing",
        ),
    ],
)
def test_sentences(more: dict[str, str], said: str) -> None:
    """Kind and group in lower case, the core's version in the group's place: as
    `ModifiedStatus.String` writes it.
    """
    assert (
        sentence(
            ResourceStatus(
                **{
                    "api_version": "apps/v1",
                    "kind": "Deployment",
                    "namespace": "shop",
                    "name": "web",
                }
                | more
            )
        )
        == said
    )


def test_drifted() -> None:
    """What is changed and not ready is both."""
    item = ResourceStatus(api_version="v1", kind="A", name="a", state="NotReady")
    assert not item.drifted
    assert ResourceStatus(
        api_version="v1",
        kind="A",
        name="a",
        state="NotReady",
        differences=[Difference(pointer="/a")],
    ).drifted
    assert ResourceStatus(api_version="v1", kind="A", name="a", state="Orphaned").drifted
