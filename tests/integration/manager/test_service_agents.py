"""The whole service without HTTP: who enrols, and what agents say of their clusters; its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.documents.gitrepo import refuse_not_enforced
from fleetctl.core.model import wire
from fleetctl.core.model.errors import Conflict, LoginError, NotEnforced, RefusedError, UsageError
from fleetctl.core.model.status import Report, State
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import MAP, add, answer, desired, enrol, ready, run, scanned


class TestEnrolment:
    def test_a_token_is_good_once_and_for_one_name(self, tmp_path: Path) -> None:
        """The same key may ask again (its answer was lost); another key may not; the name needs
        --replace.
        """

        async def work(service: Service) -> None:
            made = await service.agents.register(
                "fleet-default", "a", labels={}, ttl_seconds=600, replace=False
            )
            key = Ed25519PrivateKey.generate()
            first = await answer(service, made.token, key)
            assert await answer(service, made.token, key) == first
            with pytest.raises(LoginError, match="used up"):
                await answer(service, made.token, Ed25519PrivateKey.generate())
            with pytest.raises(Conflict, match="enrolled already"):
                await service.agents.register(
                    "fleet-default", "a", labels={}, ttl_seconds=600, replace=False
                )
            again = await service.agents.register(
                "fleet-default", "a", labels={}, ttl_seconds=600, replace=True
            )
            second = await answer(service, again.token, Ed25519PrivateKey.generate())
            assert second.cluster_id == first.cluster_id

        run(tmp_path / "data", work)

    def test_two_agents_with_one_key_stay_marked_until_one_is_enrolled_anew(
        self, tmp_path: Path
    ) -> None:
        """Over a restart of the manager; --replace makes the key worthless at once and keeps id and
        history.
        """
        kept: dict[str, Any] = {}

        def twin(status: dict[str, Any]) -> bool:
            return (
                status["display"]["message"]
                == "Duplicate agent: two agents use one identity, from 10.0.0.2 and 10.0.0.1"
            )

        async def before(service: Service) -> None:
            cluster = kept["id"] = await enrol(service, "one")
            for instance, address, stamp in (
                ("i1", "10.0.0.1", 1),
                ("i2", "10.0.0.2", 2),
                ("i1", "10.0.0.1", 3),
            ):
                kept["said"] = await service.agents.note_contact(
                    cluster, instance=instance, address=address, stamp=stamp
                )
            assert "10.0.0.2" in kept["said"]
            assert twin(
                (await service.views.get_object("Cluster", "fleet-default", "one"))["status"]
            )

        async def after(service: Service) -> None:
            assert (
                await service.agents.note_contact(kept["id"], instance="i9", address="::1", stamp=9)
                == kept["said"]
            )
            assert twin(
                (await service.views.get_object("Cluster", "fleet-default", "one"))["status"]
            )
            made = await service.agents.register(
                "fleet-default", "one", labels={}, ttl_seconds=600, replace=True
            )
            assert service.agents.key_of(kept["id"]) is None
            with pytest.raises(LoginError, match="no cluster is enrolled"):
                await service.agents.get_document(kept["id"])
            assert (
                await answer(service, made.token, Ed25519PrivateKey.generate())
            ).cluster_id == kept["id"]
            assert (
                await service.agents.note_contact(
                    kept["id"], instance="i10", address="::1", stamp=10
                )
                == ""
            )

        run(tmp_path / "data", before)
        run(tmp_path / "data", after)

    def test_what_cannot_be_enforced_is_refused(self, tmp_path: Path) -> None:
        """What is not a name and read-only kinds are refused, unknown keys are named."""

        async def work(service: Service) -> None:
            with pytest.raises(UsageError, match="serviceAccount"):
                await add(service, "https://x/y.git", serviceAccount="../web")
            for kind in ("GitRepoRestriction", "Policy", "policies", "bundlenamespacemappings"):
                with pytest.raises(NotEnforced, match="refused: not enforced in this version"):
                    refuse_not_enforced(kind)
            with pytest.raises(UsageError, match="brnach"):
                await add(service, "https://x/y.git", brnach="main")
            with pytest.raises(RefusedError):
                await service.objects.put("Bundle", "fleet-default", "b", {})

        run(tmp_path / "data", work)


class TestStates:
    def test_counts_are_the_sum_of_their_parts(self, tmp_path: Path, clone: Clone) -> None:
        """One of two clusters ready; a report of an older generation changes nothing."""
        commit = clone.push({"m.yaml": MAP.format(name="a")})

        async def work(service: Service) -> None:
            await add(service, clone.url)
            one, _two = await enrol(service, "one"), await enrol(service, "two")
            await scanned(service, commit)
            bundle = (await desired(service, one)).bundles[0]
            await service.agents.report(
                one,
                wire.StatusRequest(instance="i", seq=1, full=True, deployments=[ready(bundle)]),
            )
            shown = await service.views.get_object("Bundle", "fleet-default", "apps")
            assert shown["status"]["display"]["readyClusters"] == "1/2"
            assert shown["status"]["summary"] == {"ready": 1, "desiredReady": 2, "waitApplied": 1}
            newer = msgspec.structs.replace(ready(bundle), generation=bundle.generation + 5)
            await service.agents.report(
                one, wire.StatusRequest(instance="i", seq=2, deployments=[newer])
            )
            overview = await service.views.status(None)
            assert overview["deployments"] == {"Ready": 1, "WaitApplied": 1}
            await service.agents.report(one, wire.StatusRequest(instance="i", seq=3, full=True))
            assert (await service.views.status(None))["deployments"] == {"WaitApplied": 2}

        run(tmp_path / "data", work)

    def test_what_an_agent_says_of_itself_stands_on_the_cluster(self, tmp_path: Path) -> None:
        """A trouble is a condition, a message and a line of what needs attention, even before a
        full report; and it goes away.
        """

        async def work(service: Service) -> None:
            cluster = await enrol(service, "one")
            full = wire.Trouble(
                code="disk-full", message="the disk is full", since="2026-01-01T00:00:00Z"
            )
            said = wire.StatusRequest(
                instance="i", seq=1, troubles=[full, wire.Trouble(code="NOT a code", message="x")]
            )
            with pytest.raises(Conflict, match="full report"):
                await service.agents.report(cluster, said)
            status = (await service.views.get_object("Cluster", "fleet-default", "one"))["status"]
            assert status["display"]["message"] == "the disk is full"
            shown = {
                "type": "DiskFull",
                "status": "True",
                "message": "the disk is full",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            assert status["conditions"][1:] == [shown]
            [line] = (await service.views.status(None))["attention"]
            assert (line["name"], line["state"], line["message"]) == (
                "one",
                "DiskFull",
                "the disk is full",
            )
            await service.agents.report(cluster, wire.StatusRequest(instance="i", seq=2, full=True))
            assert (await service.views.status(None))["attention"] == []

        run(tmp_path / "data", work)

    def test_what_a_full_report_in_pages_does_not_name_is_not_there(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Counted over all pages; a lost page is asked for again, and a report that was overtaken
        changes nothing.
        """
        commit = clone.push({f"{n}/m.yaml": MAP.format(name=n) for n in "abc"})

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["a", "b", "c"])
            cluster = await enrol(service, "one")
            await scanned(service, commit)
            a, b, c = (ready(bundle) for bundle in (await desired(service, cluster)).bundles)

            async def tell(seq: int, *reports: Report, page: int = 0) -> dict[str, int]:
                head = {"full": True, "page": page, "pages": 2} if page else {}
                await service.agents.report(
                    cluster,
                    wire.StatusRequest(instance="i", seq=seq, deployments=list(reports), **head),
                )
                return (await service.views.status(None))["deployments"]

            await tell(1, a, b, page=1)
            assert await tell(2, c, page=2) == {"Ready": 3}
            with pytest.raises(Conflict, match="page"):
                await tell(3, c, page=2)
            await tell(4, a, page=1)
            assert await tell(5, c, page=2) == {"Ready": 2, "WaitApplied": 1}
            bad = msgspec.structs.replace(a, state=State.ERR_APPLIED, ready=False)
            assert await tell(6, bad) == {"Ready": 1, "WaitApplied": 1, "ErrApplied": 1}
            assert await tell(5, a) == {"Ready": 1, "WaitApplied": 1, "ErrApplied": 1}

        run(tmp_path / "data", work)

    def test_deleting_a_repository_removes_its_bundles(self, tmp_path: Path, clone: Clone) -> None:
        """First said, then done, with a tombstone on each cluster."""
        commit = clone.push({"m.yaml": MAP.format(name="a")})

        async def work(service: Service) -> None:
            await add(service, clone.url)
            cluster = await enrol(service, "one")
            await scanned(service, commit)
            said = await service.objects.removal("GitRepo", "fleet-default", "apps")
            assert said == {"bundles": ["apps"], "deployments": 1, "clusters": ["one"]}
            assert await service.objects.delete("GitRepo", "fleet-default", "apps") == said
            assert [t.name for t in (await desired(service, cluster)).tombstones] == ["apps"]
            assert await service.views.list_objects("Bundle") == []

        run(tmp_path / "data", work)


