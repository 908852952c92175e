"""Charts that the real helm packaged, from a chart repository, a registry and a URL; helm itself is
the oracle for what it would take.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from fleetctl.core.charts.reference import ChartRequest
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import FleetError, LoginError, RefusedError, SourceError, UsageError
from fleetctl.sources.charts.remote import (
    Chart,
    ChartLimits,
    EgressPolicy,
    fetch_chart,
    fetch_dependencies,
)
from fleetctl.sources.git.repository import Credential
from manager.security.tls import ensure_identity
from tests.servers.chartserver import ChartServer
from tests.support.charts import files, helm, package, tarball, write

HERE = EgressPolicy(allow=("127.0.0.1",))
VERSIONS = ("1.0.0", "1.2.0", "1.2.5", "2.0.0-rc.1", "1.10.1+build.7", "0.3.0")


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """web in several versions, and app, which depends on two of them and on cache."""
    work, out = tmp_path_factory.mktemp("charts"), tmp_path_factory.mktemp("packaged")
    for version in VERSIONS:
        package(write(work, "web", version), out)
    package(write(work, "cache", "7.1.0"), out)
    return out


@pytest.fixture
def server(packaged: Path) -> Iterator[ChartServer]:
    with ChartServer(packaged) as running:
        yield running


def fetch(request: ChartRequest, egress: EgressPolicy = HERE, **more: object) -> Chart:
    return asyncio.run(fetch_chart(request, egress=egress, **more))


class TestRepository:
    @pytest.mark.parametrize(
        "version",
        [
            "",
            "1.2.x",
            "~1.2.0",
            "^0.3",
            ">=1.0.0 <1.2.5",
            "2.0.0-rc.1",
            ">=2.0.0-0",
            "1.10.1+build.7",
        ],
    )
    def test_the_version_is_the_one_that_helm_would_take(
        self, server: ChartServer, version: str
    ) -> None:
        """`helm show chart` against the same repository names the same version."""
        said = helm(
            "show",
            "chart",
            "web",
            "--repo",
            server.url,
            *(["--version", version] if version else []),
        )
        chart = fetch(ChartRequest("web", server.url, version))
        assert f"version: {chart.version}\n" in said

    def test_the_files_are_those_of_the_package(self, server: ChartServer, tmp_path: Path) -> None:
        """Relative to the chart's root, as `helm pull --untar` leaves them."""
        chart = fetch(ChartRequest("web", server.url, "1.2.5"))
        helm(
            "pull",
            "web",
            "--repo",
            server.url,
            "--version",
            "1.2.5",
            "--untar",
            "--untardir",
            tmp_path,
        )
        wanted = {
            p.relative_to(tmp_path / "web").as_posix(): p.read_bytes()
            for p in (tmp_path / "web").rglob("*")
            if p.is_file()
        }
        assert {path: file.data for path, file in chart.files.items()} == wanted
        assert (chart.name, chart.version, len(chart.digest)) == ("web", "1.2.5", 64)

    @pytest.mark.parametrize(
        ("chart", "version", "words", "step"),
        [
            ("none", "", "has no chart none", "helm.chart"),
            ("web", "9.x", "has no version 9.x of web", "2.0.0-rc.1, 1.10.1"),
        ],
    )
    def test_what_is_not_there_is_named(
        self, server: ChartServer, chart: str, version: str, words: str, step: str
    ) -> None:
        """With what there is."""
        with pytest.raises(SourceError, match=words) as caught:
            fetch(ChartRequest(chart, server.url, version))
        assert step in caught.value.next_step

    def test_a_mirror_stands_for_the_prefix_without_asking_the_policy(
        self, server: ChartServer
    ) -> None:
        """An administrator named it; relative addresses in the index stay below it."""
        mirrors = {"https://charts.example.com/stable": server.url}
        assert (
            fetch(
                ChartRequest("web", "https://charts.example.com/stable/", "1.2.0"),
                EgressPolicy(),
                mirrors=mirrors,
            ).version
            == "1.2.0"
        )

    def test_a_private_ca_and_a_password_open_it(self, packaged: Path, tmp_path: Path) -> None:
        """Without the one or the other there is a line that says which."""
        identity = ensure_identity(tmp_path, ["127.0.0.1"], now=datetime.now(UTC))
        with ChartServer(
            packaged, tls=(identity.cert_file, identity.key_file), auth=("ada", "pä:ss")
        ) as server:
            request = ChartRequest("web", server.url, "1.2.0")
            assert (
                fetch(request, credential=Credential("ada", "pä:ss", identity.ca_pem)).version
                == "1.2.0"
            )
            for credential, kind, words in (
                (None, SourceError, "is not trusted"),
                (Credential(ca_pem=identity.ca_pem), LoginError, "requires a login"),
                (
                    Credential("ada", "wrong-word", identity.ca_pem),
                    LoginError,
                    "refuses the user or the password",
                ),
            ):
                with pytest.raises(kind, match=words) as caught:
                    fetch(request, credential=credential)
                assert "wrong-word" not in str(caught.value) + caught.value.next_step


