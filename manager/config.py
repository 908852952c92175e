"""The manager's command line and environment: the only module that reads either. Values are checked
here, once.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fleetctl.core.model.errors import UsageError
from fleetctl.core.rollout.removal_guard import RemovalLimits
from fleetctl.core.startup.arguments import Parser
from fleetctl.sources.mirrors import parse_mirrors

from .store.data_directory import LOSSES
from .version import version


@dataclass(frozen=True)
class Config:
    """`command`: serve, epoch-raise or admin-token."""

    data_dir: Path
    command: str = "serve"
    host: str = "127.0.0.1"
    port: int = 7443
    public_url: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    mirrors: dict[str, str] = field(default_factory=dict)
    allow_egress: tuple[str, ...] = ()
    secret_key_file: Path | None = None
    poll_seconds: int = 15
    agent_file: Path | None = None
    local_agent: bool = False
    kubeconfig: Path | None = None
    log_style: str = "text"
    removals: RemovalLimits = field(default_factory=RemovalLimits)
    offline_seconds: int = 300
    connections_per_address: int = 256
    accept_lost: tuple[str, ...] = ()
    revoke_tokens: bool = False

    @property
    def url(self) -> str:
        """Where agents and people reach the manager, without a final slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = socket.gethostname() if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    def names(self) -> list[str]:
        """Every name for which the manager's certificate must hold."""
        public = urlsplit(self.url).hostname or ""
        value = [self.host, "localhost", "127.0.0.1", socket.gethostname(), public]
        return [n for n in dict.fromkeys(value) if n and n not in {"0.0.0.0", "::"}]  # noqa: S104 - compared, not bound


_EPOCH = (
    "After a restore from a backup the manager is older than its agents. They report"
    " manager-behind and change nothing. A higher epoch makes them accept the state of the"
    " backup. Each agent then applies every bundle once more; objects that are correct do not"
    " change. The manager scans newer commits from Git again."
)


_NEW_ADMIN = (
    "Use this if no administrator has a valid token. Run it on the manager's host as the"
    " manager's user; the manager may run meanwhile. Then log in with the file and create a"
    " lasting token with `fleetctl token create`."
)


def parser() -> Parser:
    top = Parser(
        prog="fleet-manager",
        description="The manager: polls Git repositories and serves the desired state to agents.",
    )
    top.add_argument(
        "--version",
        action="version",
        version=f"fleet-manager {version()}",
        help="show the version of this manager",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="run the manager", description="Run the manager until it is stopped."
    )
    epoch = commands.add_parser(
        "epoch", help="after a restore from a backup: make agents accept this manager again"
    )
    verbs = epoch.add_subparsers(dest="verb", required=True, metavar="VERB")
    raised = verbs.add_parser(
        "raise", help="raise the epoch by one; the manager must not run", description=_EPOCH
    )
    raised.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory of the database, keys and archives",
    )
    text = "write a new administrator token, valid for 24 hours, to DIR/admin.token"
    token = commands.add_parser("admin-token", help=text, description=_NEW_ADMIN)
    token.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory of the database, keys and archives",
    )
    text = (
        "also revoke all tokens of people and all registration tokens, because the backup may"
        " hold tokens that were revoked later"
    )
    raised.add_argument("--revoke-tokens", action="store_true", help=text)
    single = commands.add_parser(
        "single",
        help="run the manager and one agent together",
        description="Run the manager and one agent together: `serve --with-local-agent`.",
    )
    for command in (serve, single):
        _options(command)
    return top