def test_the_migrations_make_what_the_schema_says(tmp_path: Path) -> None:
    """Alembic finds no difference between the migrated database and the tables in the code."""
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from manager.store import migrate
    from manager.store.schema import metadata

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        with engine.begin() as connection:
            migrate.up(connection, "x.db")
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
            assert migrate.version(connection) == migrate.HEAD
    finally:
        engine.dispose()


def test_registrations_of_an_older_version_are_bound_to_their_clusters(tmp_path: Path) -> None:
    """Unused and shared tokens stay; used ones and those of clusters that do not exist are
    removed.
    """
    import sqlalchemy as sa
    from alembic import command

    from manager.store import migrate

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    insert = "INSERT INTO registrations VALUES (?, 's', ?, '', x'7b7d', '2030', ?, 0, NULL)"
    try:
        with engine.begin() as connection:
            command.upgrade(migrate.configuration(connection), "0013")
            cluster = (
                "INSERT INTO clusters (id, workspace, name, uid, generation, created, labels,"
                " annotations, spec,"
            )
            cluster += (
                " enrolled, seen, address, agent, issued, leaving) VALUES ('c-1', 's', 'a', 'u', 1,"
                " '', '', '', '', '', 0, '', '', '', 0)"
            )
            connection.exec_driver_sql(cluster)
            for row in ((b"1", "a", 1), (b"2", "a", 0), (b"3", "gone", 1), (b"4", "", 7)):
                connection.exec_driver_sql(insert, row)
            migrate.up(connection, "x.db")
            rows = connection.exec_driver_sql(
                "SELECT hash, cluster_id, remaining_uses FROM registrations ORDER BY hash"
            ).all()
        assert [tuple(row) for row in rows] == [(b"1", "c-1", 1), (b"4", None, 7)]
    finally:
        engine.dispose()
