"""When drift is corrected: at once the first time, and after growing pauses as long as something
changes it back.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.timing.backoff import Backoff


@dataclass
class _RepeatedCorrection:
    generation: Generation
    count: int = 0
    last: float = 0.0
    until: float = 0.0
    is_look_scheduled: bool = False  # somebody looks again when the pause is over


class Corrections:
    """When drift of each bundle is put right: at once, then after pauses that double up to 10 min.
    A bundle that stays as it is for twice its pause, and at least a minute, begins anew, and so
    does a new generation. Times are seconds of one clock.
    """

    PAUSE = Backoff(5.0, 600.0)
    CALM = 60.0

    def __init__(self) -> None:
        self._corrections: dict[BundleName, _RepeatedCorrection] = {}

    def should_correct(
        self, bundle: BundleName, generation: Generation, now: float, *, is_drifted: bool
    ) -> bool:
        """Whether the drift is to be corrected now."""
        correction = self._corrections.get(bundle)
        if correction and (
            correction.generation != generation
            or (
                not is_drifted
                and now > correction.last + max(self.CALM, 2 * (correction.until - correction.last))
            )
        ):
            del self._corrections[bundle]
            correction = None
        if not is_drifted:
            return False
        if correction is None:
            correction = self._corrections[bundle] = _RepeatedCorrection(generation)
        if now < correction.until:
            return False
        correction.count += 1
        correction.last, correction.until, correction.is_look_scheduled = (
            now,
            now + self.PAUSE.seconds(correction.count),
            False,
        )
        return True

    def wait(self, bundle: BundleName, now: float) -> float:
        """Seconds until the next correction, returned once for each wait; otherwise 0."""
        fight = self._corrections.get(bundle)
        if fight is None or fight.is_look_scheduled or now >= fight.until:
            return 0.0
        fight.is_look_scheduled = True
        return fight.until - now

    def note(self, bundle: BundleName) -> str:
        """For the report, when something fights us; else "". It stays the same until the next
        correction.
        """
        fight = self._corrections.get(bundle)
        if fight is None or fight.count < 2:
            return ""
        return (
            f"; corrected {fight.count} times and changed again each time; the next"
            f" correction is in {fight.until - fight.last:.0f} s"
        )
