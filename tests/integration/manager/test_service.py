"""The whole service without HTTP: a real Git server, a real database, and agents that only speak the wire's messages."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from examples.demo.chartserver import ChartServer
from examples.demo.gitserver import GitServer
from fleetctl.core import wire
from fleetctl.core.bundle import unpack
from fleetctl.core.errors import Conflict, LoginError, NotEnforced, NotFound, RefusedError, UsageError
from fleetctl.core.gitrepo import refuse_not_enforced
from fleetctl.core.ids import ClusterId
from fleetctl.core.status import Report, State
from manager.holds.removals import Labels
from manager.service import Service, Settings
from manager.signing import Signer, verify
from tests.support.gitrepo import Clone
from tests.support.places import clone, server
from tests.support.waiting import until

__all__ = ["clone", "server"]  # for those who take the rest of this module too
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '1'\n"
ALL = [{"name": "all", "clusterSelector": {}}]


@asynccontextmanager
async def serving(folder: Path, signer: Signer | None = None) -> AsyncIterator[Service]:
    folder.mkdir(exist_ok=True)
    service = Service(folder, signer=signer or Signer.load_or_create(folder), settings=Settings(poll_seconds=1))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def run(folder: Path, work: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(folder) as service:
            await work(service)

    asyncio.run(main())


def gitrepo(url: str, name: str = "apps", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "fleet-default"}
    return {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo", "metadata": meta, "spec": {"repo": url, "targets": ALL, **spec}}


async def add(service: Service, url: str, name: str = "apps", **spec: Any) -> None:
    await service.put_object("GitRepo", "fleet-default", name, gitrepo(url, name, **spec))


async def scanned(service: Service, commit: str, name: str = "apps") -> dict[str, Any]:
    return await until(lambda: service.get_object("GitRepo", "fleet-default", name), lambda r: r["status"]["commit"] == commit)


async def enrol(service: Service, name: str, **labels: str) -> ClusterId:
    made = await service.register("fleet-default", name, labels=labels, ttl_seconds=600, replace=False)
    return (await answer(service, made.token, Ed25519PrivateKey.generate())).cluster_id


async def answer(service: Service, token: str, key: Ed25519PrivateKey) -> wire.EnrolAnswer:
    public = wire.b64(key.public_key().public_bytes_raw())
    proof = wire.b64(key.sign(wire.enrol_bytes(token, public)))
    return await service.enrol(wire.EnrolRequest(token=token, public_key=public, proof=proof), address="::1")


async def desired(service: Service, cluster: ClusterId) -> wire.Desired:
    document = await service.desired(cluster)
    return msgspec.json.decode(msgspec.json.decode(document.body, type=wire.Envelope).payload, type=wire.Desired)


def ready(bundle: wire.DesiredBundle) -> Report:
    generation = bundle.generation
    return Report(bundle=bundle.name, generation=generation, applied=generation, state=State.READY, ready=True)


class TestFromCommitToDocument:
    def test_a_commit_reaches_the_clusters_that_it_is_for(self, tmp_path: Path, clone: Clone) -> None:
        """A cluster's document holds the bundles meant for it, signed, and its archive is the files in Git."""
        files = {"web/map.yaml": MAP.format(name="web"), "db/fleet.yaml": "defaultNamespace: db\n", "db/m.yaml": MAP.format(name="db")}
        commit = clone.push(files)

        async def work(service: Service) -> None:
            target = [{"name": "prod", "clusterSelector": {"matchLabels": {"env": "prod"}}}]
            await add(service, clone.url, paths=["web", "db"], targets=target)
            prod, dev = await enrol(service, "p", env="prod"), await enrol(service, "d", env="dev")
            await scanned(service, commit)
            found = await desired(service, prod)
            assert [(b.name, b.options.default_namespace) for b in found.bundles] == [("apps-db", "db"), ("apps-web", None)]
            assert (await desired(service, dev)).bundles == []
            path = await service.archive_path(prod, found.bundles[1].archive)
            assert unpack(path.read_bytes())["map.yaml"].data == files["web/map.yaml"].encode()
            with pytest.raises(NotFound):
                await service.archive_path(dev, found.bundles[1].archive)

        run(tmp_path / "data", work)

    def test_what_is_left_out_is_told(self, tmp_path: Path, clone: Clone) -> None:
        """A link and image scans are warnings, and stand in nobody's way."""
        (clone.folder / "web").mkdir(parents=True, exist_ok=True)
        (clone.folder / "web" / "link.yaml").symlink_to("m.yaml")
        commit = clone.push({"web/m.yaml": MAP.format(name="web"), "web/fleet.yaml": "imageScans: [{image: x, tagName: t}]\n"})

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["web"])
            status = (await scanned(service, commit))["status"]
            assert [w["code"] for w in status["warnings"]] == ["not-done", "left-out"]
            assert status["problems"] == []

        run(tmp_path / "data", work)

    def test_only_what_changed_gets_a_new_generation(self, tmp_path: Path, clone: Clone) -> None:
        """A commit that touches one bundle leaves the other as it was, and wakes who waits."""
        first = clone.push({"web/m.yaml": MAP.format(name="web"), "db/m.yaml": MAP.format(name="db")})

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["web", "db"])
            cluster = await enrol(service, "a")
            await scanned(service, first)
            before = {b.name: b.generation for b in (await desired(service, cluster)).bundles}
            held = (await service.desired(cluster)).etag
            waiting = asyncio.create_task(service.wait_desired(cluster, held, 30))
            second = await asyncio.to_thread(clone.push, {"web/m.yaml": MAP.format(name="web2")})
            await service.sync("fleet-default", "apps")
            assert (await waiting).etag != held
            await scanned(service, second)
            after = {b.name: b.generation for b in (await desired(service, cluster)).bundles}
            assert after["apps-db"] == before["apps-db"]
            assert after["apps-web"] > before["apps-web"]

        run(tmp_path / "data", work)

    def test_a_restart_changes_no_document(self, tmp_path: Path, clone: Clone) -> None:
        """The same ETag and the same bytes before and after, signed by the same key."""
        commit = clone.push({"m.yaml": MAP.format(name="a")})
        kept: dict[str, Any] = {}

        async def before(service: Service) -> None:
            await add(service, clone.url)
            kept["cluster"] = await enrol(service, "a")
            await scanned(service, commit)
            kept["document"] = await service.desired(kept["cluster"])

        async def after(service: Service) -> None:
            document = await service.desired(kept["cluster"])
            assert document == kept["document"]
            assert (await service.desired(kept["cluster"], document.etag)).body == b""

        run(tmp_path / "data", before)
        run(tmp_path / "data", after)
        envelope = msgspec.json.decode(kept["document"].body, type=wire.Envelope)
        public = Signer.load_or_create(tmp_path / "data").public_key
        assert verify(public, wire.unb64(envelope.signature), wire.desired_bytes(envelope.payload.encode()))

    def test_labels_move_a_cluster_at_once(self, tmp_path: Path, clone: Clone) -> None:
        """A bundle that no target gives to the cluster any more becomes a tombstone until the agent has reported it."""
        commit = clone.push({"m.yaml": MAP.format(name="a")})

        async def work(service: Service) -> None:
            await add(service, clone.url, targets=[{"clusterSelector": {"matchLabels": {"env": "prod"}}}])
            cluster = await enrol(service, "a", env="prod")
            await scanned(service, commit)
            generation = (await desired(service, cluster)).bundles[0].generation
            await service.label_clusters(Labels("fleet-default", {"env": None}, ["a"], removals=1))
            gone = (await desired(service, cluster)).tombstones
            assert [t.name for t in gone] == ["apps"]
            assert gone[0].generation > generation
            done = Report(bundle=gone[0].name, generation=gone[0].generation, state=State.READY, removed=True)
            await service.report(cluster, wire.StatusRequest(instance="i", seq=1, full=True, deployments=[done]), address="")
            assert (await desired(service, cluster)).tombstones == []

        run(tmp_path / "data", work)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"branch": "mian"}, ["no branch mian", "main"]),
            ({"paths": ["wbe"]}, ["wbe", "no file"]),
            ({"repo": "http://127.0.0.1:9/x.git"}, ["does not take connections"]),
        ],
    )
    def test_what_is_wrong_stands_on_the_repository(self, tmp_path: Path, clone: Clone, change: dict[str, Any], words: list[str]) -> None:
        """A wrong address, branch or path is one line with a next step, and the manager goes on."""
        clone.push({"web/m.yaml": MAP.format(name="a")})

        async def work(service: Service) -> None:
            await add(service, change.get("repo", clone.url), **{k: v for k, v in change.items() if k != "repo"})
            look = await until(
                lambda: service.get_object("GitRepo", "fleet-default", "apps"), lambda r: r["status"]["display"]["state"] == "Stalled"
            )
            text = str(look["status"]["error"]) + str(look["status"]["problems"])
            assert all(word in text for word in words), text

        run(tmp_path / "data", work)

    def test_a_broken_bundle_stops_no_other(self, tmp_path: Path, clone: Clone) -> None:
        """The unknown key is named with its line and a suggestion; the sibling is deployed, and nothing is removed."""
        commit = clone.push({"a/m.yaml": MAP.format(name="a"), "b/m.yaml": MAP.format(name="b")})

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["a", "b"])
            cluster = await enrol(service, "one")
            await scanned(service, commit)
            broken = await asyncio.to_thread(clone.push, {"a/m.yaml": MAP.format(name="a2"), "b/fleet.yaml": "helmm:\n  chart: x\n"})
            repo = await scanned(service, broken)
            assert "b/fleet.yaml:1" in repo["status"]["problems"][0]["summary"]
            assert "helm" in repo["status"]["problems"][0]["summary"] + repo["status"]["problems"][0]["next_step"]
            assert [b.name for b in (await desired(service, cluster)).bundles] == ["apps-a", "apps-b"]

        run(tmp_path / "data", work)

    def test_a_mass_removal_is_held_until_it_is_confirmed(self, tmp_path: Path, clone: Clone) -> None:
        """Six of twelve bundles stay until exactly six are confirmed at that commit."""
        files: dict[str, str | bytes | None] = {f"b{i:02}/m.yaml": MAP.format(name=f"m{i}") for i in range(12)}
        first = clone.push({**files, "b00/fleet.yaml": "{}\n", **{f"b{i:02}/fleet.yaml": "{}\n" for i in range(12)}})

        async def work(service: Service) -> None:
            await add(service, clone.url)
            cluster = await enrol(service, "one")
            await scanned(service, first)
            assert len((await desired(service, cluster)).bundles) == 12
            removed: dict[str, str | bytes | None] = {f"b{i:02}/{n}": None for i in range(6) for n in ("m.yaml", "fleet.yaml")}
            second = await asyncio.to_thread(clone.push, removed)
            repo = await scanned(service, second)
            assert repo["status"]["display"]["state"] == "Held"
            assert (repo["status"]["held"]["removals"], repo["status"]["held"]["of"]) == (6, 12)
            assert len((await desired(service, cluster)).bundles) == 12
            with pytest.raises(Conflict):
                await service.confirm("fleet-default", "apps", 5, second)
            await service.confirm("fleet-default", "apps", 6, second[:12])
            found = await until(lambda: desired(service, cluster), lambda d: len(d.bundles) == 6)
            assert len(found.tombstones) == 6

        run(tmp_path / "data", work)

    def test_a_private_repository_wants_its_password(self, tmp_path: Path) -> None:
        """Without, with a wrong, and with the right password; the Secret never shows it."""
        (tmp_path / "private").mkdir()

        async def work(service: Service) -> None:
            async def state(needle: str) -> Any:
                def good(repo: dict[str, Any]) -> bool:
                    return needle in str(repo["status"])

                return await until(lambda: service.get_object("GitRepo", "fleet-default", "apps"), good)

            def secret(password: str) -> dict[str, Any]:
                meta = {"name": "login", "namespace": "fleet-default"}
                return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"username": "ada", "password": password}}

            await add(service, clone.url)
            await state("needs a user and a password")
            await service.put_object("Secret", "fleet-default", "login", secret("wrong-word"))
            await add(service, clone.url, clientSecretName="login")
            await state("refuses the user or the password")
            shown = await service.put_object("Secret", "fleet-default", "login", secret("open-sesame"))
            await state(commit)
            assert "open-sesame" not in str(shown.object)

        with GitServer(tmp_path / "private", auth=("ada", "open-sesame")) as server:
            clone = Clone(server, "apps", tmp_path / "clone")
            commit = clone.push({"m.yaml": MAP.format(name="a")})
            run(tmp_path / "data", work)
        assert b"open-sesame" not in (tmp_path / "data" / "fleet.db").read_bytes()


