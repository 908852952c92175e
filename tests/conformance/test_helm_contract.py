"""One contract for every Helm: the fake that other tests use does what the real one does against a
real API server.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import subprocess
import zlib
from pathlib import Path
from typing import Protocol

import pytest

from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import ClusterUnreachable, NotOurs, PendingOperation, ToolFailed
from fleetctl.tools.helm import Helm, HelmCli, Release, Revision, UpgradeFlags
from fleetctl.tools.helm_fake import FakeHelm
from tests.localkube.toolchain import tools

SECONDS = 60.0
BAD_NAME = "Not_A_Name"


class System(Protocol):
    """A Helm, and what befalls it."""

    helm: Helm

    def leave_pending(self, release: Release) -> None: ...
    def forget_pending(self, release: Release) -> None: ...
    def refuse_next(self) -> None: ...
    def away(self) -> Helm: ...


class Fake:
    def __init__(self) -> None:
        self.helm = FakeHelm()

    def leave_pending(self, release: Release) -> None:
        self.helm.leave_pending(release)

    def forget_pending(self, release: Release) -> None:
        self.helm.forget_pending(release)

    def refuse_next(self) -> None:
        self.helm.refusals.append(f'ConfigMap "{BAD_NAME}" is invalid')

    def away(self) -> Helm:
        return FakeHelm(reachable=False)


class Real:
    """The record of a killed helm is made by hand: a copy of the last one with another number and
    status.
    """

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._home = home
        self._kubectl = [*tools.find("kubectl").argv, "--kubeconfig", str(kubeconfig)]
        self.helm = HelmCli(tools.find("helm").argv, kubeconfig=kubeconfig, home=home)

    def leave_pending(self, release: Release) -> None:
        secret = self._records(release)[-1]
        record = json.loads(
            gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
        )
        record["version"] += 1
        record["info"]["status"] = "pending-upgrade"
        labels = secret["metadata"]["labels"] | {
            "status": "pending-upgrade",
            "version": str(record["version"]),
        }
        data = base64.b64encode(
            base64.b64encode(zlib.compress(json.dumps(record).encode(), wbits=31))
        ).decode()
        meta = {"name": f"sh.helm.release.v1.{release.name}.v{record['version']}", "labels": labels}
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": secret["type"],
            "metadata": meta,
            "data": {"release": data},
        }
        self._run(release, "create", "-f", "-", stdin=json.dumps(document))

    def forget_pending(self, release: Release) -> None:
        self._run(
            release,
            "delete",
            "secret",
            "-l",
            f"owner=helm,name={release.name},status=pending-upgrade",
        )

    def refuse_next(self) -> None:
        """The API server does, because of the name."""

    def away(self) -> Helm:
        config = self._home / "nowhere"
        parts = {
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
            "users": [{"name": "u", "user": {}}],
        }
        context = {
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        config.write_text(json.dumps(parts | context))
        return HelmCli(tools.find("helm").argv, kubeconfig=config, home=self._home)

    def _records(self, release: Release) -> list[dict]:
        found = json.loads(
            self._run(
                release, "get", "secret", "-l", f"owner=helm,name={release.name}", "-o", "json"
            )
        )["items"]
        return sorted(found, key=lambda s: int(s["metadata"]["labels"]["version"]))

    def _run(self, release: Release, *words: str, stdin: str = "") -> str:
        command = [*self._kubectl, "-n", release.namespace, *words]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=True, timeout=SECONDS
        ).stdout


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> System:
    if request.param == "fake":
        return Fake()
    return Real(request.getfixturevalue("kube")["dev"].kubeconfig, tmp_path)


@pytest.fixture
def release(request: pytest.FixtureRequest) -> Release:
    """A namespace of each test's own."""
    return Release("web", f"contract-{zlib.crc32(request.node.name.encode())}")


@pytest.fixture
def chart(tmp_path: Path):
    """Makes a chart that hands one ConfigMap through."""

    def made(text: str = "one", name: str = "web") -> Path:
        folder = tmp_path / f"chart-{text}-{name}"
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 0.1.0\n")
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"text": text},
        }
        (folder / "manifests.yaml").write_text(json.dumps(document))
        (folder / "templates" / "all.yaml").write_text('{{ .Files.Get "manifests.yaml" }}')
        return folder

    return made


def upgrade(helm: Helm, release: Release, chart: Path, **flags) -> Revision:
    return asyncio.run(helm.upgrade(release, chart, b"{}", UpgradeFlags(**flags), deadline=SECONDS))


def history(helm: Helm, release: Release) -> list[tuple[int, str]]:
    return [(r.number, r.status) for r in asyncio.run(helm.history(release, deadline=SECONDS))]


def uninstall(helm: Helm, release: Release) -> None:
    asyncio.run(helm.uninstall(release, deadline=SECONDS))


def texts(manifest: bytes | str) -> list[str]:
    return [d["data"]["text"] for d in load_all(manifest)]


