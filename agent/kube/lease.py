"""One agent at a time changes a cluster, though two were given one key: a Lease in the cluster
decides (docs/rfd/0001-one-agent.md).

`fleet-agent-CLUSTER_ID` in the namespace of the kubeconfig's context (in a Pod: the Pod's own).
Rule: taken at the first change, renewed only while something is being changed, given back at the
stop; when its holder does nothing, nobody asks for anything. Whether a holder is there is judged by
its process where that can be seen, else by watching the lease change: by nobody's wall clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from fleetctl.core.formats.url_path import below, url_path
from fleetctl.core.model.errors import (
    FleetError,
    ForbiddenRequest,
    LeaseTaken,
    NotFound,
    ToolFailed,
    WriteConflict,
)
from fleetctl.core.model.json_object import JsonObject

from ..host import process_identity
from ..host.log import event, trouble
from .client import Kube

RENEW_SECONDS = 2.0
PATIENCE_SECONDS = 7.0
_MOST_PATIENCE = 600.0
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 3.0
_JSON = {"content-type": "application/json"}


class Lease:
    """`me`: this process. `now`: Unix seconds, for people who read the lease. `renew`, `patience`:
    seconds.
    """

    def __init__(
        self,
        kube: Kube,
        cluster: str,
        holder: process_identity.Holder,
        now: Callable[[], float] = time.time,
        *,
        renew: float = RENEW_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._kube, self._holder, self._now, self._renew, self._patience = (
            kube,
            holder,
            now,
            renew,
            patience,
        )
        self._name = f"fleet-agent-{cluster}"
        self._folder = url_path(
            "apis", "coordination.k8s.io", "v1", "namespaces", kube.namespace, "leases"
        )
        self._object: JsonObject | None = None  # as we wrote it last, while we hold it
        self._renewed_at = 0.0
        self._useless = not kube.is_there
        self._lock = asyncio.Lock()
        self._inside: set[asyncio.Task[object]] = set()
        self._thrown_out: set[asyncio.Task[object]] = set()
        self._renewer: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Inside, this agent alone changes the cluster. Raises what Kube raises, and LeaseTaken:
        also from within, when another took it.
        """
        task = asyncio.current_task()
        assert task is not None, "outside of a task"
        async with self._lock:
            await self._make_sure()
            self._inside.add(task)
            if self._renewer is None and not self._useless:
                self._renewer = asyncio.create_task(self._keep_renewing())
        try:
            yield
        except asyncio.CancelledError as error:
            if task not in self._thrown_out or task.uncancel() > 0:
                raise
            raise LeaseTaken(
                "another agent has taken over the changes of this cluster",
                subject="cluster",
                next_step=_STEP,
            ) from error
        finally:
            self._inside.discard(task)
            self._thrown_out.discard(task)
            if not self._inside and self._renewer is not None:
                self._renewer.cancel()
                self._renewer = None

    async def take(self) -> None:
        """Hold it, waiting for as long as it may take to see that its holder does nothing. Raises
        LeaseTaken and what Kube raises.
        """
        async with self._lock:
            await self._make_sure()

    async def give_back(self) -> None:
        """At the stop: who comes next need not wait. Never raises."""
        if self._object is None:
            return
        with contextlib.suppress(FleetError, TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._write(self._object, holder="")
        self._object = None

    async def _make_sure(self) -> None:
        if self._useless or (
            self._object is not None and time.monotonic() - self._renewed_at < self._renew
        ):
            return
        try:
            await self._acquire()
        except ForbiddenRequest as error:
            self._useless = True
            trouble(
                "lease",
                f"this agent may not use leases in namespace {self._kube.namespace}; only"
                f" the manager can detect a duplicate agent ({error.summary})",
            )

    async def _acquire(self) -> None:
        last_holder, since = "", time.monotonic()
        while True:
            lease = await self._read()
            holder = (lease.get("spec") or {}).get("holderIdentity", "") if lease else ""
            version = lease["metadata"]["resourceVersion"] if lease else ""
            if holder not in {"", self._holder.text()}:
                self._notice_holder(holder)
                other = process_identity.parse(holder)
                alive = process_identity.is_alive(other, self._holder) if other else None
                if last_holder and version != last_holder:
                    raise LeaseTaken(_at_work(holder), subject="cluster", next_step=_STEP)
                if alive:
                    raise LeaseTaken(
                        f"{_at_work(holder)}, on this machine", subject="cluster", next_step=_STEP
                    )
                if alive is None and time.monotonic() - since < self._patience:
                    last_holder = version
                    await asyncio.sleep(min(_LOOK_SECONDS, self._patience / 5))
                    continue
                event(
                    "lease taken over",
                    holder=holder,
                    why="its process has ended" if alive is False else "its holder does nothing",
                )
            with contextlib.suppress(_LostRaceError):
                await self._write(lease, holder=self._holder.text())
                return

    def _notice_holder(self, holder: str) -> None:
        """Whoever had it and finds another's name there has a twin: from now on it waits for
        longer, so that they do not take turns.
        """
        if self._object is not None:
            self._object = None
            self._patience = min(_MOST_PATIENCE, self._patience * 8)
            trouble("lease", f"another agent took over while this agent was running: {holder}")

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(self._renew)
            try:
                async with self._lock:
                    await self._renew_once()
            except LeaseTaken:
                for task in self._inside - self._thrown_out:
                    self._thrown_out.add(task)
                    task.cancel()
                return
            except FleetError as error:
                # Then helm does not reach the API server either. Whoever took the lease meanwhile
                # is seen with the next answer.
                trouble("lease", f"cannot be renewed: {error.summary}")

    async def _renew_once(self) -> None:
        try:
            await self._write(self._object, holder=self._holder.text())
        except _LostRaceError:
            lease = await self._read()
            holder = (lease.get("spec") or {}).get("holderIdentity", "") if lease else ""
            if holder not in {"", self._holder.text()}:
                self._notice_holder(holder)
                raise LeaseTaken(_at_work(holder), subject="cluster", next_step=_STEP) from None
            with contextlib.suppress(_LostRaceError):
                await self._write(lease, holder=self._holder.text())

    async def _read(self) -> JsonObject | None:
        try:
            return await self._kube.call("GET", below(self._folder, self._name))
        except NotFound:
            return None

    async def _write(self, old: JsonObject | None, *, holder: str) -> None:
        """Create or replace the Lease, if it is still what was read. Raises _LostRaceError when it
        changed meanwhile.
        """
        stamp = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._now()))
            + f".{time.monotonic_ns() // 1000 % 1_000_000:06}Z"
        )
        before = (old or {}).get("spec") or {}
        is_same_holder = before.get("holderIdentity") == holder
        moves = int(before.get("leaseTransitions", 0)) + (0 if is_same_holder or not old else 1)
        spec = {
            "renewTime": stamp,
            "leaseDurationSeconds": max(1, round(self._patience)),
            "leaseTransitions": moves,
        }
        if holder:
            spec |= {
                "holderIdentity": holder,
                "acquireTime": before.get("acquireTime", stamp) if is_same_holder else stamp,
            }
        meta = {"name": self._name, "namespace": self._kube.namespace}
        if old:
            meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": meta,
            "spec": spec,
        }
        path = below(self._folder, self._name) if old else self._folder
        try:
            answer = await self._kube.call(
                "PUT" if old else "POST", path, msgspec.json.encode(body), _JSON
            )
        except NotFound as error:
            if old is None:
                step = (
                    f"Create namespace {self._kube.namespace}, or name another one in the"
                    " kubeconfig's context."
                )
                raise ToolFailed(
                    f"there is no namespace {self._kube.namespace} for the lease",
                    subject="cluster",
                    next_step=step,
                ) from error
            raise _LostRaceError from error
        except WriteConflict as error:
            raise _LostRaceError from error
        self._object, self._renewed_at = answer, time.monotonic()


class _LostRaceError(Exception):
    """Somebody else wrote it first."""


_STEP = (
    "Stop one of the two agents, then run `fleetctl cluster register NAME --replace` and enrol the"
    " other."
)


def _at_work(holder: str) -> str:
    other = process_identity.parse(holder)
    return (
        "another agent changes this cluster:"
        f" {f'process {other.pid} on {other.host}' if other else holder[:100]}"
    )
