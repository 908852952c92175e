"""The whole service without HTTP: a real Git server, a real database, and agents that only speak
the wire's messages.
"""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetctl.core.formats.bundle_archive import unpack
from fleetctl.core.model import wire
from fleetctl.core.model.errors import Conflict, FleetError, NotFound
from fleetctl.core.model.status import Report, State
from manager.commands.removals import Labels
from manager.reconcile.reconcile import reconcile
from manager.security.signing import Signer, verify
from manager.service import Service, ServiceSettings
from tests.servers.chartserver import ChartServer
from tests.servers.gitserver import GitServer
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import MAP, add, desired, enrol, run, scanned, serving
from tests.support.waiting import until


class TestFromCommitToDocument:
    def test_a_commit_reaches_the_clusters_that_it_is_for(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """A cluster's document holds the bundles meant for it, signed, and its archive is the files
        in Git.
        """
        files = {
            "web/map.yaml": MAP.format(name="web"),
            "db/fleet.yaml": "defaultNamespace: db\n",
            "db/m.yaml": MAP.format(name="db"),
        }
        commit = clone.push(files)

        async def work(service: Service) -> None:
            target = [{"name": "prod", "clusterSelector": {"matchLabels": {"env": "prod"}}}]
            await add(service, clone.url, paths=["web", "db"], targets=target)
            prod, dev = await enrol(service, "p", env="prod"), await enrol(service, "d", env="dev")
            await scanned(service, commit)
            found = await desired(service, prod)
            assert [(b.name, b.options.default_namespace) for b in found.bundles] == [
                ("apps-db", "db"),
                ("apps-web", None),
            ]
            assert (await desired(service, dev)).bundles == []
            path = await service.agents.archive_path(prod, found.bundles[1].archive)
            assert unpack(path.read_bytes())["map.yaml"].data == files["web/map.yaml"].encode()
            with pytest.raises(NotFound):
                await service.agents.archive_path(dev, found.bundles[1].archive)

        run(tmp_path / "data", work)

    def test_what_is_left_out_is_told(self, tmp_path: Path, clone: Clone) -> None:
        """A misplaced key is a warning, and stands in nobody's way."""
        commit = clone.push(
            {"web/m.yaml": MAP.format(name="web"), "web/fleet.yaml": "clusterGroup: x\n"}
        )

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["web"], ociRegistrySecret="x")
            status = (await scanned(service, commit))["status"]
            assert [w["code"] for w in status["warnings"]] == ["no-effect", "misplaced-key"]
            assert status["problems"] == []
            bundle = await service.views.get_object("Bundle", "fleet-default", "apps-web")
            assert [w["summary"] for w in bundle["status"]["warnings"]] == [
                "web/fleet.yaml:1:1: key `clusterGroup` has no effect here"
            ]

        run(tmp_path / "data", work)

    def test_a_bundle_that_can_no_longer_be_made_stays_and_is_a_problem(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Links in it are followed; a link that leads nowhere, a submodule, and a directory that
        became empty are problems, no removals.
        """
        (clone.folder / "web").mkdir(parents=True, exist_ok=True)
        (clone.folder / "web" / "link.yaml").symlink_to("m.txt")
        files = {
            "web/m.txt": MAP.format(name="web"),
            "web/fleet.yaml": "",
            "empty/fleet.yaml": "",
            "empty/m.yaml": MAP.format(name="e"),
        }
        commit = clone.push({**files, "sub/fleet.yaml": "", "sub/m.yaml": MAP.format(name="s")})

        async def work(service: Service) -> None:
            await add(service, clone.url)
            status = (await scanned(service, commit))["status"]
            assert (status["problems"], status["warnings"]) == ([], [])
            second = await asyncio.to_thread(clone.push, {"empty/m.yaml": None})
            await service.gitrepos.sync("fleet-default", "apps")
            status = (await scanned(service, second))["status"]
            assert (
                "empty holds no file to deploy; bundle apps-empty"
                in status["problems"][0]["summary"]
            )
            assert status["held"] is None
            shutil.rmtree(clone.folder / "empty")
            (clone.folder / "empty").symlink_to("web")
            second = await asyncio.to_thread(clone.push, {})
            await service.gitrepos.sync("fleet-default", "apps")
            status = (await scanned(service, second))["status"]
            assert "empty is now a symbolic link" in status["problems"][0]["summary"]
            (clone.folder / "empty").unlink()
            (clone.folder / "web" / "link.yaml").unlink()
            (clone.folder / "web" / "link.yaml").symlink_to("gone.yaml")
            (clone.folder / "sub" / "module").mkdir()
            clone.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub/module")
            third = await asyncio.to_thread(
                clone.push, {"empty/fleet.yaml": "", "empty/m.yaml": MAP.format(name="e")}
            )
            await service.gitrepos.sync("fleet-default", "apps")
            summaries = [
                p["summary"] for p in (await scanned(service, third))["status"]["problems"]
            ]
            assert "web/link.yaml: the symbolic link to gone.yaml leads to no file" in summaries[1]
            assert "sub/module: is a submodule" in summaries[0]
            names = sorted(
                b["metadata"]["name"] for b in await service.views.list_objects("Bundle")
            )
            assert names == ["apps-empty", "apps-sub", "apps-web"]
            display = (await service.views.get_object("Bundle", "fleet-default", "apps-web"))[
                "status"
            ]["display"]
            assert display["state"] == "Stalled"
            assert "web/link.yaml" in display["message"]

        run(tmp_path / "data", work)

    def test_only_what_changed_gets_a_new_generation(self, tmp_path: Path, clone: Clone) -> None:
        """A commit that touches one bundle leaves the other as it was, and wakes who waits."""
        first = clone.push(
            {"web/m.yaml": MAP.format(name="web"), "db/m.yaml": MAP.format(name="db")}
        )

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["web", "db"])
            cluster = await enrol(service, "a")
            await scanned(service, first)
            before = {b.name: b.generation for b in (await desired(service, cluster)).bundles}
            held = (await service.agents.get_document(cluster)).etag
            waiting = asyncio.create_task(service.agents.wait_document(cluster, held, 30))
            second = await asyncio.to_thread(clone.push, {"web/m.yaml": MAP.format(name="web2")})
            await service.gitrepos.sync("fleet-default", "apps")
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
            kept["document"] = await service.agents.get_document(kept["cluster"])

        async def after(service: Service) -> None:
            document = await service.agents.get_document(kept["cluster"])
            assert document == kept["document"]
            assert (await service.agents.get_document(kept["cluster"], document.etag)).body == b""

        run(tmp_path / "data", before)
        run(tmp_path / "data", after)
        envelope = msgspec.json.decode(kept["document"].body, type=wire.Envelope)
        public = Signer.load_or_create(tmp_path / "data").public_key
        assert verify(
            public, wire.unb64(envelope.signature), wire.desired_bytes(envelope.payload.encode())
        )

    def test_labels_move_a_cluster_at_once(self, tmp_path: Path, clone: Clone) -> None:
        """A bundle that no target gives to the cluster any more becomes a tombstone until the agent
        has reported it.
        """
        commit = clone.push({"m.yaml": MAP.format(name="a")})

        async def work(service: Service) -> None:
            await add(
                service, clone.url, targets=[{"clusterSelector": {"matchLabels": {"env": "prod"}}}]
            )
            cluster = await enrol(service, "a", env="prod")
            await scanned(service, commit)
            generation = (await desired(service, cluster)).bundles[0].generation
            await service.removals.label(Labels("fleet-default", {"env": None}, ["a"], removals=1))
            gone = (await desired(service, cluster)).tombstones
            assert [t.name for t in gone] == ["apps"]
            assert gone[0].generation > generation
            done = Report(
                bundle=gone[0].name, generation=gone[0].generation, state=State.READY, removed=True
            )
            await service.agents.report(
                cluster,
                wire.StatusRequest(instance="i", seq=1, full=True, deployments=[done]),
            )
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
    def test_what_is_wrong_stands_on_the_repository(
        self, tmp_path: Path, clone: Clone, change: dict[str, Any], words: list[str]
    ) -> None:
        """A wrong address, branch or path is one line with a next step, and the manager goes on."""
        clone.push({"web/m.yaml": MAP.format(name="a")})

        async def work(service: Service) -> None:
            await add(
                service,
                change.get("repo", clone.url),
                **{k: v for k, v in change.items() if k != "repo"},
            )
            look = await until(
                lambda: service.views.get_object("GitRepo", "fleet-default", "apps"),
                lambda r: r["status"]["display"]["state"] == "Stalled",
            )
            text = str(look["status"]["error"]) + str(look["status"]["problems"])
            assert all(word in text for word in words), text

        run(tmp_path / "data", work)

    def test_a_broken_bundle_stops_no_other(self, tmp_path: Path, clone: Clone) -> None:
        """The unknown key is named with its line and a suggestion; the sibling is deployed, and
        nothing is removed.
        """
        commit = clone.push({"a/m.yaml": MAP.format(name="a"), "b/m.yaml": MAP.format(name="b")})

        async def work(service: Service) -> None:
            await add(service, clone.url, paths=["a", "b"])
            cluster = await enrol(service, "one")
            await scanned(service, commit)
            broken = await asyncio.to_thread(
                clone.push,
                {"a/m.yaml": MAP.format(name="a2"), "b/fleet.yaml": "helmm:\n  chart: x\n"},
            )
            repo = await scanned(service, broken)
            assert "b/fleet.yaml:1" in repo["status"]["problems"][0]["summary"]
            assert (
                "helm"
                in repo["status"]["problems"][0]["summary"]
                + repo["status"]["problems"][0]["next_step"]
            )
            assert [b.name for b in (await desired(service, cluster)).bundles] == [
                "apps-a",
                "apps-b",
            ]

        run(tmp_path / "data", work)

    def test_a_mass_removal_is_held_until_it_is_confirmed(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Six of twelve bundles stay until exactly six are confirmed at that commit."""
        files: dict[str, str | bytes | None] = {
            f"b{i:02}/m.yaml": MAP.format(name=f"m{i}") for i in range(12)
        }
        first = clone.push(
            {
                **files,
                "b00/fleet.yaml": "{}\n",
                **{f"b{i:02}/fleet.yaml": "{}\n" for i in range(12)},
            }
        )

        async def work(service: Service) -> None:
            await add(service, clone.url)
            cluster = await enrol(service, "one")
            await scanned(service, first)
            assert len((await desired(service, cluster)).bundles) == 12
            removed: dict[str, str | bytes | None] = {
                f"b{i:02}/{n}": None for i in range(6) for n in ("m.yaml", "fleet.yaml")
            }
            second = await asyncio.to_thread(clone.push, removed)
            repo = await scanned(service, second)
            assert repo["status"]["display"]["state"] == "Held"
            assert (repo["status"]["held"]["removals"], repo["status"]["held"]["of"]) == (6, 12)
            assert len((await desired(service, cluster)).bundles) == 12
            with pytest.raises(Conflict):
                await service.gitrepos.confirm("fleet-default", "apps", 5, second)
            await service.gitrepos.confirm("fleet-default", "apps", 6, second[:12])
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

                return await until(
                    lambda: service.views.get_object("GitRepo", "fleet-default", "apps"), good
                )

            def secret(password: str) -> dict[str, Any]:
                meta = {"name": "login", "namespace": "fleet-default"}
                return {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": meta,
                    "stringData": {"username": "ada", "password": password},
                }

            await add(service, clone.url)
            await state("needs a user and a password")
            await service.objects.put("Secret", "fleet-default", "login", secret("wrong-word"))
            await add(service, clone.url, clientSecretName="login")
            await state("refuses the user or the password")
            shown = await service.objects.put(
                "Secret", "fleet-default", "login", secret("open-sesame")
            )
            await state(commit)
            assert "open-sesame" not in str(shown.object)

        with GitServer(tmp_path / "private", auth=("ada", "open-sesame")) as server:
            clone = Clone(server, "apps", tmp_path / "clone")
            commit = clone.push({"m.yaml": MAP.format(name="a")})
            run(tmp_path / "data", work)
        assert b"open-sesame" not in (tmp_path / "data" / "fleet.db").read_bytes()


class TestCharts:
    def test_a_chart_that_is_not_to_be_had_stops_no_sibling(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """It is one clear problem; a chart in a repository that a mirror names is inside its
        bundle.
        """
        charts = tmp_path / "charts"
        folder = charts / "web"
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.2.0\n")
        (folder / "templates" / "m.yaml").write_text(MAP.format(name="web"))
        with tarfile.open(charts / "web-1.2.0.tgz", "w:gz") as tar:
            tar.add(folder, "web")
        files = {
            "good/fleet.yaml": (
                "helm:\n  repo: https://charts.example.com\n  chart: web\n  version: ~1\n"
            ),
            "bad/fleet.yaml": "helm:\n  repo: https://charts.example.com\n  chart: gone\n",
        }
        commit = clone.push(files)

        async def work(mirror: str) -> None:
            settings = ServiceSettings(
                poll_seconds=1, mirrors={"https://charts.example.com": mirror}
            )
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
                archive = unpack(
                    (await service.agents.archive_path(cluster, found[0].archive)).read_bytes()
                )
                assert any(
                    path.startswith(".charts/") and path.endswith("/Chart.yaml") for path in archive
                )
            finally:
                await service.stop()

        with ChartServer(charts) as server:
            asyncio.run(work(server.url))


def test_a_dry_run_of_a_cluster_reconciles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers what the write would be, refuses what the write refuses, and stores nothing; the
    write reconciles once.
    """
    calls: list[object] = []

    def counted(*args: Any, **more: Any) -> set[Any]:
        calls.append(args)
        return reconcile(*args, **more)

    monkeypatch.setattr("manager.commands.object_effects.reconcile", counted)

    async def main() -> None:
        async with serving(tmp_path / "m") as service:
            head = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Cluster"}
            doc = {
                **head,
                "metadata": {"name": "c", "namespace": "fleet-default", "labels": {"a": "b"}},
                "spec": {},
            }
            put = await service.objects.put("Cluster", "fleet-default", "c", doc, dry_run=True)
            assert (put.result, put.object["metadata"]["labels"]["a"], calls) == (
                "created",
                "b",
                [],
            )
            assert await service.views.list_objects("Cluster") == []
            with pytest.raises(FleetError):
                await service.objects.put(
                    "Cluster", "fleet-default", "c", {**doc, "spec": 1}, dry_run=True
                )
            assert (
                await service.objects.put("Cluster", "fleet-default", "c", doc)
            ).result == "created"
            assert len(calls) == 1
            assert (
                await service.objects.put("Cluster", "fleet-default", "c", doc, dry_run=True)
            ).result == "unchanged"

    asyncio.run(main())
