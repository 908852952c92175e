"""Which kubeconfig an agent takes when none is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.config import Environment
from agent.kube.kubeconfig_search import find_kubeconfig
from fleetctl.core.model.errors import UsageError


@pytest.fixture
def distributions(tmp_path: Path) -> list[Path]:
    return [tmp_path / "k3s.yaml", tmp_path / "rke2.yaml"]


def find(
    folder: Path, distributions: Sequence[Path], *, option: Path | None = None, enrolled: str = ""
) -> Path:
    environment = Environment(
        kubeconfig=folder / "variable" if (folder / "variable").exists() else None,
        home=folder / "home",
        pod_account=folder / "account",
        service_host="10.0.0.1",
        service_port="443",
    )
    return find_kubeconfig(option, enrolled, folder, environment, distributions)


@pytest.mark.parametrize("name", ["k3s.yaml", "rke2.yaml"])
def test_the_kubeconfig_of_the_distribution_is_found(
    tmp_path: Path, distributions: list[Path], name: str
) -> None:
    (tmp_path / name).write_text("x")
    assert find(tmp_path, distributions) == tmp_path / name


def test_without_one_the_error_lists_where_it_looked(
    tmp_path: Path, distributions: list[Path]
) -> None:
    with pytest.raises(UsageError, match="no kubeconfig was found") as error:
        find(tmp_path, distributions)
    assert str(tmp_path / "rke2.yaml") in error.value.next_step
    assert "--kubeconfig FILE" in error.value.next_step


def test_the_first_place_in_the_documented_order_wins(
    tmp_path: Path, distributions: list[Path]
) -> None:
    """Option, enrolment, KUBECONFIG, the Pod's account, the distribution, the home folder."""
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    places = [tmp_path / "home" / ".kube" / "config", distributions[0]]
    for path in places:
        path.write_text("x")
        assert find(tmp_path, distributions) == path
    (tmp_path / "account").mkdir()
    (tmp_path / "account" / "token").write_text("t")
    assert find(tmp_path, distributions) == tmp_path / "kubeconfig"
    (tmp_path / "variable").write_text("x")
    assert find(tmp_path, distributions) == tmp_path / "variable"
    (tmp_path / "stored").write_text("x")
    stored = str(tmp_path / "stored")
    assert find(tmp_path, distributions, enrolled=stored) == tmp_path / "stored"
    (tmp_path / "option").write_text("x")
    option = tmp_path / "option"
    assert find(tmp_path, distributions, option=option, enrolled=stored) == option
