"""Which causes of a failed helm run are removed, in which order, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from agent.deploy import removed_apis
from agent.release import immutable, ownership
from fleetctl.core.model.errors import (
    HelmFailed,
    ImmutableField,
    NoKind,
    NotOurs,
    OwnershipConflict,
    PendingOperation,
    RecordTaken,
    ToolFailed,
)
from tests.support.helmruns import ReleaseScript

HEAD = "server-side apply failed for object shop/web apps/v1, Kind=Deployment: "
FORM = (
    f"{HEAD}failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.x:"
    " field not declared in schema"
)
IMMUTABLE = f'{HEAD}Deployment.apps "web" is invalid: spec.selector: field is immutable'
PENDING = PendingOperation("another operation is in progress")
NO_KIND = NoKind('no matches for kind "Valve"')
FOREIGN = NotOurs("invalid ownership metadata")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each mechanism answers; a test changes the answers."""
    answers: dict[str, Any] = {
        "calls": [],
        "repair": True,
        "drop_unreadable": True,
        "judge": None,
        "recreate": True,
    }

    def answer(name: str, call: str) -> Any:
        async def respond(*_: Any, **__: Any) -> Any:
            answers["calls"].append(call)
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return respond

    monkeypatch.setattr(removed_apis, "repair", answer("repair", "repair"))
    monkeypatch.setattr(removed_apis, "drop_unreadable", answer("drop_unreadable", "drop"))
    monkeypatch.setattr(ownership, "refuse_foreign", answer("judge", "refuse"))
    monkeypatch.setattr(ownership, "judge_manifest", answer("judge", "judge"))
    monkeypatch.setattr(immutable, "recreate", answer("recreate", "recreate"))
    return answers


class TestSteps:
    def test_a_run_that_succeeds_needs_no_step(self, steps: dict[str, Any]) -> None:
        script = ReleaseScript()
        assert script.run().number == 1
        assert (steps["calls"], script.steps) == ([], [])
        assert not script.runs[0].take_ownership

    def test_a_pending_record_is_settled_once(self) -> None:
        script = ReleaseScript([PENDING])
        assert script.run().number == 2
        assert script.steps == ["settle"]
        with pytest.raises(PendingOperation):
            ReleaseScript([PENDING, PENDING]).run()

    def test_records_of_unserved_kinds_are_repaired_once(self, steps: dict[str, Any]) -> None:
        assert ReleaseScript([NO_KIND]).run().number == 2
        steps["recreate"] = False
        with pytest.raises(NoKind):
            ReleaseScript([NO_KIND, NO_KIND]).run()
        assert steps["calls"] == ["repair", "repair", "recreate"]

    def test_records_without_unserved_kinds_stay(self, steps: dict[str, Any]) -> None:
        """Then the kind is in the new manifest, and nothing but its definition helps."""
        steps["repair"] = steps["recreate"] = False
        with pytest.raises(NoKind):
            ReleaseScript([NO_KIND]).run()

    def test_unreadable_records_are_dropped(self, steps: dict[str, Any]) -> None:
        assert ReleaseScript([RecordTaken("release: already exists")]).run().number == 2
        assert steps["calls"] == ["drop"]

    def test_a_step_that_acts_gives_earlier_steps_their_limits_back(
        self, steps: dict[str, Any]
    ) -> None:
        """A second pending record after the repair is settled as the first one was."""
        script = ReleaseScript([PENDING, NO_KIND, PENDING])
        assert script.run().number == 4
        assert script.steps == ["settle", "settle"]
        assert steps["calls"] == ["repair"]

    def test_an_error_that_no_step_knows_is_raised(self, steps: dict[str, Any]) -> None:
        steps["recreate"] = False
        with pytest.raises(HelmFailed, match="exceeded quota"):
            ReleaseScript(["exceeded quota"]).run()


class TestOwnership:
    def test_objects_of_others_are_taken_after_a_dry_run(self, steps: dict[str, Any]) -> None:
        """helm names one object; the dry run names all, and the claim is judged by them."""
        script = ReleaseScript([FOREIGN])
        assert script.run().number == 3
        assert [(r.dry_run, r.take_ownership) for r in script.runs] == [
            (False, False),
            (True, True),
            (False, True),
        ]
        assert steps["calls"] == ["judge"]

    def test_what_the_claim_does_not_allow_is_not_taken(self, steps: dict[str, Any]) -> None:
        steps["judge"] = OwnershipConflict("ConfigMap shop/m belongs to bundle db already")
        with pytest.raises(OwnershipConflict):
            ReleaseScript([FOREIGN]).run()

    def test_a_dry_run_that_fails_leaves_helms_refusal(self) -> None:
        with pytest.raises(NotOurs):
            ReleaseScript([FOREIGN, ToolFailed("no")]).run()

    def test_a_release_of_somebody_else_is_refused_before_the_first_run(
        self, steps: dict[str, Any]
    ) -> None:
        steps["judge"] = OwnershipConflict("release shop/web exists already")
        script = ReleaseScript(applied=0)
        with pytest.raises(OwnershipConflict):
            script.run()
        assert script.runs == []

    def test_the_dry_run_is_repaired_as_any_other(self, steps: dict[str, Any]) -> None:
        """A refusal by form in the dry run changes the real run to client-side apply."""
        script = ReleaseScript([FOREIGN, FORM])
        script.run()
        assert [r.server_side for r in script.runs] == [True, True, False, False]
        assert steps["calls"] == ["judge"]


class TestImmutable:
    def test_objects_are_recreated_and_ownership_is_judged_again(
        self, steps: dict[str, Any]
    ) -> None:
        """The new run begins without ownership, and refuses a foreign release again."""
        script = ReleaseScript([FOREIGN, "", IMMUTABLE], applied=0)
        script.run()
        assert steps["calls"] == ["refuse", "judge", "recreate", "refuse"]
        assert [r.take_ownership for r in script.runs] == [False, True, True, False]

    def test_four_rounds_are_enough(self, steps: dict[str, Any]) -> None:
        script = ReleaseScript([IMMUTABLE] * 9)
        with pytest.raises(HelmFailed):
            script.run()
        assert (len(script.runs), steps["calls"]) == (5, ["recreate"] * 4)

    def test_an_object_that_may_not_be_recreated_is_named(self, steps: dict[str, Any]) -> None:
        steps["recreate"] = ImmutableField("Deployment shop/web: spec.selector")
        with pytest.raises(ImmutableField):
            ReleaseScript([IMMUTABLE]).run()
