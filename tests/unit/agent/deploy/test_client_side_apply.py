"""When a release is applied client-side, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.deploy.client_side_apply import warning
from agent.deploy.helm_run import apply_client_side
from agent.loops.deployment_report import ReportFacts, state_of
from agent.state.journal import Entry
from fleetctl.core.model.cause_codes import hint_of
from fleetctl.core.model.errors import HelmFailed
from fleetctl.core.model.ids import BundleName, Digest, Epoch, Generation
from fleetctl.core.model.options import Options
from fleetctl.core.model.status import State
from fleetctl.core.model.wire import DesiredBundle
from tests.support.helmruns import BUNDLE, ReleaseScript

HEAD = "server-side apply failed for object shop/web apps/v1, Kind=Deployment: "
FORM = (
    f"{HEAD}failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.x:"
    " field not declared in schema"
)
OTHER = f'{HEAD}Deployment.apps "web" is invalid: spec.selector: field is immutable'


def tried(refusals: Sequence[str], *, known: bool = False) -> tuple[list[bool], list[str]]:
    """(whether each run was server-side, what was written down). Raises the last refusal."""
    script = ReleaseScript(refusals, client_side=("before",) if known else ())
    script.run([apply_client_side])
    recorded = script.entries[BUNDLE].client_side
    return [flags.server_side for flags in script.runs], list(recorded) if script.steps else []


def test_client_side_only_after_a_refusal_by_form() -> None:
    """And what was refused is written down before the second run."""
    assert tried([]) == ([True], [])
    assert tried([FORM]) == (
        [True, False],
        ["Deployment shop/web: .spec.x: field not declared in schema"],
    )
    with pytest.raises(HelmFailed, match="immutable"):
        tried([OTHER])
    with pytest.raises(HelmFailed, match="immutable"):
        tried([f"{FORM} && {OTHER}"])


def test_a_release_that_is_client_side_begins_so() -> None:
    """One run, not two for each commit."""
    assert tried([], known=True) == ([False], [])


def test_of_two_refusals_the_one_that_names_the_field() -> None:
    """A body that cannot be read at all has no path in its second refusal; another cause comes
    first.
    """
    with pytest.raises(HelmFailed, match=r"Deployment shop/web: \.spec\.x"):
        tried(
            [
                FORM,
                (
                    'Deployment in version "v1" cannot be handled as a Deployment: json: cannot'
                    " unmarshal string"
                ),
            ]
        )
    with pytest.raises(HelmFailed, match="exceeded quota"):
        tried([FORM, "exceeded quota"])


def test_a_ready_deployment_says_that_it_is_applied_client_side() -> None:
    """With the object, the field, and what to do."""
    bundle = DesiredBundle(
        name=BundleName("web"),
        generation=Generation(1),
        archive=Digest("a"),
        size=1,
        options=Options(),
        options_digest=Digest("o"),
    )
    entry = Entry(
        bundle=bundle.name,
        generation=Generation(1),
        applied=Generation(1),
        epoch=Epoch(1),
        client_side=("Deployment a/b: x", "y"),
    )
    state, why = state_of(bundle, ReportFacts(entry, []), 1)
    assert (state, why.code, why.object) == (State.READY, "client-side", "Deployment a/b")
    assert why.message == warning(entry.client_side)
    assert "Deployment a/b: x (and 1 more)" in why.message
    assert hint_of("client-side")
