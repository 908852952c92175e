"""helm 4 does what the agent relies on, against a real API server."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from fleetctl.core.model.errors import ClusterUnreachable, PendingOperation, ToolFailed
from fleetctl.tools.helm import HelmCli, Release, UpgradeFlags
from fleetctl.tools.helm_errors import translate
from tests.localkube.toolchain import tools

CHART = Path(__file__).parents[2] / "examples" / "apps" / "hello-helm"
SECONDS = 60.0


@pytest.fixture
def helm(kube, tmp_path):
    return HelmCli(tools.find("helm").argv, kubeconfig=kube["dev"].kubeconfig, home=tmp_path)


def kubectl(kube, tool_env, *argv: str) -> str:
    command = ["kubectl", "--kubeconfig", str(kube["dev"].kubeconfig), *argv]
    return subprocess.run(
        command, env=tool_env, capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout


def upgrade(helm, release, values=b"{}", **flags):
    return asyncio.run(
        helm.upgrade(release, CHART, values, UpgradeFlags(**flags), deadline=SECONDS)
    )


@pytest.mark.cluster
def test_a_release_lives_from_install_to_uninstall(helm, kube, tool_env):
    """Install, upgrade with other values, see both in the history, uninstall, and once more for
    nothing.
    """
    release = Release("hello", "helm-life")
    assert upgrade(helm, release, labels={"fleetctl-bundle": "hello"}, timeout=30).number == 1
    assert upgrade(helm, release, b'{"greeting": "again"}').number == 2
    history = asyncio.run(helm.history(release, deadline=SECONDS))
    assert [(r.number, r.status) for r in history] == [(1, "superseded"), (2, "deployed")]
    assert b'text: "again"' in asyncio.run(helm.manifest(release, deadline=SECONDS))
    marks = json.loads(
        kubectl(
            kube,
            tool_env,
            "-n",
            "helm-life",
            "get",
            "secret",
            "-l",
            "fleetctl-bundle=hello",
            "-o",
            "json",
        )
    )
    assert len(marks["items"]) >= 1
    for _ in range(2):
        asyncio.run(helm.uninstall(release, deadline=SECONDS))
    assert asyncio.run(helm.history(release, deadline=SECONDS)) == []


@pytest.mark.cluster
def test_a_hand_edit_does_not_block_the_next_upgrade(helm, kube, tool_env):
    """Git wins on the field it states."""
    release = Release("hello", "helm-edit")
    upgrade(helm, release)
    patch = '{"data": {"text": "mine", "more": "kept"}}'
    kubectl(kube, tool_env, "-n", "helm-edit", "patch", "configmap", "hello", "-p", patch)
    upgrade(helm, release, b'{"greeting": "from git"}')
    data = json.loads(
        kubectl(kube, tool_env, "-n", "helm-edit", "get", "configmap", "hello", "-o", "json")
    )["data"]
    assert data == {"text": "from git", "more": "kept"}


@pytest.mark.cluster
def test_a_chart_that_does_not_render_is_one_line(helm, tmp_path):
    """It names the template."""
    chart = tmp_path / "bad"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: bad\nversion: 0.1.0\n")
    (chart / "templates" / "x.yaml").write_text('{{ fail "no region" }}')
    with pytest.raises(ToolFailed, match="no region") as caught:
        asyncio.run(
            helm.upgrade(Release("bad", "helm-bad"), chart, b"{}", UpgradeFlags(), deadline=SECONDS)
        )
    assert "\n" not in caught.value.summary


def test_an_api_server_that_is_gone_is_named(tmp_path):
    """Not a failed release, a cluster that is away."""
    config = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config.write_text(
        json.dumps(
            {
                "clusters": [cluster],
                "contexts": [context],
                "current-context": "c",
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    away = HelmCli(tools.find("helm").argv, kubeconfig=config, home=tmp_path)
    with pytest.raises(ClusterUnreachable):
        upgrade(away, Release("hello", "away"))


def test_a_pending_operation_is_told_apart():
    """The agent recovers from it."""
    found = translate(
        b"Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress\n",
        Release("a", "b"),
    )
    assert isinstance(found, PendingOperation)


@pytest.mark.cluster
def test_a_release_that_may_not_be_read_is_not_called_uninstalled(helm):
    """helm's own `--ignore-not-found` says so; and another user's rights are that user's, for
    reading and for writing.
    """
    release = Release("hello", "helm-forbidden")
    nobody = helm.acting_as("system:serviceaccount:default:nobody-at-all")
    with pytest.raises(ToolFailed, match="system:serviceaccount:default:nobody-at-all"):
        upgrade(nobody, release)
    upgrade(helm, release)
    try:
        with pytest.raises(ToolFailed, match="forbidden"):
            asyncio.run(nobody.uninstall(release, deadline=SECONDS))
        assert [
            r.status for r in asyncio.run(nobody.acting_as("").history(release, deadline=SECONDS))
        ] == ["deployed"]
    finally:
        asyncio.run(helm.uninstall(release, deadline=SECONDS))
    assert asyncio.run(helm.history(release, deadline=SECONDS)) == []
