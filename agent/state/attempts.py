"""Which bundles an agent worked on when it died, so that a bundle that kills or freezes it does not
stop all others.

Rule: a mark is durable in `STATE_DIR/attempts/BUNDLE.json` before the work on a bundle begins, and
is removed when the work has ended, well or not. A mark that a start finds is a death during that
work. A bundle with deaths is tried alone and later than all others, after waits that grow with each
death; a new generation, or other inputs, forget them.

One death says little: the power may have failed. From the second on the bundle is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from fleetctl import durable
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.core.timing.backoff import Backoff

from ..host.log import event, trouble

FOLDER = "attempts"
REPORT_DEATHS = 2
CODE = "set-aside"
_FIRST_SECONDS, _OFFLINE_SECONDS = 10.0, 60.0
_RETRY = Backoff(_OFFLINE_SECONDS, 3600.0)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """`inputs`: what the work depends on; `deaths` of the agent during this work; `active`: the
    work has begun and not ended.
    """

    bundle: BundleName
    inputs: str
    deaths: int = 0
    active: bool = True


class Attempts:
    """The marks of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        self._marks: dict[BundleName, Mark] = {}

    def load(self) -> None:
        """Count a death for each mark of an earlier process. Never raises: without marks the work
        is tried as usual.
        """
        self._marks = {mark.bundle: mark for mark in read(self._folder.parent)}
        for mark in list(self._marks.values()):
            if mark.active:
                died = msgspec.structs.replace(mark, deaths=mark.deaths + 1, active=False)
                self._marks[mark.bundle] = died
                event(
                    "the agent ended while it worked on a bundle",
                    bundle=mark.bundle,
                    times=died.deaths,
                )
                try:
                    durable.write_whole(self._path(mark.bundle), msgspec.json.encode(died))
                except OSError as error:
                    trouble("attempts", f"a mark cannot be written: {error}")

    def deaths(self, document: Desired, bundle: DesiredBundle) -> int:
        """How often an agent died during the work on this generation of the bundle, with these
        inputs.
        """
        mark = self._marks.get(bundle.name)
        return mark.deaths if mark is not None and mark.inputs == inputs_of(document, bundle) else 0

    def begin(self, document: Desired, bundle: DesiredBundle) -> None:
        """Durable when it returns. Raises OSError."""
        mark = Mark(
            bundle=bundle.name,
            inputs=inputs_of(document, bundle),
            deaths=self.deaths(document, bundle),
        )
        self._folder.mkdir(mode=0o700, exist_ok=True)
        durable.write_whole(self._path(bundle.name), msgspec.json.encode(mark))
        self._marks[bundle.name] = mark

    def end(self, name: BundleName) -> None:
        """The work has ended. A mark that a power cut brings back counts as one death, which does
        no harm.
        """
        self._marks.pop(name, None)
        try:
            durable.disk.unlink(self._path(name))
        except OSError as error:
            trouble("attempts", f"a mark cannot be removed: {error}")

    def keep_only(self, document: Desired) -> None:
        """Forget bundles that the document does not name."""
        names = {bundle.name for bundle in document.bundles}
        for name in [
            name for name, mark in self._marks.items() if name not in names and not mark.active
        ]:
            self.end(name)

    def _path(self, name: BundleName) -> Path:
        return self._folder / f"{name}.json"


def read(state_dir: Path) -> list[Mark]:
    """The marks that are on the disk; those that cannot be read are left out."""
    marks = []
    try:
        paths = sorted((state_dir / FOLDER).glob("[!.]*.json"))
    except OSError:
        return []
    for path in paths:
        try:
            mark = msgspec.json.decode(path.read_bytes(), type=Mark)
        except (OSError, msgspec.DecodeError):
            continue
        if path.name == f"{mark.bundle}.json":
            marks.append(mark)
    return marks


def deaths_of(
    document: Desired, marks: Iterable[Mark], *, has_ended: bool
) -> dict[BundleName, int]:
    """Deaths during the work on each bundle as the document wants it. `has_ended`: no agent runs,
    so that an active mark is a death too.
    """
    inputs = {bundle.name: inputs_of(document, bundle) for bundle in document.bundles}
    return {
        mark.bundle: mark.deaths + (mark.active and has_ended)
        for mark in marks
        if inputs.get(mark.bundle) == mark.inputs
    }


def inputs_of(document: Desired, bundle: DesiredBundle) -> str:
    return f"{document.epoch} {bundle.generation} {bundle.archive} {bundle.options_digest}"


def wait_seconds(deaths: int, *, is_confirmed: bool) -> float:
    """From the start of the agent to the next attempt. `answered`: the manager has said that the
    bundle is still wanted like this.
    """
    if deaths < REPORT_DEATHS:
        return _FIRST_SECONDS if is_confirmed else _OFFLINE_SECONDS
    return _RETRY.seconds(deaths - REPORT_DEATHS + 1)


def describe(deaths: int) -> str:
    return (
        f"the agent died {deaths} times while it worked on this generation, which is set aside so"
        " that other bundles can be deployed"
    )