class TestEnrolment:
    def test_a_token_is_good_once_and_for_one_name(self, tmp_path: Path) -> None:
        """The same key may ask again (its answer was lost); another key may not; the name needs --replace."""

        async def work(service: Service) -> None:
            made = await service.register("fleet-default", "a", labels={}, ttl_seconds=600, replace=False)
            key = Ed25519PrivateKey.generate()
            first = await answer(service, made.token, key)
            assert await answer(service, made.token, key) == first
            with pytest.raises(LoginError, match="used up"):
                await answer(service, made.token, Ed25519PrivateKey.generate())
            with pytest.raises(Conflict, match="enrolled already"):
                await service.register("fleet-default", "a", labels={}, ttl_seconds=600, replace=False)
            again = await service.register("fleet-default", "a", labels={}, ttl_seconds=600, replace=True)
            second = await answer(service, again.token, Ed25519PrivateKey.generate())
            assert second.cluster_id == first.cluster_id

        run(tmp_path / "data", work)

    def test_two_agents_with_one_key_stay_marked_until_one_is_enrolled_anew(self, tmp_path: Path) -> None:
        """Over a restart of the manager; --replace makes the key worthless at once and keeps id and history."""
        kept: dict[str, Any] = {}

        def twin(status: dict[str, Any]) -> bool:
            return status["display"]["message"] == "Duplicate agent: two agents use one identity, from 10.0.0.2 and 10.0.0.1"

        async def before(service: Service) -> None:
            cluster = kept["id"] = await enrol(service, "one")
            for instance, address, stamp in (("i1", "10.0.0.1", 1), ("i2", "10.0.0.2", 2), ("i1", "10.0.0.1", 3)):
                kept["said"] = await service.seen(cluster, instance=instance, address=address, stamp=stamp)
            assert "10.0.0.2" in kept["said"]
            assert twin((await service.get_object("Cluster", "fleet-default", "one"))["status"])

        async def after(service: Service) -> None:
            assert await service.seen(kept["id"], instance="i9", address="::1", stamp=9) == kept["said"]
            assert twin((await service.get_object("Cluster", "fleet-default", "one"))["status"])
            made = await service.register("fleet-default", "one", labels={}, ttl_seconds=600, replace=True)
            assert await service.agent_key(kept["id"]) is None
            with pytest.raises(LoginError, match="no cluster is enrolled"):
                await service.desired(kept["id"])
            assert (await answer(service, made.token, Ed25519PrivateKey.generate())).cluster_id == kept["id"]
            assert await service.seen(kept["id"], instance="i10", address="::1", stamp=10) == ""

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
                await service.put_object("Bundle", "fleet-default", "b", {})

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
            await service.report(one, wire.StatusRequest(instance="i", seq=1, full=True, deployments=[ready(bundle)]), address="")
            shown = await service.get_object("Bundle", "fleet-default", "apps")
            assert shown["status"]["display"]["readyClusters"] == "1/2"
            assert shown["status"]["summary"] == {"ready": 1, "desiredReady": 2, "waitApplied": 1}
            newer = msgspec.structs.replace(ready(bundle), generation=bundle.generation + 5)
            await service.report(one, wire.StatusRequest(instance="i", seq=2, deployments=[newer]), address="")
            overview = await service.status(None)
            assert overview["deployments"] == {"Ready": 1, "WaitApplied": 1}
            await service.report(one, wire.StatusRequest(instance="i", seq=3, full=True), address="")
            assert (await service.status(None))["deployments"] == {"WaitApplied": 2}

        run(tmp_path / "data", work)

    def test_what_an_agent_says_of_itself_stands_on_the_cluster(self, tmp_path: Path) -> None:
        """A trouble is a condition, a message and a line of what needs attention, even before a full report; and it goes away."""

        async def work(service: Service) -> None:
            cluster = await enrol(service, "one")
            full = wire.Trouble(code="disk-full", message="the disk is full", since="2026-01-01T00:00:00Z")
            said = wire.StatusRequest(instance="i", seq=1, troubles=[full, wire.Trouble(code="NOT a code", message="x")])
            with pytest.raises(Conflict, match="full report"):
                await service.report(cluster, said, address="")
            status = (await service.get_object("Cluster", "fleet-default", "one"))["status"]
            assert status["display"]["message"] == "the disk is full"
            shown = {"type": "DiskFull", "status": "True", "message": "the disk is full", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            assert status["conditions"][1:] == [shown]
            [line] = (await service.status(None))["attention"]
            assert (line["name"], line["state"], line["message"]) == ("one", "DiskFull", "the disk is full")
            await service.report(cluster, wire.StatusRequest(instance="i", seq=2, full=True), address="")
            assert (await service.status(None))["attention"] == []

        run(tmp_path / "data", work)

    def test_what_a_full_report_in_pages_does_not_name_is_not_there(self, tmp_path: Path, clone: Clone) -> None:
        """Counted over all pages; a lost page is asked for again, and a report that was overtaken changes nothing."""
        commit = clone.push({f"{n}/m.yaml": MAP.format(name=n) for n in "abc"})

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["a", "b", "c"])
            cluster = await enrol(service, "one")
            await scanned(service, commit)
            a, b, c = (ready(bundle) for bundle in (await desired(service, cluster)).bundles)

            async def tell(seq: int, *reports: Report, page: int = 0) -> dict[str, int]:
                head = {"full": True, "page": page, "pages": 2} if page else {}
                await service.report(cluster, wire.StatusRequest(instance="i", seq=seq, deployments=list(reports), **head), address="")
                return (await service.status(None))["deployments"]

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
            said = await service.removal("GitRepo", "fleet-default", "apps")
            assert said == {"bundles": ["apps"], "deployments": 1, "clusters": ["one"]}
            assert await service.delete_object("GitRepo", "fleet-default", "apps") == said
            assert [t.name for t in (await desired(service, cluster)).tombstones] == ["apps"]
            assert await service.list_objects("Bundle") == []

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


