"""A person at a terminal, and a manager's HTTP side over real TLS with a service in memory behind
it, for tests of the CLI.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fleetctl.cli.app import main
from manager.app import serve
from manager.commands.objects import Put
from manager.config import Config
from manager.security.signing import Signer
from tests.support.manager.fake_service import FakeService

T = TypeVar("T")
WORKSPACE = "fleet-default"
# What somebody who may write to a repository or a cluster could try on a terminal.
HOSTILE = "\x1b]0;owned\x07[bold red]run[/] `rm -rf` \u202eevil\r\nsecond line"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


class Person:
    """Runs commands in this process with a configuration of its own. Standard input is never a
    terminal here.
    """

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config" / "config.yaml"

    def run(self, *words: str, stdin: str = "") -> Done:
        out, err = io.StringIO(), io.StringIO()
        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        kept, sys.stdin = sys.stdin, given
        try:
            with (
                surroundings(FLEETCTL_CONFIG=str(self.config)),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                status = main(list(words))
        finally:
            sys.stdin = kept
        return Done(status, out.getvalue(), err.getvalue())

    def good(self, *words: str, stdin: str = "") -> str:
        """stdout of a command that ends well."""
        done = self.run(*words, stdin=stdin)
        assert done.status == 0, (words, done)
        return done.out


def reaches(look: Callable[[], T], good: Callable[[T], bool], *, seconds: float = 15.0) -> T:
    """What `look` gives as soon as it is `good`."""
    end = time.monotonic() + seconds
    while not good(seen := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s; last seen: {seen!r}"
        time.sleep(0.02)
    return seen


@contextlib.contextmanager
def surroundings(**values: str) -> Iterator[None]:
    """These variables, and none of a person's own that the CLI reads."""
    kept = dict(os.environ)
    for name in [n for n in os.environ if n.startswith("FLEETCTL_")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


class ShopService(FakeService):
    """Knows whether a PUT changes anything, what a delete would remove, and which counts a status
    has.
    """

    def __init__(self, signer: Signer | None = None) -> None:
        super().__init__(signer)
        self.gone: dict[str, Any] = {"bundles": [], "deployments": 0, "clusters": []}
        self.counts: dict[str, Any] = {
            "gitrepos": {},
            "bundles": {},
            "clusters": {},
            "deployments": {},
            "attention": [],
        }

    def give(
        self, kind: str, name: str, *, workspace: str = WORKSPACE, **more: Any
    ) -> dict[str, Any]:
        """An object as the manager would show it."""
        doc: dict[str, Any] = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": kind,
            "spec": {},
            "status": {},
            **more,
        }
        doc["metadata"] = {
            "name": name,
            "namespace": workspace,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {},
        }
        doc["metadata"] |= more.get("metadata", {})
        self.objects[kind, workspace, name] = doc
        return doc

    async def put_object(
        self, kind: str, workspace: str, name: str, doc: dict[str, Any], *, dry_run: bool = False
    ) -> Put:
        self.calls.append(f"put {kind} {workspace}/{name}{' dry' if dry_run else ''}")
        if self.objects.get((kind, workspace, name)) == doc:
            return Put("unchanged", doc)
        return await super().put_object(kind, workspace, name, doc, dry_run=dry_run)

    async def removal(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        await self.get_object(kind, workspace, name)
        return self.gone

    async def status(self, workspace: str | None) -> dict[str, Any]:
        return self.counts


class Shop:
    """The HTTP side in a thread, until `stop`."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.config = Config(folder, port=port)
        self.url = self.config.url
        self.token_file = folder / "admin.token"
        self.service = ShopService()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._until_it_listens(port)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(
            serve(self.config, lambda _config, _signer: self.service)
        )
        await asyncio.gather(self._task, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def _until_it_listens(self, port: int, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while True:
            with socket.socket() as probe:
                if self.token_file.exists() and probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert self._thread.is_alive(), "the manager's HTTP side did not start"
            assert time.monotonic() < end, "the manager's HTTP side does not listen"
            time.sleep(0.02)

    @property
    def ca_pin(self) -> str:
        from cryptography import x509

        from manager.security.tls import pin

        return pin(
            x509.load_pem_x509_certificate((self.config.data_dir / "tls" / "ca.pem").read_bytes())
        )

    def changed(self) -> None:
        """People see something else from now on."""

        def tell() -> None:
            self.service.revision += 1
            self.service.changed.set()

        self._loop.call_soon_threadsafe(tell)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(15)
        assert not self._thread.is_alive()


def logged_in(person: Person, shop: Shop) -> Person:
    person.good("login", shop.url, "--ca-pin", shop.ca_pin, "--token-file", str(shop.token_file))
    return person
