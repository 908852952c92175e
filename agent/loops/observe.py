"""Looks at what runs: at once after a change of ours or of somebody's, and else now and then as a
net under it.

Rule: a watch says only that something has changed; what counts is read then, with the bundle's own
rights. When nothing happens nothing is asked but what keeps the watches alive.
"""

from __future__ import annotations

import asyncio
import time

from fleetctl import jitter
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    FleetError,
    MissingAccount,
    ThrottledRequest,
    ToolFailed,
    UsageError,
)
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.status import ResourceStatus
from fleetctl.core.model.wire import Desired
from fleetctl.core.timing.backoff import Backoff

from ..deploy import install, values_from
from ..drift.ignore_rules import NONE, Rules, rules_of
from ..drift.index import ObjectIndex
from ..drift.observer import Observation, Observer, Subject, is_ready, list_drifted
from ..drift.queue import DueWork, ObservationQueue
from ..drift.watch import Watches
from ..drift.watch_events import WatchEventHandler
from ..host.log import event, over, trouble
from ..release.parts import releases_of
from ..state.journal import Entry
from ..state.last_applied import ObjectKey
from . import correct
from .report import Teller
from .state import LoopState

# everything is read again; versions are compared every ten minutes (`watch.NET_SECONDS`)
_NET_SECONDS = 3600.0
_POLL_SECONDS = 15.0  # what cannot be watched
_GROUP_SECONDS = 0.05
# between two looks while much is being done: each costs a list call for each kind
_BUSY_SECONDS = 0.4
_RETRY, _LEAST_PAUSE_SECONDS = Backoff(2.0, 30.0, jitter=1.0), 0.2