def test_each_upgrade_is_a_revision_and_the_last_one_is_deployed(
    system: System, release: Release, chart
) -> None:
    """Its answer, the manifest and the history say the same."""
    first = upgrade(system.helm, release, chart("one"), labels={"fleetctl-bundle": "web"})
    second = upgrade(system.helm, release, chart("two"))
    assert [(first.number, first.status), (second.number, second.status)] == [
        (1, "deployed"),
        (2, "deployed"),
    ]
    assert texts(first.manifest) == ["one"]
    assert (
        texts(asyncio.run(system.helm.manifest(release, deadline=SECONDS)))
        == texts(second.manifest)
        == ["two"]
    )
    assert history(system.helm, release) == [(1, "superseded"), (2, "deployed")]
    uninstall(system.helm, release)


def test_only_so_many_records_are_kept(system: System, release: Release, chart) -> None:
    """The oldest go first."""
    for text in ("one", "two", "three", "four"):
        upgrade(system.helm, release, chart(text), max_history=2)
    assert history(system.helm, release) == [(3, "superseded"), (4, "deployed")]
    uninstall(system.helm, release)


def test_what_is_gone_is_gone(system: System, release: Release, chart) -> None:
    """Uninstalling twice is no error, and nothing is left to be told."""
    upgrade(system.helm, release, chart())
    uninstall(system.helm, release)
    uninstall(system.helm, release)
    assert history(system.helm, release) == []
    with pytest.raises(ToolFailed, match="not found"):
        asyncio.run(system.helm.manifest(release, deadline=SECONDS))


def test_a_record_can_outlive_its_objects(system: System, release: Release, chart) -> None:
    """Until somebody has seen that they are gone; a second time is refused, and an upgrade installs
    anew over it.
    """
    upgrade(system.helm, release, chart("one"))
    asyncio.run(system.helm.uninstall(release, deadline=SECONDS, keep_record=True))
    assert history(system.helm, release) == [(1, "uninstalled")]
    with pytest.raises(ToolFailed, match="already deleted"):
        asyncio.run(system.helm.uninstall(release, deadline=SECONDS, keep_record=True))
    assert upgrade(system.helm, release, chart("two")).number == 2
    uninstall(system.helm, release)


def test_a_dry_run_tells_and_changes_nothing(system: System, release: Release, chart) -> None:
    """What would be applied, of a release that is not there and of one that is."""
    one = chart("one")
    told = upgrade(system.helm, release, one, dry_run=True)
    assert (told.number, texts(told.manifest), history(system.helm, release)) == (1, ["one"], [])
    upgrade(system.helm, release, one)
    assert texts(
        upgrade(system.helm, release, chart("two"), dry_run=True, take_ownership=True).manifest
    ) == ["two"]
    assert texts(asyncio.run(system.helm.manifest(release, deadline=SECONDS))) == ["one"]
    uninstall(system.helm, release)


def test_an_object_of_another_release_is_not_taken_without_a_word(
    system: System, release: Release, chart
) -> None:
    """Refused before anything changes; with take_ownership it is taken."""
    other, two = Release(f"{release.name}-b", release.namespace), chart("two")
    upgrade(system.helm, release, chart("one"))
    with pytest.raises(NotOurs, match="invalid ownership metadata"):
        upgrade(system.helm, other, two)
    assert history(system.helm, other) == []
    assert upgrade(system.helm, other, two, take_ownership=True).number == 1
    uninstall(system.helm, other)
    uninstall(system.helm, release)


def test_a_killed_upgrade_refuses_others_until_its_record_is_gone(
    system: System, release: Release, chart
) -> None:
    """And then the number is used again."""
    upgrade(system.helm, release, chart("one"))
    system.leave_pending(release)
    with pytest.raises(PendingOperation):
        upgrade(system.helm, release, chart("two"))
    system.forget_pending(release)
    assert upgrade(system.helm, release, chart("three")).number == 2
    uninstall(system.helm, release)


def test_a_refused_upgrade_is_a_failed_record_that_blocks_nothing(
    system: System, release: Release, chart
) -> None:
    """The deployed one stays until the next that succeeds."""
    upgrade(system.helm, release, chart("one"))
    system.refuse_next()
    with pytest.raises(ToolFailed, match=BAD_NAME):
        upgrade(system.helm, release, chart("two", BAD_NAME), max_history=5)
    assert history(system.helm, release) == [(1, "deployed"), (2, "failed")]
    assert upgrade(system.helm, release, chart("three"), max_history=5).number == 3
    assert history(system.helm, release) == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    uninstall(system.helm, release)


def test_a_name_in_two_namespaces_is_two_releases(system: System, release: Release, chart) -> None:
    """Removing one leaves the other."""
    other = Release(release.name, f"{release.namespace}-b")
    upgrade(system.helm, release, chart("one"))
    upgrade(system.helm, other, chart("two"))
    uninstall(system.helm, release)
    assert history(system.helm, other) == [(1, "deployed")]
    uninstall(system.helm, other)


def test_a_cluster_that_is_away_is_named_by_every_call(
    system: System, release: Release, chart
) -> None:
    """It is not a failed release."""
    away = system.away()
    for call in (
        away.upgrade(release, chart(), b"{}", UpgradeFlags(), deadline=SECONDS),
        away.history(release, deadline=SECONDS),
        away.manifest(release, deadline=SECONDS),
        away.uninstall(release, deadline=SECONDS),
    ):
        with pytest.raises(ClusterUnreachable):
            asyncio.run(call)
