"""Runs one helm upgrade, and removes the causes for which helm may refuse it.

`run_helm` calls helm in a loop. When helm fails, each step of STEPS looks at the error in turn and
returns an outcome: RETRY after it has removed the cause, or PASS. The error that every step passes
is raised. A step may raise another error instead; the later steps look at that one.

Rule: each step acts a limited number of times, so that the loop ends. A step that acts gives the
steps before it their limits back, because helm runs afresh for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import msgspec

from fleetctl.core.model.errors import (
    FleetError,
    HelmFailed,
    HelmRefusedByForm,
    NoKind,
    NotOurs,
    PendingOperation,
    RecordTaken,
    ToolFailed,
)
from fleetctl.core.model.options import CorrectDrift, HelmOptions
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.tools.chart_builder.plugin import PreparedChart
from fleetctl.tools.helm import Release, Revision, UpgradeFlags
from fleetctl.tools.helm_errors import is_unreadable

from ..host.failpoints import failpoint
from ..release import immutable, ownership
from ..release.parts import PART
from ..release.records import STATUS_DEPLOYED
from ..state.journal import Entry
from . import client_side_apply, removed_apis
from .claims import claim_of
from .context import ReleaseContext

_MOST_ROUNDS = 4  # of objects that are recreated; some show only when others are new


class Outcome(Enum):
    """What a step did about an error."""

    PASS = auto()
    RETRY = auto()


@dataclass(frozen=True)
class InstallRequest:
    """A bundle at a generation, for one cluster. `old`: its journal entry before this install."""

    document: Desired
    bundle: DesiredBundle
    old: Entry | None = None

    @property
    def is_correction(self) -> bool:
        """Whether this generation is applied again because of drift."""
        drift, old = self.bundle.options.correct_drift, self.old
        if not (drift and drift.enabled and old):
            return False
        return old.applied >= self.bundle.generation and not old.began


@dataclass
class ReleaseUpgrade:
    """One release that helm upgrades, and how often each step has acted. `deadline`: seconds of one
    run. `server_side_error`: for which helm changed to client-side apply. `rounds`: of recreated
    objects.
    """

    request: InstallRequest
    release: Release
    helm_input: PreparedChart
    flags: UpgradeFlags
    deadline: float
    is_foreign_checked: bool = False
    is_settled: bool = False
    is_repaired: bool = False
    server_side_error: HelmRefusedByForm | None = None
    rounds: int = 0

    def renew_limits(self, step: Step) -> None:
        """After `step` has acted, the steps before it may act again."""
        before = STEPS[: STEPS.index(step)]
        if settle_pending in before:
            self.is_settled = False
        if repair_records in before:
            self.is_repaired = False
        if apply_client_side in before:
            self.server_side_error = None
        if take_ownership in before:
            self.is_foreign_checked = False
            self.flags = replace(self.flags, take_ownership=False)


Step = Callable[[ReleaseContext, ReleaseUpgrade, FleetError], Awaitable[Outcome]]


def new_upgrade(
    context: ReleaseContext,
    request: InstallRequest,
    release: Release,
    helm_input: PreparedChart,
    *,
    part: int,
    part_count: int,
) -> ReleaseUpgrade:
    """The run for one part of a bundle; a bundle of one release has part 1 only."""
    flags = part_flags(upgrade_flags(request, helm_input), part, part_count)
    if context.kube.is_there:
        is_client_side = bool(context.journal.entries[request.bundle.name].client_side)
        flags = replace(
            flags, create_namespace=False, take_ownership=False, server_side=not is_client_side
        )
    return ReleaseUpgrade(request, release, helm_input, flags, context.seconds + flags.longest)


def upgrade_flags(request: InstallRequest, helm_input: PreparedChart) -> UpgradeFlags:
    """What the bundle's options mean for helm."""
    document, bundle = request.document, request.bundle
    options, helm = bundle.options, bundle.options.helm or HelmOptions()
    labels = {
        "fleetctl-cluster": document.cluster_id,
        "fleetctl-bundle": bundle.name,
        "fleetctl-epoch": str(document.epoch),
        "fleetctl-generation": str(bundle.generation),
        "fleetctl-digest": bundle.archive[:32],
    }
    return UpgradeFlags(
        labels=labels,
        max_history=helm.max_history or 2,
        timeout=max(0, helm.timeout_seconds or 0),
        wait_for_jobs=bool(helm.wait_for_jobs),
        atomic=bool(helm.atomic),
        take_ownership=bool(helm.take_ownership),
        create_namespace=options.create_namespace is not False,
        skip_schema=bool(helm.skip_schema_validation),
        force=bool(helm.force),
        disable_dns=bool(helm.disable_dns),
        skip_crds=bool(options.target_namespace),
        post_renderer=helm_input.post_renderer,
        plugins=helm_input.plugins,
    )