class Watcher:
    """`values_seconds`: at most so long until a change of what `valuesFrom` names reaches the
    release.
    """

    def __init__(self, state: LoopState, teller: Teller, values_seconds: float) -> None:
        self._state, self._teller, self._values_seconds = state, teller, values_seconds
        self._agenda, self._index = ObservationQueue(time.monotonic), ObjectIndex()
        self._ears = WatchEventHandler(
            self._agenda, self._index, self._releases, state.look.set, self._away
        )
        self.watches = Watches(state.context.kube, self._ears)
        self._rules: dict[BundleName, Rules] = {}
        self._document: Desired | None = None  # whose rules count
        self._failures, self._is_index_changed = 0, False

    async def watch(self) -> None:
        """For ever; the watches end with it."""
        net = poll = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now >= net:
                    net = now + _NET_SECONDS * jitter.between(0.9, 1.0)
                    self._agenda.add_bundles(self._state.context.journal.entries)
                if now >= poll:
                    poll = now + _POLL_SECONDS * jitter.between(0.9, 1.1)
                    self._poll()
                await self._wait_for_work(
                    min(net, poll if self.watches.unwatched_scopes else net) - now
                )
                if self._state.observer is not None:
                    await self._round(self._state.observer)
                else:
                    self._state.resources = {
                        name: [] for name in self._state.context.journal.entries
                    }
                    self._teller.refresh()
        finally:
            await self.watches.close()

    async def _wait_for_work(self, seconds: float) -> None:
        """Until something is due, somebody calls, or `seconds` have passed."""
        try:
            async with asyncio.timeout(min(seconds, self._agenda.wait())):
                await self._state.look.wait()
            await asyncio.sleep(
                _BUSY_SECONDS
                if len(self._state.busy) > len(self._state.to_observe)
                else _GROUP_SECONDS
            )
        except TimeoutError:
            pass
        self._state.look.clear()

    async def _round(self, observer: Observer) -> None:
        self._gather()
        todo = self._agenda.take()
        if not todo:
            return
        try:
            await self._look(observer, todo)
            self._failures = 0
            self._away("")
        except FleetError as error:
            self._put_back(todo, error)

    def _gather(self) -> None:
        """What others did since: bundles applied or gone, rules that are other ones now."""
        entries = self._state.context.journal.entries
        for name in self._index.bundles() - set(entries):
            self._forget(name)
        bundles_with_new_rules: set[BundleName] = set()
        if self._state.document is not self._document:
            self._document = self._state.document
            bundles_with_new_rules = {
                name for name, rules in self._rules.items() if rules != self._rules_of(name)
            } & set(entries)
        fresh = {name for name in entries if name not in self._state.resources}
        self._agenda.add_bundles(
            name
            for name in (self._state.to_observe & set(entries)) | bundles_with_new_rules | fresh
            if self._may_look(name)
        )
        self._state.to_observe -= {
            name for name in self._state.to_observe if name not in entries or self._may_look(name)
        }

    def _may_look(self, name: BundleName) -> bool:
        entry = self._state.context.journal.entries.get(name)
        return entry is not None and entry.applied > 0 and name not in self._state.busy

    def _forget(self, name: BundleName) -> None:
        self._agenda.drop(name)
        self._rules.pop(name, None)
        self._ears.forget(self._index.places(name))
        self._index.drop(name)
        self._is_index_changed = True

    def _put_back(self, todo: DueWork, error: FleetError) -> None:
        if self._failures and isinstance(error, ClusterUnreachable):
            self._away(error.summary)
        else:
            trouble("cluster", f"the live objects cannot be read: {error.summary}")
        self._failures += 1
        pause = max(_LEAST_PAUSE_SECONDS, _RETRY.seconds(self._failures, jitter.fraction()))
        self._agenda.pause(max(pause, error.after if isinstance(error, ThrottledRequest) else 0.0))
        self._agenda.add_bundles(todo.bundles)
        for place in todo.places:
            self._agenda.add_object(place)
        for name in todo.extras:
            self._agenda.add_suspect(name, pause)

    def _away(self, reason: str) -> None:
        """Nothing of what was reported is taken back: running releases continue, but nobody
        looks.
        """
        if reason:
            self._state.say(
                ClusterUnreachable.code, f"{reason}; the report shows the last state that was read"
            )
        else:
            self._state.unsay(ClusterUnreachable.code)
            over("cluster")

    async def _look(self, observer: Observer, todo: DueWork) -> None:
        entries = dict(self._state.context.journal.entries)
        subjects = await self._subjects(observer, todo)
        self._agenda.cost(len(subjects) + len(todo.places) // 4)
        observations = await observer.look(subjects)
        extras = {subject.bundle: subject.extra for subject in subjects}
        current: dict[BundleName, list[ResourceStatus]] = {}
        for name, observation in observations.items():
            is_whole = name in todo.bundles
            self._ears.clear_suspects(extras[name] - set(observation.states))
            if not self._is_current(name, entries.get(name), is_whole=is_whole):
                self._agenda.add_bundles([name] if self._may_look(name) else [])
                continue
            if observation.accepted_pointers is not None:
                observer.accept(name, observation.accepted_pointers)
            self._take(name, observation, whole=is_whole)
            current[name] = self._state.resources[name]
        self._correct(current)
        self._teller.refresh(list(observations))
        if self._is_index_changed:
            self._is_index_changed = False
            self.watches.set_targets(self._index.count_objects())

    def _is_current(self, name: BundleName, entry: Entry | None, *, is_whole: bool) -> bool:
        """Whether a look that began when the journal had `entry` may be reported.

        An apply during the look makes it stale: it read objects, or what they are compared with,
        from before the apply. A look at some objects only completes what a look at all of them has
        brought.
        """
        if not self._may_look(name) or self._state.context.journal.entries.get(name) is not entry:
            return False
        return is_whole or name in self._state.resources

    async def _subjects(self, observer: Observer, todo: DueWork) -> list[Subject]:
        """Who is looked at; the index follows what was applied."""
        single: dict[BundleName, set[ObjectKey]] = {name: set() for name in todo.extras}
        for place in todo.places:
            for name in self._index.of(place):
                single.setdefault(name, set()).add(place)
        subjects: list[Subject] = []
        for name in sorted(todo.bundles | set(single)):
            if not self._may_look(name):
                continue
            bundle = self._state.bundle(name)
            try:
                kube = await self._state.context.rights.kube_of(bundle.options if bundle else None)
            except (MissingAccount, UsageError, ToolFailed) as error:
                self._report_unknown(name, error)
                continue
            if name in todo.bundles and not await self._update_index(observer, name, kube.user):
                continue
            self._rules[name] = self._rules_of(name)
            only = None if name in todo.bundles else frozenset(single[name])
            releases = frozenset(
                f"{r.namespace}/{r.name}"
                for r in releases_of(self._state.context.journal.entries[name])
            )
            subjects.append(
                Subject(name, kube, self._rules[name], only, self._ears.extras(name), releases)
            )
        return subjects

    async def _update_index(self, observer: Observer, name: BundleName, user: str) -> bool:
        """Whether it is known what was applied; where the file is lost, helm still knows."""
        places = await observer.places(name)
        if places is None:
            try:
                await self._restore(name)
            except FleetError as error:
                self._report_unknown(name, error)
                return False
            places = await observer.places(name) or set()
        before = self._index.places(name)
        if self._index.put(name, places, user):
            self._is_index_changed = True
            self._ears.add_lost_objects(name, before - places)
        return True

    async def _restore(self, name: BundleName) -> None:
        """From helm's own records. Raises ToolFailed, ClusterUnreachable."""
        for number, release in enumerate(releases_of(self._state.context.journal.entries[name])):
            text = await self._state.context.helm.manifest(
                release, deadline=self._state.context.seconds
            )
            self._state.context.last_applied.keep(
                name, text.decode(), release.namespace, release.name, more=number > 0
            )

    def _report_unknown(self, name: BundleName, error: FleetError) -> None:
        """What runs of a bundle cannot be read: its account is gone, or what was applied is
        lost.
        """
        entry = self._state.context.journal.entries[name]
        self._state.resources[name] = [
            ResourceStatus(
                api_version="v1",
                kind="Namespace",
                name=entry.namespace,
                state="Unknown",
                message=error.summary,
            )
        ]
        self._agenda.set_ready(name, ready=False)
        self._teller.refresh([name])

    def _take(self, name: BundleName, observation: Observation, *, whole: bool) -> None:
        old = (
            {}
            if whole
            else {
                _place(r): r for r in self._state.resources.get(name, []) if r.state != "Orphaned"
            }
        )
        states = {**old, **observation.states}
        self._state.resources[name] = [
            state for _, state in sorted(states.items()) if state is not None
        ]
        self._ears.versions |= observation.versions
        self._agenda.set_ready(name, ready=is_ready(self._state.resources[name]))

    def _poll(self) -> None:
        """What cannot be watched is looked at now and then, as often as the agenda lets it."""
        for unit in self.watches.unwatched_scopes:
            for place in self._index.within(unit):
                self._agenda.add_object(place)

    def _releases(self) -> dict[str, BundleName]:
        entries = self._state.context.journal.entries
        return {
            f"{r.namespace}/{r.name}": name
            for name, entry in entries.items()
            for r in releases_of(entry)
        }

    def _rules_of(self, name: BundleName) -> Rules:
        bundle = self._state.bundle(name)
        return rules_of(bundle.options) if bundle else NONE

    def _correct(self, resources: dict[BundleName, list[ResourceStatus]]) -> None:
        """Drift is put right where `correctDrift.enabled` says so, or where somebody asked for it;
        what another release has, or nobody applied, is not ours to change.
        """
        for bundle in self._state.bundles():
            drift, entry = (
                bundle.options.correct_drift,
                self._state.context.journal.entries.get(bundle.name),
            )
            if bundle.name not in resources or bundle.name in self._state.to_reapply:
                continue
            if entry is not None and correct.is_correction_requested(bundle, entry):
                correct.correct_on_request(self._state, bundle, entry, resources[bundle.name])
            elif drift and drift.enabled:
                drifted_resources = [
                    r
                    for r in list_drifted(resources[bundle.name])
                    if r.state != "Orphaned" and not r.owner
                ]
                correct.schedule_correction(self._state, bundle, drifted_resources)

    async def read_again(self) -> None:
        """A ConfigMap or Secret that `valuesFrom` names changes without anybody's word: it is read
        again every few minutes.
        """
        while True:
            await asyncio.sleep(self._values_seconds * jitter.between(0.8, 1.0))
            for bundle in () if self._state.is_stopped else self._state.bundles():
                entry = self._state.context.journal.entries.get(bundle.name)
                if (
                    bundle.name in self._state.busy
                    or entry is None
                    or entry.applied < bundle.generation
                    or not values_from.references(bundle.options)
                ):
                    continue
                try:
                    now = values_from.fingerprint(
                        self._state.context.state_dir,
                        await install.values_from(self._state.context, bundle),
                    )
                except (FleetError, OSError) as error:
                    trouble(f"bundle {bundle.name}", getattr(error, "summary", str(error)))
                    continue
                if now != entry.values_digest:
                    event(
                        "values on the cluster have changed, the bundle is deployed again",
                        bundle=bundle.name,
                    )
                    self._state.to_reapply.add(bundle.name)
                    self._state.work.set()


def _place(resource: ResourceStatus) -> ObjectKey:
    return ObjectKey(resource.api_version, resource.kind, resource.namespace, resource.name)