class TestTarball:
    def test_a_url_is_the_chart_itself(self, server: ChartServer) -> None:
        """No index is asked."""
        assert fetch(ChartRequest(f"{server.url}/web-1.2.0.tgz")).version == "1.2.0"
        assert [path for path, _ in server.asked] == ["/web-1.2.0.tgz"]

    def test_what_is_no_chart_is_refused(
        self, server: ChartServer, packaged: Path, tmp_path: Path
    ) -> None:
        """An index, say."""
        with pytest.raises(SourceError, match="is not a gzipped tar"):
            fetch(ChartRequest(f"{server.url}/index.yaml"))
        with pytest.raises(SourceError, match=r"none.tgz is not there"):
            fetch(ChartRequest(f"{server.url}/none.tgz"))
        with pytest.raises(SourceError, match="is larger than 100 bytes"):
            fetch(ChartRequest(f"{server.url}/web-1.2.0.tgz"), limits=ChartLimits(archive=100))


class TestRegistry:
    @pytest.mark.parametrize("version", ["1.2.0", "", "~1.2", "1.10.1+build.7"])
    def test_the_version_is_the_one_that_helm_would_take(
        self, server: ChartServer, version: str
    ) -> None:
        """`helm show chart oci://…` against the same registry names the same version; `+` is `_` in
        a tag.
        """
        place = f"oci://127.0.0.1:{server.port}/team/web"
        said = helm(
            "show", "chart", place, "--plain-http", *(["--version", version] if version else [])
        )
        chart = fetch(
            ChartRequest(place, version=version),
            mirrors={f"oci://127.0.0.1:{server.port}": server.url},
        )
        assert f"version: {chart.version}\n" in said

    @pytest.mark.parametrize(
        ("tag", "digest_of", "version"),
        [
            (":1.2.0", "", ""),
            (":1.10.1_build.7", "", ""),
            (":1.2.0", "1.2.0", ""),
            ("", "1.2.0", ""),
            ("", "1.2.0", "1.2.0"),
            (":1.2.0", "", "1.2.0"),
            (":not-pushed", "1.2.0", ""),
        ],
    )
    def test_an_address_may_end_in_a_tag_and_a_digest(
        self, server: ChartServer, tag: str, digest_of: str, version: str
    ) -> None:
        place, mirrors = "oci://r.example.com/team/web", {"oci://r.example.com/": server.url}
        digest = f"@{self.digest(server, digest_of)}" if digest_of else ""
        wanted = "1.10.1+build.7" if "build" in tag else "1.2.0"
        for request in (
            ChartRequest(place + tag + digest, version=version),
            ChartRequest(place + tag, version=(version or tag[1:]) + digest),
        ):
            assert fetch(request, EgressPolicy(), mirrors=mirrors).version == wanted

    def digest(self, server: ChartServer, version: str) -> str:
        body = httpx.get(f"{server.url}/v2/web/manifests/{version}").content
        return "sha256:" + hashlib.sha256(body).hexdigest()

    @pytest.mark.parametrize(
        ("address", "version", "kind", "words"),
        [
            ("web:1.2.0", "1.2.5", UsageError, "two versions"),
            ("web:1.2.0@sha256:" + "0" * 64, "", SourceError, "another digest at 1.2.0"),
            ("web@sha256:" + "0" * 64, "", SourceError, "has no sha256:000"),
            ("web@sha256:0", "", UsageError, "no digest"),
            ("web", "1.2.0@sha256:0", UsageError, "no digest"),
            ("web:a b", "", UsageError, "no tag"),
            ("web:gone", "", SourceError, "has no version gone of web"),
        ],
    )
    def test_a_tag_or_digest_that_does_not_fit_is_named(
        self, server: ChartServer, address: str, version: str, kind: type[FleetError], words: str
    ) -> None:
        mirrors = {"oci://r.example.com/": server.url}
        with pytest.raises(kind, match=words):
            fetch(ChartRequest(f"oci://r.example.com/{address}", version=version), mirrors=mirrors)

    def test_a_repo_of_a_registry_and_a_name_is_the_same(self, server: ChartServer) -> None:
        """As in Fleet's `helm.repo: oci://…`."""
        mirrors = {"oci://registry.example.com/": server.url + "/"}
        assert (
            fetch(
                ChartRequest("web", "oci://registry.example.com/team", "~1.2"),
                EgressPolicy(),
                mirrors=mirrors,
            ).version
            == "1.2.5"
        )

    def test_what_is_not_there_is_named(self, server: ChartServer) -> None:
        """A version with those that are there, a name alone."""
        mirrors = {"oci://r.example.com/": server.url + "/"}
        with pytest.raises(
            SourceError, match=r"oci://r.example.com/web has no version 9.9.9 of web"
        ) as caught:
            fetch(ChartRequest("oci://r.example.com/web", version="9.9.9"), mirrors=mirrors)
        assert "1.10.1" in caught.value.next_step
        with pytest.raises(SourceError, match=r"oci://r.example.com/none is not there"):
            fetch(ChartRequest("oci://r.example.com/none"), mirrors=mirrors)

    def test_the_login_of_a_registry_is_sent_to_it(self, packaged: Path) -> None:
        """By its `oci://` address."""
        with ChartServer(packaged, auth=("ada", "sesame")) as server:
            mirrors = {"oci://r.example.com/": server.url + "/"}
            request = ChartRequest("oci://r.example.com/web", version="1.2.0")
            assert (
                fetch(request, credential=Credential("ada", "sesame"), mirrors=mirrors).version
                == "1.2.0"
            )


