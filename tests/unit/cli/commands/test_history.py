"""What `fleetctl rollback` says of what it has done."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.commands.rollback import _sentences
from fleetctl.cli.display.delivery_table import _message


def done(**more: Any) -> dict[str, Any]:
    plain = {
        "pinned": 3,
        "clusters": 12,
        "told": 12,
        "waiting": 0,
        "names": [],
        "own": [],
        "resumed": False,
        "dryRun": False,
    }
    return plain | more


class TestSentences:
    def test_a_whole_bundle(self) -> None:
        assert _sentences("web", done(told=2, waiting=9), is_partial=False, release=False) == [
            (
                "bundle/web is pinned to revision 3: 2 clusters change now, 9 clusters as the"
                " rollout allows, 1 has it already"
            ),
            "`fleetctl rollback web --release` follows Git again",
        ]

    def test_some_clusters_and_how_to_take_it_back(self) -> None:
        assert _sentences(
            "web", done(clusters=1, told=1, names=["paris"]), is_partial=True, release=False
        ) == [
            "bundle/web on 1 cluster (paris) is pinned to revision 3: 1 cluster changes now",
            "`fleetctl rollback web --release --cluster paris` follows Git again",
        ]

    def test_many_clusters(self) -> None:
        first, last = _sentences(
            "web", done(names=list("abcdefghijkl")), is_partial=True, release=False
        )
        assert (
            first == "bundle/web on 12 clusters (a, b, c, …) are pinned to revision 3: 12 clusters"
            " change now"
        )
        assert (
            last == "`fleetctl rollback web --release` with the same choice of clusters follows Git"
            " again"
        )

    def test_what_else_is_to_be_known(self) -> None:
        """Pins that stay, and a pause that ends."""
        said = _sentences(
            "web",
            done(own=[{"number": 2, "clusters": 1}], resumed=True),
            is_partial=False,
            release=False,
        )
        assert said[1:3] == [
            "its pause has ended; `fleetctl rollout pause web` holds later commits",
            "1 cluster keeps its own pin to revision 2; `--release --all` ends the pin",
        ]

    def test_a_dry_run_and_a_release(self) -> None:
        assert _sentences("web", done(dryRun=True), is_partial=False, release=False) == [
            "bundle/web would be pinned to revision 3: 12 clusters would change now"
        ]
        assert _sentences("web", done(pinned=0, told=0), is_partial=False, release=True) == [
            "bundle/web follows Git again: 12 have it already",
        ]
        assert _sentences("web", done(clusters=0, told=0), is_partial=False, release=True)[
            0
        ].endswith(": no cluster gets it")


def test_messages() -> None:
    """What brought it, and what was wrong; a commit by its own first line."""
    item = {
        "cause": "rollback",
        "who": "ada",
        "reason": "it leaks",
        "message": "",
        "subject": "change",
    }
    assert _message(item) == "rollback by ada (it leaks)"
    assert (
        _message(item | {"message": "it does not start"})
        == "rollback by ada (it leaks): it does not start"
    )
    assert _message(item | {"cause": "commit", "who": "", "reason": ""}) == "change"
    assert _message(item | {"cause": "options", "who": "", "reason": ""}) == "options"
