"""`fleet-agent check`: what is wrong here, and what to do about it. Changes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent import config, identity
from agent.journal import read_entries
from agent.kube import Kube
from agent.uplink import Uplink
from fleetctl.core.errors import FleetError

_LEAST_FREE = 256 * 1024 * 1024
_LEAST_HELM = (4, 1, 4)
# What an agent must be allowed to do, as (verb, group, resource).
_RIGHTS = (
    ("create", "", "namespaces"),
    ("create", "", "secrets"),
    ("delete", "", "secrets"),
    ("list", "apps", "deployments"),
    ("get", "", "serviceaccounts"),
    ("impersonate", "", "serviceaccounts"),
)


@dataclass(frozen=True)
class Finding:
    """`ok` None is a warning."""

    what: str
    ok: bool | None
    said: str
    next_step: str = ""


async def check(state_dir: Path, kubeconfig: Path | None) -> list[Finding]:
    """One finding for each thing that an agent needs. A part that cannot be looked at is a finding too."""
    found = [_state(state_dir), _space(state_dir)]
    try:
        known, key = identity.load(state_dir)
    except FleetError as why:
        found.append(Finding("enrolment", ok=False, said=why.summary, next_step=why.next_step))
        known, key = None, None
    if known is not None:
        found.append(Finding("enrolment", ok=True, said=f"cluster {known.workspace}/{known.cluster}, manager {known.url}"))
        if _runs(state_dir):
            # A second program with this identity would look like a cloned disk, and stop both.
            found.append(Finding("agent", ok=True, said="is running; its log says how it fares with the manager"))
        else:
            found.append(Finding("agent", ok=None, said="is not running", next_step=f"fleet-agent run --state-dir {state_dir}"))
            found.append(await _asked("manager", lambda: _manager(known, key)))
        found.append(_journal(state_dir))
    found += [helm(), _kustomize()]
    if known is None or not known.target_dir:
        found += await _cluster(kubeconfig, known.kubeconfig if known else "")
    return found


async def _asked(what: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except (FleetError, OSError) as why:
        return Finding(what, ok=False, said=getattr(why, "summary", str(why)), next_step=getattr(why, "next_step", ""))


def _state(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(
            "state directory", ok=False, said=f"{folder} does not exist", next_step="Enrol first: `fleetctl cluster register NAME`."
        )
    mode, owner = folder.stat().st_mode & 0o777, folder.stat().st_uid
    if owner != os.getuid():
        return Finding("state directory", ok=False, said=f"{folder} belongs to user {owner}", next_step="Run this as that user.")
    if mode & 0o077:
        return Finding("state directory", ok=None, said=f"{folder} has mode {mode:04o}", next_step=f"chmod 700 {folder}")
    if not os.access(folder, os.W_OK):
        return Finding("state directory", ok=False, said=f"{folder} cannot be written", next_step="Correct its rights, or the mount.")
    return Finding("state directory", ok=True, said=str(folder))


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    enough = free >= _LEAST_FREE
    return Finding("disk", ok=enough, said=f"{free // 2**20} MiB free", next_step="" if enough else "Make room: 256 MiB at least.")


def _runs(folder: Path) -> bool:
    """Whether somebody holds the directory's lock."""
    try:
        handle = os.open(folder / "agent.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


async def _manager(known: Any, key: Any) -> Finding:
    uplink = Uplink(known, key, time.time, proxy=config.proxy(known.url))
    try:
        found = await uplink.desired("", 0)
        if found:
            uplink.opened(found[1])
    finally:
        await uplink.close()
    skew = abs(uplink.offset)
    if skew > 60:
        return Finding("manager", ok=None, said=f"answers; this clock is off by {skew:.0f} s", next_step="Set the clock (NTP).")
    return Finding("manager", ok=True, said="answers, and its document is signed by the key that was pinned" if found else "answers")


def _journal(folder: Path) -> Finding:
    entries = read_entries(folder / "journal")
    cut = sorted(entry.bundle for entry in entries.values() if entry.began)
    if cut:
        said = f"{len(entries)} bundles; a helm was cut off or runs for {', '.join(cut[:5])}"
        return Finding("journal", ok=None, said=said, next_step="A running agent takes it up again by itself.")
    return Finding("journal", ok=True, said=f"{len(entries)} bundles")


def helm() -> Finding:
    path = config.tools().helm
    if not path:
        return Finding("helm", ok=False, said="is not on PATH", next_step="Install helm 4.1.4 or later.")
    done = subprocess.run([path, "version", "--template", "{{.Version}}"], capture_output=True, text=True, timeout=20, check=False)
    match = re.search(r"v(\d+)\.(\d+)\.(\d+)", done.stdout)
    if match is None:
        return Finding("helm", ok=False, said=f"{path} does not tell its version", next_step="Install helm 4.1.4 or later.")
    version = tuple(int(part) for part in match.groups())
    good = version >= _LEAST_HELM
    return Finding("helm", ok=good, said=f"{match[0]} at {path}", next_step="" if good else "Install helm 4.1.4 or later.")


def _kustomize() -> Finding:
    found = config.tools().kustomize
    if found:
        return Finding("kustomize", ok=True, said=" ".join(found))
    return Finding("kustomize", ok=None, said="neither kustomize nor kubectl is on PATH", next_step="Install one if bundles use Kustomize.")


async def _cluster(given: Path | None, kept: str) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        return await _cluster_of(given, kept, Path(folder))


async def _cluster_of(given: Path | None, kept: str, folder: Path) -> list[Finding]:
    try:
        path = config.kubeconfig(given, kept, folder)
        kube = Kube(path)
    except FleetError as why:
        return [Finding("cluster", ok=False, said=why.summary, next_step=why.next_step)]
    try:
        first = await _asked("cluster", lambda: _version(kube, path))
        return [first, await _asked("rights", lambda: _rights(kube))] if first.ok else [first]
    finally:
        await kube.close()


async def _version(kube: Kube, path: Path) -> Finding:
    return Finding("cluster", ok=True, said=f"Kubernetes {await kube.version()}, by {path}")


async def _rights(kube: Kube) -> Finding:
    async def may(verb: str, group: str, resource: str) -> bool:
        spec = {"resourceAttributes": {"verb": verb, "group": group, "resource": resource}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        found = await kube.call("POST", path, msgspec.json.encode(body), {"content-type": "application/json"})
        return bool((found.get("status") or {}).get("allowed"))

    answers = await asyncio.gather(*(may(*right) for right in _RIGHTS))
    lacking = [f"{verb} {resource}" for (verb, _, resource), yes in zip(_RIGHTS, answers, strict=True) if not yes]
    if lacking:
        said = f"may not {', '.join(lacking)} everywhere"
        return Finding(
            "rights", ok=None, said=said, next_step="Enough for bundles that stay in namespaces it may use; else widen its role."
        )
    return Finding("rights", ok=True, said="may create namespaces, keep release records and look at what runs")
