"""The agent's configuration: command line and environment, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import Environment, read_config, read_environment
from fleetctl.core.model.errors import UsageError


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_environment({}) == Environment()
    assert read_environment({"FLEET_AGENT_HELM_SECONDS": "", "KUBECONFIG": ""}) == Environment()


def test_variables_replace_the_defaults() -> None:
    environment = read_environment(
        {
            "FLEET_AGENT_HELM_SECONDS": "6",
            "FLEET_AGENT_WORK_MEMORY_MIB": "110",
            "FLEET_AGENT_UPGRADE_RETRY_SECONDS": "0.2",
            "FLEET_AGENT_LONGEST_PAUSE_SECONDS": "0.1",
            "FLEET_AGENT_TRIAL": "1",
            "KUBECONFIG": "/a:/b",
        }
    )
    assert environment.helm_seconds == 6
    assert environment.work_memory_bytes == 110 * 1024 * 1024
    assert environment.upgrade_retry.cap == 0.2
    assert environment.longest_pause_seconds == 1
    assert environment.is_on_trial
    assert environment.kubeconfig == Path("/a")


def test_the_namespace_of_the_pod_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("fleet-system\n")
    environment = read_environment(
        {"FLEET_AGENT_POD_ACCOUNT": str(tmp_path), "FLEET_AGENT_POD_SECURITY_LABELS": "allow"}
    )
    assert environment.pod_namespace == "fleet-system"
    assert environment.allows_pod_security_labels
    assert not read_environment({}).allows_pod_security_labels


def test_a_number_that_cannot_be_read_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="FLEET_AGENT_VALUES_SECONDS: 'often' is not a number"):
        read_environment({"FLEET_AGENT_VALUES_SECONDS": "often"})


def test_options_win_over_the_environment() -> None:
    variables = {
        "FLEET_AGENT_STATE_DIR": "/from/environment",
        "FLEET_AGENT_SERVICE_ACCOUNT_NAMESPACE": "accounts",
    }
    config = read_config(["run"], variables)
    assert config.state_dir == Path("/from/environment")
    assert config.service_account_namespace == "accounts"
    config = read_config(["run", "--state-dir", "/option", "--release-key", "k"], variables)
    assert config.state_dir == Path("/option")
    assert config.release_keys == ("k",)
    assert config.arguments == ("run", "--state-dir", "/option", "--release-key", "k")


def test_version_is_a_command_and_an_option() -> None:
    assert read_config(["--version"], {}).command == "version"


def test_only_check_works_without_a_state_directory() -> None:
    assert read_config(["check", "--url", "https://m"], {}).optional_state_dir is None
    with pytest.raises(UsageError, match="--state-dir"):
        read_config(["run"], {})