class TestCharts:
    def test_a_chart_that_is_not_to_be_had_stops_no_sibling(self, tmp_path: Path, clone: Clone) -> None:
        """It is one clear problem; a chart in a repository that a mirror names is inside its bundle."""
        charts = tmp_path / "charts"
        folder = charts / "web"
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.2.0\n")
        (folder / "templates" / "m.yaml").write_text(MAP.format(name="web"))
        with tarfile.open(charts / "web-1.2.0.tgz", "w:gz") as tar:
            tar.add(folder, "web")
        files = {
            "good/fleet.yaml": "helm:\n  repo: https://charts.example.com\n  chart: web\n  version: ~1\n",
            "bad/fleet.yaml": "helm:\n  repo: https://charts.example.com\n  chart: gone\n",
        }
        commit = clone.push(files)

        async def work(mirror: str) -> None:
            settings = Settings(poll_seconds=1, mirrors={"https://charts.example.com": mirror})
            (tmp_path / "data").mkdir()
            service = Service(tmp_path / "data", signer=Signer.generate(), settings=settings)
            await service.start()
            try:
                await add(service, clone.url)
                repo = await scanned(service, commit)
                assert [p["path"] for p in repo["status"]["problems"]] == ["bad"]
                assert "gone" in repo["status"]["problems"][0]["summary"]
                cluster = await enrol(service, "one")
                found = (await desired(service, cluster)).bundles
                assert [b.name for b in found] == ["apps-good"]
                archive = unpack((await service.archive_path(cluster, found[0].archive)).read_bytes())
                assert any(path.startswith(".charts/") and path.endswith("/Chart.yaml") for path in archive)
            finally:
                await service.stop()

        with ChartServer(charts) as server:
            asyncio.run(work(server.url))
