"""Session fixtures: the external tools, and three real Kubernetes APIs with the player.

Rule: they take what `make tools` has put into the cache, or PATH; they fetch and build nothing, and
they never skip: a missing tool fails the test and says what to run. Register with ``pytest_plugins
= ["tests.support.kube"]``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.localkube.cluster import Cluster
from tests.localkube.errors import LocalkubeError
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools

TOOLS = ("helm", "kubectl", "kustomize")
CLUSTERS = ("dev", "test", "prod")


@pytest.fixture(scope="session")
def tool_env() -> dict[str, str]:
    """The whole environment for a child process in which helm, kubectl and kustomize resolve; no
    KUBECONFIG.
    """
    try:
        found = {name: tools.find(name) for name in TOOLS}
    except LocalkubeError as error:
        pytest.fail(f"run `make tools` first: {error}", pytrace=False)
    kept = {
        key: value
        for key, value in os.environ.items()
        if key != "KUBECONFIG" and not key.startswith("HELM_")
    }
    return kept | tools.env(found)


class SharedKube(LocalKube):
    """Clusters that start when a test first asks for them: each costs 5 s of CPU time, and some
    more while it runs.
    """

    def __getitem__(self, name: str) -> Cluster:
        return self._clusters[name] if name in self._clusters else self.add(name)

    def __iter__(self) -> Iterator[Cluster]:
        return iter([self[name] for name in CLUSTERS] if self._etcd else [])


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKube]:
    """``kube["dev"]``, ``kube["test"]``, ``kube["prod"]``: shared by all tests, so each takes its
    own namespace.

    Do not stop one of these; a test that breaks a cluster starts a LocalKube of its own.
    """
    local = SharedKube(tmp_path_factory.mktemp("kube"), (), player=True)
    try:
        local.start()
    except LocalkubeError as error:
        pytest.fail(f"no Kubernetes API (run `make tools` first): {error}", pytrace=False)
    try:
        yield local
    finally:
        local.stop()
