"""When drift is corrected."""

from __future__ import annotations

from agent.drift.corrections import Corrections
from fleetctl.core.model.ids import BundleName, Generation

WEB = BundleName("web")
ONE = Generation(1)


class TestCorrections:
    def test_the_first_time_at_once_then_after_growing_pauses(self) -> None:
        """What changes it back each second costs few helm runs: 8 in the first quarter of an
        hour.
        """
        fights = Corrections()
        times = [
            now
            for now in range(900)
            if fights.should_correct(WEB, ONE, float(now), is_drifted=True)
        ]
        assert times[:4] == [0, 5, 15, 35]
        assert len(times) == 8
        assert "corrected 8 times" in fights.note(WEB)

    def test_the_pause_stops_growing(self) -> None:
        """At ten minutes, so that it is put right some time after the fight has ended."""
        fights = Corrections()
        times = [
            now
            for now in range(0, 20_000, 5)
            if fights.should_correct(WEB, ONE, float(now), is_drifted=True)
        ]
        assert {b - a for a, b in zip(times[-4:], times[-3:], strict=False)} == {600}

    def test_calm_ends_it(self) -> None:
        """A bundle that stayed as it was begins anew, and so does a new generation."""
        fights = Corrections()
        assert fights.should_correct(WEB, ONE, 0.0, is_drifted=True)
        assert not fights.should_correct(WEB, ONE, 30.0, is_drifted=False)
        assert fights.should_correct(WEB, ONE, 31.0, is_drifted=True)
        assert not fights.should_correct(WEB, ONE, 32.0, is_drifted=True)
        assert fights.should_correct(WEB, Generation(2), 33.0, is_drifted=True)
        assert not fights.should_correct(WEB, Generation(2), 200.0, is_drifted=False)
        assert fights.note(WEB) == ""

    def test_who_waits_is_told_once_for_each_pause(self) -> None:
        """One alarm, not one for each look."""
        fights = Corrections()
        fights.should_correct(WEB, ONE, 0.0, is_drifted=True)
        assert [fights.wait(WEB, now) for now in (1.0, 2.0, 9.0)] == [4.0, 0.0, 0.0]
