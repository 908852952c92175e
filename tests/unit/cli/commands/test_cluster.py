"""What a person pastes on a node."""

from __future__ import annotations

import subprocess
from typing import Any

from fleetctl.cli.commands.cluster.register import helm_instructions, instructions

MADE: dict[str, Any] = {
    "token": "tok-en_1",
    "expires": "2030-01-01T00:00:00Z",
    "caPin": "ab" * 32,
    "url": "https://fleet.test:7443",
    "agentSha256": "cd" * 32,
    "agentPath": "/install/fleet-agent.pyz",
}


def test_the_token_meets_only_the_agent_that_was_checked():
    """Download, check, move and enrol are one command joined by &&, ended by the here-document."""
    lines = instructions("paris", MADE)
    begin = next(at for at, line in enumerate(lines) if line.startswith("curl "))
    end = lines.index(MADE["token"])
    assert all(line.endswith(" &&") for line in lines[begin : end - 1])
    assert lines[end - 1].endswith("<<'TOKEN'")
    assert lines[end + 1] == "TOKEN"
    assert "sha256sum -c" in "\n".join(lines[begin:end])
    assert sum(MADE["token"] in line for line in lines) == 1


def test_the_lines_are_a_shell_script():
    """`sh -n` accepts them, with and without a file to fetch."""
    for made in (MADE, {**MADE, "agentSha256": ""}):
        text = "\n".join(instructions("paris", made))
        assert (
            subprocess.run(
                ["sh", "-n"], input=text, text=True, capture_output=True, check=False
            ).returncode
            == 0
        )


def test_what_a_manager_says_cannot_break_out_of_its_word():
    """Every value of the answer is quoted."""
    lines = instructions(
        "paris", {**MADE, "url": "https://x/$(touch /tmp/owned)", "agentSha256": "'; reboot; '"}
    )
    text = "\n".join(lines)
    assert "'https://x/$(touch /tmp/owned)'" in text
    assert "; reboot; '" not in text.replace("'\"'\"'; reboot; '\"'\"'", "")


def test_both_forms_of_running_it():
    """systemd-run with a restart, and plain; neither holds a secret."""
    text = "\n".join(instructions("paris", MADE))
    assert "systemd-run --unit=fleet-agent" in text
    assert "Restart=always" in text
    for setting in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ReadWritePaths=/var/lib/fleet-agent",
        "MemoryMax=2G",
        "WatchdogSec=60",
    ):
        assert f"-p {setting}" in text
    assert text.count("run --state-dir /var/lib/fleet-agent") == 2


def test_for_a_pod_the_token_goes_by_standard_input_only():
    """It stands in no command, and what a manager says runs nothing."""
    lines = helm_instructions("paris", {**MADE, "url": "https://x/$(touch /tmp/owned)"})
    text = "\n".join(lines)
    assert [line for line in lines if MADE["token"] in line] == [MADE["token"]]
    assert "manager.url='https://x/$(touch /tmp/owned)'" in text
    assert f"manager.caPin={MADE['caPin']}" in text