class TestDependencies:
    def _needs(self, server: ChartServer) -> list[dict[str, str]]:
        return [
            {"name": "web", "repository": server.url, "version": "1.2.x"},
            {"name": "web", "repository": server.url, "version": "0.3.0", "alias": "old"},
            {"name": "cache", "repository": server.url, "version": ">0"},
        ]

    def test_helm_finds_each_where_it_was_put(self, server: ChartServer, tmp_path: Path) -> None:
        """The whole chart renders without `helm dependency update`, an aliased second version
        included.
        """
        chart = write(tmp_path / "src", "app", "1.0.0", dependencies=self._needs(server))
        (tmp_path / "served").mkdir()
        tarball(chart, tmp_path / "served" / "app-1.0.0.tgz")
        with ChartServer(tmp_path / "served") as other:
            found = fetch(ChartRequest("app", other.url))
        out = tmp_path / "out" / "app"
        for path, file in found.files.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(file.data)
        rendered = helm("template", "r", out)
        assert sorted(line for line in rendered.splitlines() if "version:" in line) == [
            '  version: "0.3.0"',
            '  version: "1.0.0"',
            '  version: "1.2.5"',
            '  version: "7.1.0"',
        ]

    def test_a_chart_in_the_repository_is_completed(
        self, server: ChartServer, tmp_path: Path
    ) -> None:
        """What stands below charts/ is left alone, the lock's version is taken, and helm renders
        the result.
        """
        needs = [
            {"name": "web", "repository": server.url, "version": "^1.0.0"},
            {"name": "cache", "repository": server.url, "version": "*"},
        ]
        chart = write(tmp_path, "app", "1.0.0", dependencies=needs)
        lock = {
            "dependencies": [{"name": "web", "repository": server.url, "version": "1.2.0"}],
            "digest": "sha256:0",
        }
        (chart / "Chart.lock").write_text(yaml.safe_dump(lock))
        have = files(chart) | files(write(tmp_path, "cache", "9.9.9"), "charts/anything/")
        added = asyncio.run(fetch_dependencies(have, egress=HERE))
        assert {path.split("/")[1] for path in added} == {"web"}
        assert b"version: 1.2.0" in added["charts/web/Chart.yaml"].data
        assert asyncio.run(fetch_dependencies(have | added, egress=HERE)) == {}

    @pytest.mark.parametrize(
        ("need", "kind", "words"),
        [
            (
                {"name": "x", "repository": "@stable", "version": "1"},
                UsageError,
                "a name that only one machine's helm knows",
            ),
            (
                {"name": "x", "repository": "file://../x", "version": "1"},
                UsageError,
                "which it does not hold",
            ),
            (
                {"name": "../x", "repository": "https://example.com", "version": "1"},
                UsageError,
                "chart name '../x'",
            ),
            (
                {"name": "x", "repository": "ftp://example.com", "version": "1"},
                RefusedError,
                "is not an http or https address",
            ),
            (
                {"name": "x", "repository": "http://169.254.169.254/", "version": "1"},
                RefusedError,
                "may not be read from",
            ),
        ],
    )
    def test_what_cannot_be_had_is_refused(
        self, need: dict[str, str], kind: type[FleetError], words: str
    ) -> None:
        """One line with the dependency."""
        have = {
            "Chart.yaml": File(
                yaml.safe_dump({"name": "app", "version": "1.0.0", "dependencies": [need]}).encode()
            )
        }
        with pytest.raises(kind, match=words):
            asyncio.run(fetch_dependencies(have, egress=HERE))

    def test_a_chart_that_depends_on_itself_ends(self, tmp_path: Path) -> None:
        """The nesting is bounded."""
        with ChartServer(tmp_path) as server:
            need = {"name": "loop", "repository": server.url, "version": "*"}
            tarball(
                write(tmp_path / "src", "loop", "1.0.0", dependencies=[need]),
                tmp_path / "loop-1.0.0.tgz",
            )
            with pytest.raises(SourceError, match="too many, or too deep"):
                fetch(ChartRequest("loop", server.url))
