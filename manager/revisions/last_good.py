"""The revision that is known to work, for a rollback and for clusters that join a rollout that has
stopped.

Rule: the last good revision is the newest whose rollout was completed; if none was, the one before
the current one. It always differs from what clusters should have now.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import CommitId

from ..store import Reader
from ..store.keys import BundleKey
from ..store.queries.revisions import current_revision, revision_specs
from ..store.queries.rollouts import find_rollout
from .pins import content_of


def find_last_good(reader: Reader, bundle: BundleKey) -> int:
    """The number of the last good revision, 0 for none."""
    specs = revision_specs(reader, bundle)
    if not specs:
        return 0
    rollout = find_rollout(reader, bundle)
    good = 0 if rollout is None else rollout.last_good_revision
    return last_good(specs, current_revision(reader, bundle), good)


def last_good(specs: Mapping[int, BundleSpec], current: int, good: int) -> int:
    """`good`: the newest revision whose rollout was completed, 0 for none."""
    newest = specs[max(specs)]
    contents = {
        number: msgspec.structs.replace(content_of(spec, newest), commit=CommitId(""))
        for number, spec in specs.items()
    }
    different = [number for number in contents if contents[number] != contents.get(current)]
    if good in different:
        return good
    return max((number for number in different if number < current), default=0)