def _options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--data-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory of the database, keys and archives",
    )
    add(
        "--listen",
        default="127.0.0.1:7443",
        metavar="HOST:PORT",
        help="address to listen on (%(default)s)",
    )
    add(
        "--public-url",
        default="",
        metavar="URL",
        help="the address of this manager for agents and people",
    )
    add(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        help="certificate chain in PEM, instead of a certificate from the manager's CA",
    )
    add("--tls-key", type=Path, metavar="FILE", help="private key of --tls-cert")
    add(
        "--mirror",
        action="append",
        default=[],
        metavar="PREFIX=URL",
        help="read Git and charts with an address below PREFIX from URL instead",
    )
    add(
        "--allow-egress",
        action="append",
        default=[],
        metavar="CIDR|HOST",
        help="allow charts, and Git repositories of workspace tokens, from this internal address",
    )
    add(
        "--secret-key-file",
        type=Path,
        metavar="FILE",
        help="file of the key that encrypts Secrets, instead of DATA_DIR/secret.key",
    )
    add(
        "--poll-seconds",
        type=int,
        default=15,
        metavar="N",
        help="seconds between polls of a repository (%(default)s)",
    )
    add(
        "--agent-file",
        type=Path,
        metavar="FILE",
        help="the fleet-agent.pyz that the manager serves, instead of"
        " DATA_DIR/install/fleet-agent.pyz",
    )
    add(
        "--removals-least",
        type=int,
        default=5,
        metavar="N",
        help="number of clusters that may lose a bundle without confirmation (%(default)s)",
    )
    add(
        "--removals-percent",
        type=int,
        default=20,
        metavar="P",
        help="or percentage of the clusters that have the bundle, if that is more (%(default)s)",
    )
    add(
        "--removals-window",
        type=int,
        default=60,
        metavar="MIN",
        help="the two limits apply within this number of minutes; within a day, twice as many"
        " (%(default)s)",
    )
    add(
        "--offline-after",
        type=int,
        default=300,
        metavar="N",
        help="seconds without a report after which a cluster is Offline (%(default)s)",
    )
    text = "once, create a new file for one that is lost and in no backup (docs/operations.md)"
    add(
        "--accept-lost",
        action="append",
        default=[],
        choices=sorted(LOSSES),
        metavar="FILE",
        help=text,
    )
    text = "connections without authentication from one address, 0 for no limit (%(default)s)"
    add("--connections-per-address", type=int, default=256, metavar="N", help=text)
    add(
        "--with-local-agent",
        action="store_true",
        help="also run an agent for the cluster of --kubeconfig, in the workspace fleet-local",
    )
    add("--kubeconfig", type=Path, metavar="FILE", help="kubeconfig of the local agent's cluster")
    add(
        "--log",
        choices=("text", "json"),
        default="text",
        help="format of the log (%(default)s)",
    )


def parse(argv: Sequence[str]) -> Config:
    """The configuration of a command line. Raises UsageError."""
    args = parser().parse(argv)
    if args.command == "admin-token":
        return Config(data_dir=args.data_dir.absolute(), command="admin-token")
    if args.command == "epoch":
        return Config(
            data_dir=args.data_dir.absolute(),
            command="epoch-raise",
            revoke_tokens=args.revoke_tokens,
        )
    host, port = _listen(args.listen)
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("--tls-cert and --tls-key belong together", next_step="Give both or none.")
    if not 1 <= args.poll_seconds <= 86_400:
        raise UsageError(
            "--poll-seconds is not between 1 and 86400",
            next_step="Write for example --poll-seconds 15.",
        )
    if not 10 <= args.offline_after <= 86_400:
        raise UsageError(
            "--offline-after is not between 10 and 86400",
            next_step="Write for example --offline-after 300.",
        )
    if args.connections_per_address < 0:
        raise UsageError(
            "--connections-per-address is below 0",
            next_step="Write for example --connections-per-address 256.",
        )
    return Config(
        connections_per_address=args.connections_per_address,
        offline_seconds=args.offline_after,
        accept_lost=tuple(args.accept_lost),
        removals=_removals(args.removals_least, args.removals_percent, args.removals_window),
        data_dir=args.data_dir.absolute(),
        host=host,
        port=port,
        public_url=_public_url(args.public_url),
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        mirrors=parse_mirrors(args.mirror),
        allow_egress=tuple(args.allow_egress),
        secret_key_file=args.secret_key_file,
        poll_seconds=args.poll_seconds,
        agent_file=args.agent_file,
        local_agent=args.with_local_agent or args.command == "single",
        kubeconfig=args.kubeconfig.absolute() if args.kubeconfig else None,
        log_style=args.log,
    )


def _listen(text: str) -> tuple[str, int]:
    value = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})", text)
    if not value or int(value[3]) > 65535:
        raise UsageError(
            f"--listen {text!r} is not HOST:PORT",
            next_step="Write for example --listen 127.0.0.1:7443.",
        )
    return value[1] or value[2], int(value[3])


def _removals(least: int, percent: int, minutes: int) -> RemovalLimits:
    if least < 0 or not 0 <= percent <= 100 or not 1 <= minutes <= 1440:
        summary = (
            "--removals-least is below 0, --removals-percent not a percentage, or --removals-window"
            " not between 1 and 1440 minutes"
        )
        raise UsageError(
            summary,
            subject="--removals-…",
            next_step="Write for example --removals-least 5 --removals-percent 20.",
        )
    return RemovalLimits(least=least, percent=percent, window=minutes * 60)


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (
        parts.scheme != "https"
        or not parts.hostname
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise UsageError(
            f"--public-url {text!r} is not a plain https address",
            next_step="Write for example https://fleet.example.com.",
        )
    return text


def notify_socket() -> str:
    """systemd's notification socket, or ""."""
    return os.environ.get("NOTIFY_SOCKET", "")


def watchdog_seconds() -> float:
    """The time within which systemd expects a sign of life, 0 when it expects none of this
    process.
    """
    text, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19) or process not in {
        "",
        str(os.getpid()),
    }:
        return 0.0
    return int(text) / 1e6
