"""Which kubeconfig an agent takes when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import config
from fleetctl.core.model.errors import UsageError


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("FLEET_AGENT_POD_ACCOUNT", str(tmp_path / "no-account"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config, "_ON_NODE", (tmp_path / "k3s.yaml", tmp_path / "rke2.yaml"))


@pytest.mark.parametrize("name", ["k3s.yaml", "rke2.yaml"])
def test_the_kubeconfig_of_the_distribution_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert config.kubeconfig(None, "", tmp_path) == tmp_path / name


def test_without_one_the_error_lists_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kubeconfig was found") as error:
        config.kubeconfig(None, "", tmp_path)
    assert str(tmp_path / "rke2.yaml") in error.value.next_step
    assert "--kubeconfig FILE" in error.value.next_step
