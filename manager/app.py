"""The manager's composition root: reads the configuration, builds the parts, listens, and is the
only place that catches errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
import ssl
import sys
import time
from asyncio import constants, sslproto
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import uvicorn

from fleetctl.core.model.errors import Conflict, FleetError, UnavailableError, UsageError
from fleetctl.core.startup.python_versions import describe_hole
from fleetctl.tools.systemd import Notifier

from . import log
from .agents.local_agent import CLUSTER, WORKSPACE, LocalAgent
from .api.app import Parts, build
from .api.collaborators import Collaborators
from .api.routes.fleet import ManagerInfo
from .api.routes.install import AgentFile
from .api.server.connections import SPARE, Connections, Listener
from .api.server.http_protocol import Server, protocol
from .config import Config, notify_socket, parse, watchdog_seconds
from .security import admin_token, tls
from .security.signing import Signer
from .service import Service, ServiceSettings
from .store import data_directory
from .store.data_directory import Layout, prepare_data_dir

STOP_SECONDS = 4
HANDSHAKE_SECONDS = 10.0
TLS_BUFFER_BYTES = 16 * 1024  # one TLS record
BUG = 70


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status. One line on stderr for every error; a trace only in the log of an error that
    is ours.
    """
    os.umask(0o077)
    try:
        config = parse(sys.argv[1:] if argv is None else argv)
        log.set_up(config.log_style)
        command = {"epoch-raise": raise_epoch, "admin-token": new_admin_token}.get(
            config.command, serve
        )
        return asyncio.run(command(config))
    except FleetError as error:
        lines = [f"error: {error.summary}", error.subject, error.next_step]
        print("\n  ".join(line for line in lines if line), file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        log.bug("bug", error)
        print("error: internal error; please report the traceback above.", file=sys.stderr)
        return BUG


class Manager(Protocol):
    """The manager without its HTTP side."""

    @property
    def epoch(self) -> int: ...
    @property
    def collaborators(self) -> Collaborators: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def ready(self) -> str | None: ...


@dataclass
class Running:
    """What one run of the manager holds together."""

    config: Config
    service: Manager
    identity: tls.TlsIdentity
    parts: Parts


async def serve(config: Config, make: Callable[[Config, Signer], Manager] | None = None) -> int:
    """Run until a signal. Raises FleetError when the directory, the port or the certificates are
    not usable.
    """
    if hole := describe_hole(sys.version_info[:3]):
        log.warning("python", problem=hole)
    prepare_data_dir(config.data_dir)
    with lock_data_dir(config.data_dir), listening(config) as listener:
        layout = Layout(
            config.data_dir,
            config.secret_key_file is None,
            config.tls_cert is None,
            database=make is None,
        )
        data_directory.check(layout, config.accept_lost)
        identity = _identity(config)
        signer = Signer.load_or_create(config.data_dir)
        service = (make or _make_service)(config, signer)
        await service.start()
        try:
            running = Running(config, service, identity, _parts(config, service, signer, identity))
            await _first_start(running)
            data_directory.first_start_done(config.data_dir)
            await _listen(running, listener)
        finally:
            await service.stop()
            log.event("stopped")
    return 0


async def raise_epoch(config: Config) -> int:
    """`fleet-manager epoch raise`. Raises Conflict while a manager runs there, UsageError when
    there is no database.
    """
    from .store.epoch import raise_epoch

    with lock_data_dir(config.data_dir):
        result = await raise_epoch(
            config.data_dir / "fleet.db", now=time.time(), revoke=config.revoke_tokens
        )
    print(f"epoch {result.old} is now {result.new}: agents follow this manager again once it runs")
    validity = (
        "revoked"
        if config.revoke_tokens
        else "valid, also those that were revoked after the backup"
    )
    for kind, names in (("tokens", result.tokens), ("registration tokens", result.registrations)):
        if names:
            print(f"{kind} {validity}: {', '.join(names)}")
    return 0


async def new_admin_token(config: Config) -> int:
    """`fleet-manager admin-token`. Raises Conflict when admin.token is valid, UsageError when there
    is no database.
    """
    token = await admin_token.create(config.data_dir, now=time.time())
    print(f"token {token.name}, valid until {token.expires}, is in {token.file}")
    print(f"fleetctl login URL --token-file {token.file}")
    return 0


@contextlib.contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """One manager per data directory. Raises Conflict."""
    if not data_dir.is_dir():
        raise UsageError(
            f"{data_dir} does not exist", subject="--data-dir", next_step="Correct the path."
        )
    handle = os.open(data_dir / "manager.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            summary = f"another manager runs with {data_dir}"
            raise Conflict(
                summary,
                subject="--data-dir",
                next_step="Stop it first, or choose another --data-dir.",
            ) from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def listening(config: Config) -> Iterator[Listener]:
    """The bound socket. Raises UnavailableError when the port is taken, UsageError when the address
    is not ours.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with Listener(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
            listener.listen(2048)
        except OSError as error:
            place = f"{config.host}:{config.port}"
            summary = f"cannot listen on {place}: {error.strerror or error}"
            kind = UnavailableError if error.errno in {98, 48} else UsageError
            raise kind(
                summary,
                subject="--listen",
                next_step="Stop the program that uses it, or choose another --listen.",
            ) from error
        yield listener


def _identity(config: Config) -> tls.TlsIdentity:
    if config.tls_cert and config.tls_key:
        return tls.load_identity(config.tls_cert, config.tls_key)
    return tls.ensure_identity(config.data_dir, config.names(), now=tls.today())


def _make_service(config: Config, signer: Signer) -> Manager:
    settings = ServiceSettings(
        poll_seconds=config.poll_seconds,
        mirrors=config.mirrors,
        allow_egress=config.allow_egress,
        secret_key_file=config.secret_key_file,
        removals=config.removals,
        offline_seconds=config.offline_seconds,
        accept_lost=config.accept_lost,
    )
    return Service(config.data_dir, signer=signer, settings=settings)


def _parts(config: Config, service: Manager, signer: Signer, identity: tls.TlsIdentity) -> Parts:
    about = ManagerInfo(
        _version(),
        config.url,
        identity.ca_pin,
        time.time(),
        lambda: service.epoch,
    )
    agent = AgentFile(config.agent_file or config.data_dir / "install" / "fleet-agent.pyz")
    return Parts(
        service.collaborators,
        service.ready,
        signer,
        about,
        agent,
        identity.ca_pem,
        connections=Connections(_most_connections(), config.connections_per_address),
    )


def _version() -> str:
    """The installed version; a checkout that is not installed says so."""
    try:
        return metadata.version("fleetctl")
    except metadata.PackageNotFoundError:
        return "0+checkout"


async def _first_start(running: Running) -> None:
    config = running.config
    if await admin_token.ensure(running.service.collaborators.tokens, config.data_dir):
        file = config.data_dir / "admin.token"
        print(
            f"fleetctl login {config.url} --ca-pin {running.identity.ca_pin} --token-file {file}",
            flush=True,
        )


async def _listen(running: Running, listener: Listener) -> None:
    """Answer requests until a signal; then long polls are answered, requests finished, at most 4 s
    long.
    """
    _bound_tls()
    closing, config = running.parts.closing, running.config
    listener.connections = running.parts.connections

    def stopping() -> None:
        _notify("STOPPING=1")
        closing.set()

    def ready() -> None:
        _notify("READY=1")
        log.event(
            "listening",
            url=config.url,
            address=f"{config.host}:{config.port}",
            ca_pin=running.identity.ca_pin,
        )

    settings = _uvicorn_config(running)
    server = Server(settings, on_stop=stopping, on_ready=ready)
    beside = [asyncio.create_task(work) for work in _beside(running, settings.ssl)]
    try:
        await server.serve(sockets=[listener])
    finally:
        closing.set()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def _bound_tls() -> None:
    """Set the time of a TLS handshake, and the bytes that each TLS connection reads into: asyncio
    takes both when it makes a connection, and uvicorn has no option for them. asyncio's own buffer
    has 256 KiB, which is 5 GiB for 20,000 connections.
    """
    constants.SSL_HANDSHAKE_TIMEOUT = HANDSHAKE_SECONDS
    sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES


def _uvicorn_config(running: Running) -> uvicorn.Config:
    application = build(running.parts)
    config = uvicorn.Config(
        application,
        http=protocol(running.parts.connections, application.check_ins),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ssl_certfile=str(running.identity.cert_file),
        ssl_keyfile=str(running.identity.key_file),
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.num_tickets = 1  # a client resumes with the last one; each costs CPU time
    return config


def _beside(
    running: Running, ssl_context: ssl.SSLContext | None
) -> list[Coroutine[Any, Any, None]]:
    """What runs beside the server: the watchdog, the certificate's renewal, and the local agent
    when asked for.
    """
    watchdog = watchdog_seconds()
    work: list[Coroutine[Any, Any, None]] = [
        running.parts.lag.run(
            partial(_notify, "WATCHDOG=1") if watchdog else _ignore_beat, watchdog
        )
    ]
    if ssl_context and not running.config.tls_cert:
        work.append(_renew(running, ssl_context))
    if running.config.local_agent:
        work.append(_local_agent(running).supervise())
    return work


async def _renew(running: Running, context: ssl.SSLContext) -> None:
    """Twice a day: a new certificate when the old one nears its end, loaded without a restart."""
    while True:
        await asyncio.sleep(12 * 3600)
        identity = tls.ensure_identity(
            running.config.data_dir, running.config.names(), now=tls.today()
        )
        context.load_cert_chain(identity.cert_file, identity.key_file)


def _local_agent(running: Running) -> LocalAgent:
    manager, config = running.service.collaborators, running.config

    async def token() -> str:
        clusters = await manager.views.list_objects("Cluster", workspace=WORKSPACE)
        exists = any(item["metadata"]["name"] == CLUSTER for item in clusters)
        registration = await manager.agents.register(
            WORKSPACE, CLUSTER, labels={}, ttl_seconds=600, replace=exists
        )
        return registration.token

    url = f"https://127.0.0.1:{config.port}" if config.host in {"0.0.0.0", "::"} else config.url  # noqa: S104 - compared, not bound
    return LocalAgent(
        config.data_dir / "local-agent", url, running.identity.ca_pin, config.kubeconfig, token
    )


def _most_connections() -> int:
    """As many as the descriptors allow, less what the database, files, Git and connections that are
    refused need.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(50, min(20_000, soft - 200 - SPARE))


def _ignore_beat() -> None:
    """Nobody watches."""


def _notify(message: str) -> None:
    """Tell systemd, when it asked to be told."""
    Notifier(notify_socket()).tell(message)
