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
    top = Parser(
        prog="fleet-agent",
        description="The agent of one cluster: applies what its manager requests, and reports.",
    )
    top.add_argument("--version", action="store_true", help="show the version of this agent")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    enrol = commands.add_parser(
        "enrol", help="enrol this agent at a manager with a registration token"
    )
    run_command = commands.add_parser("run", help="run the agent until it is stopped")
    status = commands.add_parser("status", help="show the state of this agent and its bundles")
    check = commands.add_parser(
        "check", help="find problems on this machine, and show the next steps"
    )
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
            help="the directory of the agent's key and journal (FLEET_AGENT_STATE_DIR)",
        )
    _add_check_options(check)
    _add_target_options((enrol, run_command, check))
    for command in (run_command, check):
        command.add_argument(
            "--service-account-namespace",
            default=service_account_namespace,
            metavar="NAME",
            help=(
                "namespace of the service accounts that bundles name (default: cattle-fleet-system)"
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
                "public release key; an upgrade from the manager needs its signature. Can be"
                " given several times. `none` removes the keys. Without a key, upgrades from"
                " the manager are off"
            ),
        )
    commands.add_parser("version", help="show the version of this agent")
    # The running agent starts this command of a staged version.
    commands.add_parser("selftest").add_argument("--state-dir", type=Path, required=True)
    return top


def _add_enrol_options(enrol: Parser) -> None:
    enrol.add_argument("url", help="the address of the manager, https://HOST:PORT")
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
        "--url", default="", metavar="URL", help="before the enrolment: the address of the manager"
    )
    check.add_argument(
        "--ca-pin", default="", help="before the enrolment: SHA-256 of the manager's CA"
    )


def _add_target_options(commands: Iterable[Parser]) -> None:
    for command in commands:
        command.add_argument(
            "--kubeconfig", type=Path, metavar="FILE", help="the kubeconfig of the cluster"
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
        help="enrol at this manager first, if the agent is not enrolled yet",
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
        help="also store the key in this Secret, in the namespace of the Pod or of the"
        " kubeconfig's context",
    )
    run_command.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="format of the log (default: text)",
    )
