"""The argument parser of `fleet-agent`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fleetctl.core.startup.arguments import Parser

DEFAULT_SERVICE_ACCOUNT_NAMESPACE = "cattle-fleet-system"


def build_parser(
    state_dir: Path | None = None,
    service_account_namespace: str = DEFAULT_SERVICE_ACCOUNT_NAMESPACE,
) -> Parser:
    """Returns the parser. The parameters are the defaults that the environment gives."""
    top = Parser(prog="fleet-agent", description="Brings one cluster to what its manager says.")
    top.add_argument("--version", action="store_true", help="this agent's version")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    enrol = commands.add_parser("enrol", help="join a manager with a registration token")
    run_command = commands.add_parser("run", help="follow the manager until stopped")
    status = commands.add_parser("status", help="what this agent holds")
    check = commands.add_parser("check", help="what is wrong here, and what to do")
    _add_enrol_options(enrol)
    for command in (status, check):
        command.add_argument("-o", "--output", choices=("text", "json"), default="text")
    for command in (enrol, run_command, status, check):
        command.add_argument(
            "--state-dir",
            type=Path,
            default=state_dir,
            required=command is not check and state_dir is None,
            metavar="DIR",
            help="where the agent keeps its key and journal (FLEET_AGENT_STATE_DIR)",
        )
    _add_check_options(check)
    _add_target_options((enrol, run_command, check))
    for command in (run_command, check):
        command.add_argument(
            "--service-account-namespace",
            default=service_account_namespace,
            metavar="NAME",
            help=(
                "where the accounts are that bundles name as serviceAccount (default:"
                " cattle-fleet-system)"
            ),
        )
    _add_run_options(run_command)
    for command in (enrol, run_command):
        command.add_argument(
            "--release-key",
            action="append",
            default=[],
            metavar="FILE|KEY",
            help=(
                "whose signature a new version of this agent needs (may be repeated); without any,"
                " and with `none`, upgrades are off"
            ),
        )
    commands.add_parser("version", help="this agent's version")
    # The running agent starts this command of a staged version.
    commands.add_parser("selftest").add_argument("--state-dir", type=Path, required=True)
    return top


def _add_enrol_options(enrol: Parser) -> None:
    enrol.add_argument("url", help="the manager's address, https://HOST:PORT")
    enrol.add_argument(
        "--ca-pin",
        default="",
        help="SHA-256 of the manager's CA, as `fleetctl cluster register` prints it",
    )
    enrol.add_argument(
        "--token-stdin", action="store_true", help="read the registration token from standard input"
    )


def _add_check_options(check: Parser) -> None:
    check.add_argument(
        "--url", default="", metavar="URL", help="before the enrolment: the manager's address"
    )
    check.add_argument(
        "--ca-pin", default="", help="before the enrolment: SHA-256 of the manager's CA"
    )


def _add_target_options(commands: Iterable[Parser]) -> None:
    for command in commands:
        command.add_argument(
            "--kubeconfig", type=Path, metavar="FILE", help="the cluster's kubeconfig"
        )
        command.add_argument(
            "--target-dir",
            type=Path,
            metavar="DIR",
            help="write manifests into this directory instead of a cluster",
        )


def _add_run_options(run_command: Parser) -> None:
    run_command.add_argument(
        "--enrol-url",
        default="",
        metavar="URL",
        help="join this manager first, where this agent has not joined one yet",
    )
    run_command.add_argument(
        "--ca-pin", default="", help="with --enrol-url: SHA-256 of the manager's CA"
    )
    run_command.add_argument(
        "--token-file", type=Path, metavar="FILE", help="with --enrol-url: the registration token"
    )
    run_command.add_argument(
        "--identity-secret",
        default="",
        metavar="NAME",
        help="keep the key in this Secret too, of the namespace of the Pod or the context",
    )
    run_command.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="how the log is written (default: text)",
    )