def part_flags(flags: UpgradeFlags, part: int, part_count: int) -> UpgradeFlags:
    """Parts do not wait for each other, because an object may wait for one in the next part; so
    helm does not roll a part back either.
    """
    labels = dict(flags.labels) | ({PART: str(part)} if part > 1 else {})
    if part_count > 1:
        return replace(flags, labels=labels, timeout=0, atomic=False)
    return replace(flags, labels=labels)


async def finish_cut_off_run(context: ReleaseContext, upgrade: ReleaseUpgrade) -> Revision | None:
    """Repair what a helm run that was cut off left. Returns the revision when that run had ended
    well and only the journal does not know: to run it again would run its hooks again, and charts
    that generate passwords would generate new ones.
    """
    old = upgrade.request.old
    if not context.kube.is_there or old is None or not old.began or old.parts:
        return None
    # No helm of this agent is alive: it starts one at a time for a release, and those of an agent
    # before it are dead (agent/release/helm_lock.py).
    bundle, labels = upgrade.request.bundle, upgrade.flags.labels
    headers = await context.repair.settle(context.kube, bundle.name, upgrade.release)
    has_values = bool(bundle.options.helm and bundle.options.helm.values_from)
    if not headers or headers[0].status != STATUS_DEPLOYED or has_values:
        return None
    order = (int(labels["fleetctl-epoch"]), int(labels["fleetctl-generation"]))
    if (headers[0].order, headers[0].digest) != (order, labels["fleetctl-digest"]):
        return None
    text = await context.helm.manifest(upgrade.release, deadline=context.seconds)
    return Revision(headers[0].version, STATUS_DEPLOYED, "", text.decode())


async def run_helm(
    context: ReleaseContext, upgrade: ReleaseUpgrade, steps: Sequence[Step] = ()
) -> Revision:
    """Upgrade the release; `steps`: what may remove the cause of an error, STEPS when empty. Raises
    FleetError.
    """
    while True:
        await _refuse_foreign(context, upgrade)
        try:
            return await context.helm.upgrade(
                upgrade.release,
                upgrade.helm_input.chart,
                upgrade.helm_input.values,
                upgrade.flags,
                deadline=upgrade.deadline,
            )
        except FleetError as error:
            await _remove_cause(context, upgrade, error, steps or STEPS)


async def _refuse_foreign(context: ReleaseContext, upgrade: ReleaseUpgrade) -> None:
    """Raises OwnershipConflict for a release that somebody else made."""
    if upgrade.is_foreign_checked or not context.kube.is_there:
        return
    upgrade.is_foreign_checked = True
    request = upgrade.request
    if request.old is None or not request.old.applied:
        claim = claim_of(context, request.document, request.bundle, upgrade.release)
        await ownership.refuse_foreign(context.kube, claim)


async def _remove_cause(
    context: ReleaseContext, upgrade: ReleaseUpgrade, error: FleetError, steps: Sequence[Step]
) -> None:
    """Let the steps act on the error, in their order. Raises the error that every step passes."""
    for step in steps:
        try:
            if await step(context, upgrade, error) is Outcome.RETRY:
                upgrade.renew_limits(step)
                return
        except FleetError as step_error:
            error = step_error
    raise error


