"""The systemd units confine the programs, and fit what the programs write."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "examples" / "systemd"
NAMES = ("fleet-manager", "fleet-agent")
REQUIRED = {
    "Type": "notify",
    "UMask": "0077",
    "Restart": "always",
    "StateDirectoryMode": "0700",
    "NoNewPrivileges": "true",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "PrivateTmp": "true",
    "PrivateDevices": "true",
    "ProtectKernelTunables": "true",
    "ProtectKernelModules": "true",
    "ProtectControlGroups": "true",
    "SystemCallFilter": "@system-service",
    "SystemCallArchitectures": "native",
    "RestrictSUIDSGID": "true",
    "LockPersonality": "true",
}
NUMBERS = ("RestartSec", "WatchdogSec", "LimitNOFILE", "TasksMax", "MemoryMax", "TimeoutStopSec")


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string((UNITS / f"{name}.service").read_text())
    return parser


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_confines_its_program(name: str) -> None:
    service = unit(name)["Service"]
    assert {key: service.get(key) for key in REQUIRED} == REQUIRED
    assert all(re.fullmatch(r"\d+[GM]?", service.get(key, "")) for key in NUMBERS)
    assert unit(name)["Unit"]["StartLimitIntervalSec"] == "0"
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(service["RestrictAddressFamilies"].split())
    assert service["StateDirectory"] == name
    assert f"/var/lib/{name}" in service["ExecStart"]


def test_the_manager_has_a_user_of_its_own_and_the_agent_can_read_a_kubeconfig() -> None:
    assert unit("fleet-manager")["Service"]["DynamicUser"] == "true"
    assert unit("fleet-manager")["Service"]["ProtectHome"] == "true"
    assert unit("fleet-agent")["Service"]["ProtectHome"] == "read-only"
    # kustomize is started in a user and a network namespace.
    assert not {"user", "net"} & set(
        unit("fleet-agent")["Service"].get("RestrictNamespaces", "~").removeprefix("~").split()
    )


@pytest.mark.parametrize("name", NAMES)
def test_systemd_calls_the_exposure_ok(name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # the properties themselves are compared above
    words = [
        analyze,
        "security",
        "--offline=true",
        "--threshold=40",
        str(UNITS / f"{name}.service"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-300:]
