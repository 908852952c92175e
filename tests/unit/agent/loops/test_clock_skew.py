"""What a wrong clock and an old document mean."""

from __future__ import annotations

import msgspec
import pytest

from agent.controlplane.desired_state import behind
from agent.loops.clock_skew import is_over, judge, span
from fleetctl.core.model.ids import (
    BundleName,
    ClusterId,
    ClusterName,
    Digest,
    Epoch,
    Generation,
    Workspace,
)
from fleetctl.core.model.options import Options
from fleetctl.core.model.wire import Desired, DesiredBundle, Tombstone


def test_a_document_is_over_by_the_managers_time() -> None:
    """What cannot be read is not over."""
    assert is_over("2026-01-01T00:00:00Z", 1_767_225_601.0)
    assert not is_over("2026-01-01T00:00:00Z", 1_767_225_599.0)
    assert not is_over("soon", 1e12)
    assert not is_over("", 1e12)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(400, "6 minutes"), (86400 * 3, "3 days"), (20 * 365 * 86400, "20 years"), (90, "90 seconds")],
)
def test_spans_are_coarse(seconds: int, said: str) -> None:
    """So that a trouble's message does not change with each second."""
    assert span(seconds) == said


def document(epoch: int, generation: int, *, tombstone: int = 0) -> Desired:
    digest = Digest("0" * 64)
    bundle = DesiredBundle(
        name=BundleName("a"),
        generation=Generation(generation),
        archive=digest,
        size=1,
        options=Options(),
        options_digest=digest,
    )
    gone = [Tombstone(name=BundleName("b"), generation=Generation(tombstone))] if tombstone else []
    head = {
        "workspace": Workspace("w"),
        "cluster_id": ClusterId("c"),
        "cluster": ClusterName("c"),
        "issued": "",
        "expires": "",
    }
    return Desired(**head, epoch=Epoch(epoch), bundles=[bundle], tombstones=gone)


def test_a_manager_that_was_restored_is_behind_until_its_epoch_is_raised() -> None:
    """By epoch, by a bundle's generation, by a tombstone's; a higher epoch outweighs each."""
    held = {"a": (2, 50), "b": (2, 60)}

    def said(wanted: Desired) -> str:
        return behind(wanted, Epoch(2), lambda name: held.get(name, (0, 0)))

    assert (
        said(document(2, 50))
        == said(document(2, 51, tombstone=60))
        == said(document(3, 1, tombstone=1))
        == ""
    )
    assert said(document(1, 99)) == "its epoch is 1, the agent's 2"
    assert said(document(2, 49)) == "it says generation 49 of bundle a, the agent already has 50"
    assert "bundle b" in said(document(2, 50, tombstone=59))


class At:
    """What `judge` needs of a LoopState."""

    def __init__(self, offset: int, document: Desired | None) -> None:
        self.context, self.document, self.said = self, document, dict[str, str]()
        self.uplink, self.offset = self, offset

    def now(self) -> float:
        return 1_800_000_000.0

    def say(self, code: str, message: str) -> None:
        self.said[code] = message

    def unsay(self, code: str) -> None:
        self.said.pop(code, None)


def test_a_wrong_clock_and_an_old_document_are_told_and_untold() -> None:
    """By the manager's time; what is told names how far, and in which way."""
    old = msgspec.structs.replace(document(1, 1), expires="2027-01-01T00:00:00Z")
    at = At(20 * 365 * 86400, old)
    judge(at)  # type: ignore[arg-type]
    assert at.said["clock-skew"].startswith("this machine's clock is 20 years behind the manager's")
    assert "2027-01-01" in at.said["document-expired"]
    at.offset, at.document = -299, msgspec.structs.replace(old, expires="2027-02-01T00:00:00Z")
    judge(at)  # type: ignore[arg-type]
    assert at.said == {}