async def settle_pending(
    context: ReleaseContext, upgrade: ReleaseUpgrade, error: FleetError
) -> Outcome:
    """Delete the record of a killed helm, over which helm refuses to continue."""
    if upgrade.is_settled or not isinstance(error, PendingOperation):
        return Outcome.PASS
    upgrade.is_settled = True
    await context.repair.settle(context.kube, upgrade.request.bundle.name, upgrade.release)
    return Outcome.RETRY


async def repair_records(
    context: ReleaseContext, upgrade: ReleaseUpgrade, error: FleetError
) -> Outcome:
    """Rewrite records that state what the cluster does not serve; delete unreadable ones."""
    if upgrade.is_repaired or not context.kube.is_there:
        return Outcome.PASS
    if isinstance(error, NoKind):
        upgrade.is_repaired = await removed_apis.repair(context.kube, upgrade.release)
    elif isinstance(error, RecordTaken):
        upgrade.is_repaired = await removed_apis.drop_unreadable(context.kube, upgrade.release)
    return Outcome.RETRY if upgrade.is_repaired else Outcome.PASS


async def apply_client_side(
    context: ReleaseContext, upgrade: ReleaseUpgrade, error: FleetError
) -> Outcome:
    """Change to client-side apply for objects that server-side apply refuses by form. The journal
    says so before the next run. Of two refusals the one that names the field is raised.
    """
    if upgrade.server_side_error and isinstance(error, HelmFailed) and is_unreadable(error):
        raise upgrade.server_side_error from error
    if not upgrade.flags.server_side or not isinstance(error, HelmRefusedByForm):
        return Outcome.PASS
    upgrade.server_side_error = error
    entry = context.journal.entries[upgrade.request.bundle.name]
    messages = client_side_apply.describe_refusals(upgrade.release, error)
    context.journal.put(msgspec.structs.replace(entry, client_side=messages))
    upgrade.flags = replace(upgrade.flags, server_side=False)
    return Outcome.RETRY


async def take_ownership(
    context: ReleaseContext, upgrade: ReleaseUpgrade, error: FleetError
) -> Outcome:
    """Take over the objects of others that the claim allows. helm names only the first of them, so
    a dry run lists all. Raises OwnershipConflict.
    """
    if upgrade.flags.take_ownership or not isinstance(error, NotOurs) or not context.kube.is_there:
        return Outcome.PASS
    flags = replace(upgrade.flags, dry_run=True, take_ownership=True)
    dry_run = ReleaseUpgrade(
        upgrade.request,
        upgrade.release,
        upgrade.helm_input,
        flags,
        upgrade.deadline,
        is_foreign_checked=True,
    )
    try:
        planned_revision = await run_helm(context, dry_run, STEPS[: STEPS.index(take_ownership)])
    except ToolFailed:
        raise error from None
    claim = claim_of(context, upgrade.request.document, upgrade.request.bundle, upgrade.release)
    await ownership.judge_manifest(context.kube, planned_revision.manifest, claim)
    failpoint("before-taking-over")
    upgrade.flags = replace(dry_run.flags, dry_run=False)
    return Outcome.RETRY


async def recreate_immutable(
    context: ReleaseContext, upgrade: ReleaseUpgrade, error: FleetError
) -> Outcome:
    """Delete the objects whose change the API server refuses for good, where the options allow it.
    Raises ImmutableField, DeadlineError.
    """
    if not isinstance(error, HelmFailed) or upgrade.rounds >= _MOST_ROUNDS:
        return Outcome.PASS
    upgrade.rounds += 1
    request = upgrade.request
    drift = request.bundle.options.correct_drift or CorrectDrift()
    force = upgrade.flags.force or (request.is_correction and bool(drift.force))
    keep_failed = bool(drift.keep_fail_history) or not request.is_correction
    is_recreated = await immutable.recreate(
        context.kube, upgrade.release, error, force=force, keep_failed=keep_failed
    )
    return Outcome.RETRY if is_recreated else Outcome.PASS


# From the step that changes least to the one that changes most.
STEPS: tuple[Step, ...] = (
    settle_pending,
    repair_records,
    apply_client_side,
    take_ownership,
    recreate_immutable,
)
