"""Upgrades this agent to the target of the manager, up to the trial that agent/upgrade/launcher.py
supervises.

Rule: nothing runs that a pinned release key has not signed; the file is staged and checked while
this version goes on working; then what is being changed is finished, nothing new is begun, and only
when the trial is written down does this process give way. A version on trial changes nothing: it
polls, reports, writes down that it has checked in, and ends, so that it starts as what it is from
then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleetctl import durable, jitter
from fleetctl.core.model.agent_release import AgentRelease
from fleetctl.core.model.errors import BadFile, FleetError, UnavailableError
from fleetctl.core.model.ids import Digest
from fleetctl.core.model.wire import AgentTarget, AgentUpgrade
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools import process

from ..config import BASE_PROGRAM, NOTIFY_SOCKET, TRIAL, child_environment
from ..host.failpoints import failpoint
from ..host.log import event
from ..upgrade import launcher, release_keys, trial_state
from ..upgrade.trial_run import lines_of, reason
from ..upgrade.trial_state import Program, TrialFacts
from .report import Teller
from .state import LoopState

CODE = "agent-upgrade"
_CHECK_SECONDS, _BUSY_SECONDS, _LASTED_SECONDS = 300.0, 1800.0, 60.0
_STALE_SECONDS = 3600.0
LATER = UnavailableError.exit_status  # of `fleet-agent selftest`: the fault is not the file's


@dataclass(frozen=True)
class RunningVersion:
    """The version that runs. `sha256`: of its file, "" for an installed package; `base`: the
    installed program. `retry`: the waits before an upgrade is tried again.
    """

    version: str
    sha256: str
    base: launcher.Base
    is_on_trial: bool
    is_in_pod: bool
    retry: Backoff


class Upgrader:
    """`give_way` ends the agent's loops so that the process can start from the beginning (after a
    trial: end).
    """

    def __init__(
        self,
        state: LoopState,
        teller: Teller,
        running: RunningVersion,
        give_way: Callable[[], None],
    ) -> None:
        self._state, self._teller, self._running, self._give_way = state, teller, running, give_way
        self._failures: dict[tuple[int, int], int] = {}
        if running.is_on_trial:
            state.hold_reason = "this version is on trial"

    def loops(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (self.check_in,) if self._running.is_on_trial else (self.follow, self.settle)

    async def check_in(self) -> None:
        """Of a version on trial: after a poll was answered and a full report taken."""
        target = self._state.document.agent if self._state.document else None
        if target is not None:
            self._tell(
                AgentUpgrade(
                    target_number=target.number, version=target.release.version, state="trying"
                )
            )
        await self._state.poll_answered.wait()
        await self._state.full_report_sent.wait()
        failpoint("upgrade-checked-in")
        state = launcher.load(self._state.context.state_dir)
        if state.trial is not None and state.trial.program.sha256 == self._running.sha256:
            launcher.save(self._state.context.state_dir, trial_state.confirm(state))
            failpoint("upgrade-confirmed")
            event(f"version {self._running.version} has checked in")
        self._give_way()
        await asyncio.Event().wait()

    async def settle(self) -> None:
        """A start that lasts a minute is a good one; then what earlier versions left behind
        goes.
        """
        await asyncio.sleep(_LASTED_SECONDS)
        folder = self._state.context.state_dir
        state = launcher.load(folder)
        if state.starts:
            launcher.save(folder, trial_state.reset_starts(state))
        if (folder / launcher.FOLDER).exists():
            await asyncio.to_thread(sweep, folder, self._running)
        await asyncio.Event().wait()

    async def follow(self) -> None:
        while True:
            await self._state.upgrade_wish.wait()
            self._state.upgrade_wish.clear()
            await self._follow_wish()

    async def _follow_wish(self) -> None:
        document = self._state.document
        target = document.agent if document else None
        if document is None or target is None:
            self._state.unsay(CODE)
            self._tell(None)
            return
        verdict = self._judge(target, document.epoch)
        self._tell(verdict)
        if verdict.state != "fetching":
            return
        key = (document.epoch, target.number)
        try:
            await self._bring(target, document.epoch, verdict)
        except (BadFile, FleetError, OSError) as error:
            await self._retry_later(error, target, key, verdict)

    def _judge(self, target: AgentTarget, epoch: int) -> AgentUpgrade:
        folder = self._state.context.state_dir
        keys = release_keys.load_keys(folder)
        facts = TrialFacts(
            version=self._running.version,
            sha256=self._running.sha256,
            runtime=launcher.runtime(),
            keys=len(keys),
            is_signed=release_keys.is_signed(target.release, keys),
            in_pod=self._running.is_in_pod,
        )
        return trial_state.judge(target, launcher.load(folder), epoch, facts)

    async def _bring(self, target: AgentTarget, epoch: int, upgrade: AgentUpgrade) -> None:
        """Stage, check, finish what is being changed, and give way. Raises FleetError, OSError."""
        folder, release = self._state.context.state_dir, target.release
        program = _program(release)
        path = folder / launcher.FOLDER / program.file
        base = self._running.base
        if not base.is_there:
            summary = (
                f"the installed program {base.file} no longer exists, so the agent could not"
                " return to it"
            )
            raise UnavailableError(summary, subject="agent", next_step="Install it again.")
        await self._stage(path, release)
        failpoint("upgrade-staged")
        self._tell(msgspec.structs.replace(upgrade, state="checking"))
        await _check_file(path, folder)
        failpoint("upgrade-checked")
        self._tell(msgspec.structs.replace(upgrade, state="waiting"))
        await self._quiet()
        now = self._state.document.agent if self._state.document else None
        if now != target:
            self._go_on()
            self._state.upgrade_wish.set()
            return
        state = trial_state.begin(
            launcher.load(folder),
            base.identity,
            program,
            epoch=epoch,
            target_number=target.number,
        )
        launcher.save(folder, state)
        failpoint("upgrade-begun")
        event(f"giving way to version {release.version}")
        self._give_way()
        await asyncio.Event().wait()

    async def _stage(self, path: Path, release: AgentRelease) -> None:
        """The file in its place, durable, with the bytes that were signed."""
        if await asyncio.to_thread(_is_there, path, release):
            return
        await self._state.context.uplink.archive(Digest(release.sha256), release.size, path)
        await asyncio.to_thread(durable.disk.sync_folder, path.parent)

    async def _quiet(self) -> None:
        """Nothing new is begun; what is being changed ends. Raises UnavailableError when it does
        not.
        """
        self._state.hold_reason = "the agent is about to be upgraded"
        end = time.monotonic() + _BUSY_SECONDS
        while self._state.busy:
            if time.monotonic() > end:
                raise UnavailableError(
                    f"bundles are still being changed after {_BUSY_SECONDS:g} s",
                    subject="agent",
                    next_step="Wait.",
                )
            await asyncio.sleep(0.2)

    def _go_on(self) -> None:
        self._state.hold_reason = ""
        self._state.work.set()

    async def _retry_later(
        self, error: Exception, target: AgentTarget, key: tuple[int, int], upgrade: AgentUpgrade
    ) -> None:
        """A bad file is given up after a few checks; what others cause is tried again, ever more
        seldom.
        """
        self._go_on()
        summary = error.summary if isinstance(error, FleetError) else str(error)
        count = self._failures[key] = self._failures.get(key, 0) + 1
        if isinstance(error, BadFile) and count >= trial_state.ATTEMPTS:
            folder = self._state.context.state_dir
            with contextlib.suppress(OSError):
                launcher.save(
                    folder, trial_state.refuse(launcher.load(folder), target, key[0], summary)
                )
                self._state.upgrade_wish.set()
                return
        self._tell(msgspec.structs.replace(upgrade, message=summary[:400]))
        pause = self._running.retry.seconds(count, jitter.fraction())
        asyncio.get_running_loop().call_later(pause, self._state.upgrade_wish.set)

    def _tell(self, upgrade: AgentUpgrade | None) -> None:
        """To the manager with the next report; what stands in the way also as a trouble."""
        if upgrade is not None and upgrade.state in {"refused", "failed"}:
            self._state.say(CODE, f"version {upgrade.version} is refused: {upgrade.message}")
        elif upgrade is not None:
            self._state.unsay(CODE)
        self._teller.tell_upgrade(upgrade)


def _program(release: AgentRelease) -> Program:
    return Program(
        version=release.version,
        sha256=release.sha256,
        file=f"{release.version}-{release.sha256[:12]}.pyz",
        python=release.python,
        platform=release.platform,
        release=release,
    )


async def _check_file(path: Path, state_dir: Path) -> None:
    """Run the file's own check beside this version. Raises BadFile, or UnavailableError when the
    fault lies elsewhere.
    """
    argv = [sys.executable, "-I", str(path), "selftest", "--state-dir", str(state_dir)]
    env = child_environment(remove=(BASE_PROGRAM, TRIAL, NOTIFY_SOCKET))
    command = process.Command(
        argv, env=env, limits=process.ProcessLimits(memory=1 << 30, output=1 << 20)
    )
    step = "See the agent's log."
    try:
        result = await process.run(command, deadline=_CHECK_SECONDS)
    except FleetError as error:
        raise BadFile(
            f"its check failed: {error.summary}", subject=path.name, next_step=step
        ) from error
    if result.returncode:
        cause = reason(lines_of(result.stderr))[:300] or f"status {result.returncode}"
        kind = UnavailableError if result.returncode == LATER else BadFile
        raise kind(f"its check failed: {cause}", subject=path.name, next_step=step)


def _is_there(path: Path, release: AgentRelease) -> bool:
    """What lies there with other bytes goes. Makes the folder."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        return False
    whole = path.stat().st_size == release.size and launcher.sha256(path) == release.sha256
    if not whole:
        path.unlink()
    return whole


def sweep(state_dir: Path, running: RunningVersion) -> None:
    """Files and unpacked folders of versions that are neither current, on trial nor installed;
    fresh ones may be in the making.
    """
    state, folder = launcher.load(state_dir), state_dir / launcher.FOLDER
    programs = [
        program
        for program in (state.current, state.trial.program if state.trial else None)
        if program
    ]
    digests = {program.sha256[:32] for program in programs} | {
        running.sha256[:32],
        running.base.identity.removeprefix("file ")[:32],
    }
    names = {program.file for program in programs}
    for path in [*folder.glob("*.pyz"), *folder.glob(".*.part")]:
        if path.name not in names and _is_stale(path):
            path.unlink(missing_ok=True)
    for path in folder.glob("unpacked/*"):
        if path.name not in digests and _is_stale(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_stale(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    except OSError:
        return False
