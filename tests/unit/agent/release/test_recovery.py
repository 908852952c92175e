"""The journal and the cluster's release records, joined: what the cluster has seen is never fallen
behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from msgspec import structs

from agent.kube.client import Kube
from agent.kube.impersonation import Rights
from agent.release.records import RecordHeader, header_of
from agent.release.recovery import (
    RecordPlace,
    list_releases,
    merge_records,
    places_of,
)
from agent.release.repair import find_blocking, find_unfinished, may_be_foreign
from agent.state.journal import Entry
from fleetctl.core.model.errors import ForbiddenRequest, NotFound, ToolFailed
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

WEB = BundleName("web")


def record(
    version: int, status: str = "deployed", *, generation: int = 0, **more: Any
) -> RecordHeader:
    head: dict[str, Any] = {
        "release": "web",
        "namespace": "apps",
        "bundle": WEB,
        "order": (1, generation or version),
    }
    return RecordHeader(version=version, status=status, **(head | more))


def entry(applied: int, **more: Any) -> Entry:
    head = {
        "bundle": WEB,
        "generation": Generation(applied),
        "applied": Generation(applied),
        "epoch": Epoch(1),
    }
    return Entry(**(head | {"release": "web", "namespace": "apps", "revision": applied} | more))


def after(
    journal: list[Entry], records: list[RecordHeader], *, namespaces: set[str] | None = None
) -> list[Entry]:
    return merge_records({e.bundle: e for e in journal}, records, namespaces=namespaces)


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
        """What it says is behind the cluster: its order is the cluster's, and it is applied
        again.
        """
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
        (made,) = after(
            [entry(2)], [record(1, "superseded"), record(2, "superseded"), record(3, generation=1)]
        )
        assert made == entry(2, began=True)

    def test_a_release_that_has_gone_is_not_applied(self) -> None:
        """Unless the agent could not look everywhere."""
        assert after([entry(2)], []) == [
            structs.replace(entry(2), applied=Generation(0), revision=0, began=True)
        ]
        assert after([entry(2)], [], namespaces=set()) == []
        assert after([entry(2)], [], namespaces={"apps"}) == after([entry(2)], []) != []

    def test_the_release_that_the_journal_names_is_the_one(self) -> None:
        """A bundle that has another release name now may still have the old release."""
        (made,) = after(
            [entry(2, release="new")], [record(9), record(1, generation=3, release="new")]
        )
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
        assert ((made.release, made.namespace), made.former) == (
            ("shop", "apps"),
            (("web", "apps"),),
        )

    def test_parts_are_known_again(self) -> None:
        """The first is the release itself."""
        (made,) = after(
            [],
            [
                record(1),
                record(1, release="web.part-2", part=2),
                record(1, release="web.part-3", part=3),
            ],
        )
        assert (made.release, made.parts) == ("web", (2, 3))


def test_labels_that_are_no_numbers_are_none() -> None:
    """People may write what they like on a Secret."""
    meta = {
        "name": "s",
        "namespace": "n",
        "labels": {
            "version": "x",
            "fleetctl-generation": "-3",
            "fleetctl-epoch": "9" * 40,
            "name": "web",
        },
    }
    assert (header_of(meta).version, header_of(meta).order) == (0, (0, 0))


class TestStuck:
    def test_pending_records_stand_in_the_way(self) -> None:
        """Of every kind; a failed one does not."""
        held = [
            record(5, "pending-rollback"),
            record(4, "failed"),
            record(3, "pending-upgrade"),
            record(2),
            record(1, "pending-install"),
        ]
        assert [r.version for r in find_blocking(held)] == [5, 3, 1]

    def test_a_cut_off_removal_stands_in_the_way_when_nothing_is_deployed(self) -> None:
        """helm says `has no deployed releases` then."""
        assert [
            r.version for r in find_blocking([record(2, "uninstalling"), record(1, "superseded")])
        ] == [2]

    def test_what_was_begun_above_the_deployed_one_may_have_made_objects(self) -> None:
        """Below it all was finished."""
        held = [
            record(4, "pending-upgrade"),
            record(3, "failed"),
            record(2),
            record(1, "superseded"),
        ]
        assert [r.version for r in find_unfinished(held)] == [4, 3]
        assert [r.version for r in find_unfinished([record(1, "pending-install")])] == [1]

    def test_a_record_with_an_order_of_its_own_is_ours(self) -> None:
        """A person's helm carries the labels of the revision before."""
        below = record(2, generation=7)
        assert not may_be_foreign(record(3, "pending-upgrade", generation=8), [below])
        assert may_be_foreign(record(3, "pending-upgrade", generation=7), [below])

    def test_the_way_back_from_a_failed_revision_is_ours(self) -> None:
        """`atomic` takes it, with the labels of what it goes back to; a person who goes back does
        so from a deployed one.
        """
        back, ours = record(4, "pending-rollback", generation=2), record(3, "failed", generation=3)
        assert not may_be_foreign(back, [back, ours, record(2)])
        assert may_be_foreign(back, [back, record(3, generation=3), record(2, "superseded")])


