"""The journal and the cluster's release records, joined: what the cluster has seen is never fallen behind."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from agent.journal import Entry
from agent.recover import Record, merged, record_of
from agent.settle import may_be_foreign, stuck, unfinished
from fleetctl.core.ids import BundleName, Epoch, Generation

WEB = BundleName("web")


def record(version: int, status: str = "deployed", *, generation: int = 0, **more: Any) -> Record:
    head: dict[str, Any] = {"release": "web", "namespace": "apps", "bundle": WEB, "order": (1, generation or version)}
    return Record(version=version, status=status, **(head | more))


def entry(applied: int, **more: Any) -> Entry:
    head = {"bundle": WEB, "generation": Generation(applied), "applied": Generation(applied), "epoch": Epoch(1)}
    return Entry(**(head | {"release": "web", "namespace": "apps", "revision": applied} | more))


def after(journal: list[Entry], records: list[Record], *, complete: bool = True) -> list[Entry]:
    return merged({e.bundle: e for e in journal}, records, complete=complete)


class TestMerged:
    def test_what_agrees_is_left_alone(self) -> None:
        """The usual start writes nothing."""
        assert after([entry(2)], [record(1, "superseded"), record(2)]) == []

    def test_a_lost_journal_is_made_again(self) -> None:
        """Nothing of it counts as applied, and the order is that of the highest record."""
        (made,) = after([], [record(1, "superseded", generation=4), record(2, generation=7)])
        assert (made.release, made.namespace, made.revision) == ("web", "apps", 2)
        assert (made.epoch, made.generation, made.applied, made.began) == (1, 7, 0, True)

    def test_a_journal_from_an_old_copy_is_raised(self) -> None:
        """What it says is behind the cluster: its order is the cluster's, and it is applied again."""
        (made,) = after([entry(2)], [record(3, generation=5)])
        assert (made.generation, made.applied, made.began) == (5, 0, True)

    def test_a_record_that_was_accepted_and_failed_counts_for_the_order(self) -> None:
        """Accepted is accepted, whether helm got through or not."""
        (made,) = after([entry(2)], [record(2), record(3, "failed", generation=9)])
        assert made.generation == 9

    def test_a_pending_record_means_that_helm_was_cut_off(self) -> None:
        """Also one of the same order, as a correction of drift makes it."""
        (made,) = after([entry(2)], [record(2), record(3, "pending-upgrade", generation=2)])
        assert made == entry(2, began=True)

    def test_a_release_that_somebody_took_back_is_brought_forward(self) -> None:
        """`helm rollback` carries the labels of the older revision."""
        (made,) = after([entry(2)], [record(1, "superseded"), record(2, "superseded"), record(3, generation=1)])
        assert made == entry(2, began=True)

    def test_a_release_that_has_gone_is_not_applied(self) -> None:
        """Unless the agent could not look everywhere."""
        assert after([entry(2)], []) == [structs.replace(entry(2), applied=Generation(0), revision=0, began=True)]
        assert after([entry(2)], [], complete=False) == []

    def test_the_release_that_the_journal_names_is_the_one(self) -> None:
        """A bundle that has another release name now may still have the old release."""
        (made,) = after([entry(2, release="new")], [record(9), record(1, generation=3, release="new")])
        assert (made.release, made.generation) == ("new", 9)

    def test_a_release_that_another_bundle_has_now_is_that_bundles(self) -> None:
        """Its older records still name the one before: that one is not made again."""
        records = [record(1, "superseded", bundle="old"), record(2)]
        assert after([entry(2)], records) == []
        (made,) = after([], records)
        assert (made.bundle, made.revision) == (WEB, 2)

    def test_a_release_of_before_is_known_again(self) -> None:
        """Cut off between the new name and the removal of the old one, and the disk lost."""
        (made,) = after([], [record(3, release="web"), record(4, release="shop")])
        assert ((made.release, made.namespace), made.former) == (("shop", "apps"), (("web", "apps"),))

    def test_parts_are_known_again(self) -> None:
        """The first is the release itself."""
        (made,) = after([], [record(1), record(1, release="web.part-2", part=2), record(1, release="web.part-3", part=3)])
        assert (made.release, made.parts) == ("web", (2, 3))


def test_labels_that_are_no_numbers_are_none() -> None:
    """People may write what they like on a Secret."""
    meta = {
        "name": "s",
        "namespace": "n",
        "labels": {"version": "x", "fleetctl-generation": "-3", "fleetctl-epoch": "9" * 40, "name": "web"},
    }
    assert (record_of(meta).version, record_of(meta).order) == (0, (0, 0))


class TestStuck:
    def test_pending_records_stand_in_the_way(self) -> None:
        """Of every kind; a failed one does not."""
        held = [record(5, "pending-rollback"), record(4, "failed"), record(3, "pending-upgrade"), record(2), record(1, "pending-install")]
        assert [r.version for r in stuck(held)] == [5, 3, 1]

    def test_a_cut_off_removal_stands_in_the_way_when_nothing_is_deployed(self) -> None:
        """helm says `has no deployed releases` then."""
        assert [r.version for r in stuck([record(2, "uninstalling"), record(1, "superseded")])] == [2]

    def test_what_was_begun_above_the_deployed_one_may_have_made_objects(self) -> None:
        """Below it all was finished."""
        held = [record(4, "pending-upgrade"), record(3, "failed"), record(2), record(1, "superseded")]
        assert [r.version for r in unfinished(held)] == [4, 3]
        assert [r.version for r in unfinished([record(1, "pending-install")])] == [1]

    def test_a_record_with_an_order_of_its_own_is_ours(self) -> None:
        """A person's helm carries the labels of the revision before."""
        below = record(2, generation=7)
        assert not may_be_foreign(record(3, "pending-upgrade", generation=8), [below])
        assert may_be_foreign(record(3, "pending-upgrade", generation=7), [below])

    def test_the_way_back_from_a_failed_revision_is_ours(self) -> None:
        """`atomic` takes it, with the labels of what it goes back to; a person who goes back does so from a deployed one."""
        back, ours = record(4, "pending-rollback", generation=2), record(3, "failed", generation=3)
        assert not may_be_foreign(back, [back, ours, record(2)])
        assert may_be_foreign(back, [back, record(3, generation=3), record(2, "superseded")])