class GrantedKube:
    """A cluster that lets each user ("" is the agent) list the Secrets of some namespaces ("" is
    all); one record in each namespace.
    """

    is_there = True

    def __init__(
        self, granted: Mapping[str, set[str]], accounts: set[str], calls: list[str], user: str = ""
    ) -> None:
        self._granted, self._accounts, self.calls, self.user = granted, accounts, calls, user

    def acting_as(self, user: str) -> GrantedKube:
        return GrantedKube(self._granted, self._accounts, self.calls, user)

    async def call(self, _method: str, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        parts = path.partition("?")[0].split("/")
        if "serviceaccounts" in parts:
            if parts[-1] not in self._accounts:
                raise NotFound("no such account")
            return {}
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else ""
        user = self.user.rpartition(":")[2]
        self.calls.append(f"{user or 'agent'} lists {namespace or 'all'}")
        if namespace not in self._granted.get(user, set()):
            raise ForbiddenRequest(f"{user or 'agent'} cannot list secrets in {namespace or 'all'}")
        labels = {
            "name": "web",
            "version": "1",
            "status": "deployed",
            "fleetctl-bundle": f"of-{namespace}",
        }
        return {"items": [{"metadata": {"namespace": namespace, "labels": labels}}]}


class TestListReleases:
    """Whose rights find the release records."""

    def listing(
        self,
        granted: Mapping[str, set[str]],
        places: set[RecordPlace],
        accounts: set[str] = frozenset(),
    ) -> tuple[Any, list[str]]:  # type: ignore[assignment]
        calls: list[str] = []
        kube = cast("Kube", GrantedKube(granted, accounts, calls))
        return asyncio.run(list_releases(Rights(kube), ClusterId("c"), places)), calls

    def test_an_agent_that_may_list_everywhere_asks_once(self) -> None:
        listing, calls = self.listing({"": {""}}, {RecordPlace("a"), RecordPlace("b")})
        assert (listing.namespaces, calls) == (None, ["agent lists all"])

    def test_an_agent_without_rights_asks_with_those_of_the_bundles_accounts(self) -> None:
        """Of the account that a bundle names, or of the default one; a namespace that nobody may
        read is named, and stops no other.
        """
        granted = {"web": {"a"}, "fleet-default": {"b"}, "": {"d"}}
        places = {
            RecordPlace("a", "gone"),
            RecordPlace("a", "web"),
            RecordPlace("b"),
            RecordPlace("c", "web"),
            RecordPlace("d", "gone"),
        }
        listing, calls = self.listing(granted, places, {"web", "fleet-default"})
        assert {r.bundle for r in listing.records} == {"of-a", "of-b", "of-d"}
        assert listing.namespaces == {"a", "b", "d"}
        assert list(listing.refusals) == ["c"]
        assert "agent lists d" in calls
        assert not any(call.endswith("all") and not call.startswith("agent") for call in calls)

    def test_a_cluster_without_bundles_needs_no_rights(self) -> None:
        listing, _ = self.listing({}, set())
        assert (listing.records, listing.namespaces, listing.refusals) == ([], frozenset(), {})

    def test_an_error_that_is_no_refusal_is_raised(self) -> None:
        """A listing that fails otherwise is not an empty one."""

        class Broken(GrantedKube):
            async def call(self, *_: Any, **__: Any) -> dict[str, Any]:
                raise ToolFailed("internal error")

        for places in (set(), {RecordPlace("a")}):
            with pytest.raises(ToolFailed):
                asyncio.run(
                    list_releases(
                        Rights(cast("Kube", Broken({}, set(), []))), ClusterId("c"), places
                    )
                )

    def test_places_are_of_the_journal_the_bundles_and_the_tombstones(self) -> None:
        """A bundle whose namespace is none has no place, and stops no other."""
        names = {
            "b1": Options(default_namespace="apps", service_account="web"),
            "b2": Options(default_namespace="Not A Name"),
        }
        digest, one = Digest("0" * 64), Generation(1)
        bundles = [
            DesiredBundle(
                name=BundleName(n),
                generation=one,
                archive=digest,
                size=0,
                options=o,
                options_digest=digest,
            )
            for n, o in names.items()
        ]
        tombstones = [
            Tombstone(name=BundleName("t"), generation=one, namespace="old", service_account="ops"),
            Tombstone(name=BundleName("u"), generation=one),
        ]
        document = Desired(
            workspace=Workspace("w"),
            cluster_id=ClusterId("c"),
            cluster=ClusterName("c"),
            epoch=Epoch(1),
            issued="",
            expires="",
            bundles=bundles,
            tombstones=tombstones,
        )
        places = places_of([entry(1, account="team")], document)
        assert places >= {
            RecordPlace("apps", "team"),
            RecordPlace("apps", "web"),
            RecordPlace("old", "ops"),
        }
        assert all(place.namespace for place in places)
        assert places_of([], None) == set()
