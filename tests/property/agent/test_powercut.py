"""A power cut at any moment: whatever of the un-synced writes is lost, what was promised is there
and the rest is as it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.controlplane.desired_state import DocumentStore
from agent.state.journal import Entry, Journal
from agent.state.last_applied import AppliedObjects, LastApplied
from fleetctl import durable
from fleetctl.core.model.ids import BundleName, ClusterId, ClusterName, Epoch, Generation, Workspace
from fleetctl.core.model.wire import Desired, Envelope
from tests.support.chaos.power_cut import Change, Recorder, lay_out
from tests.support.depth import depth

State = dict[str, int]
_PUT = st.tuples(st.sampled_from("abc"), st.booleans())
_STEPS = st.lists(st.one_of(_PUT, st.just("compact"), st.just("restart")), min_size=1, max_size=12)


def entry(name: str, generation: int, *, removed: bool) -> Entry:
    return Entry(
        bundle=BundleName(name), generation=Generation(generation), epoch=Epoch(1), removed=removed
    )


class Run:
    """Steps done to a journal, with what must be true after each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recorder = folder, Recorder(folder)
        # (changes until then, entries, floors)
        self.promises: list[tuple[int, State, State]] = [(0, {}, {})]

    def do(self, steps: list[tuple[str, bool] | str]) -> None:
        before = durable.use(self.recorder)
        try:
            journal = Journal(self.folder / "journal")
            for generation, step in enumerate(steps, 1):
                match step:
                    case "compact":
                        journal.compact()
                    case "restart":
                        journal.close()
                        journal = Journal(self.folder / "journal")
                    case (name, removed):
                        journal.put(entry(name, generation, removed=removed))
                self.promises.append((len(self.recorder.changes), *seen(journal)))
            journal.close()
        finally:
            durable.use(before)


def seen(journal: Journal) -> tuple[State, State]:
    return {str(k): v.generation for k, v in journal.entries.items()}, {
        str(k): v[1] for k, v in journal.floors().items()
    }


def after(
    changes: list[Change], choose: Callable[[int], int], look: Callable[[Path], None]
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        lay_out(changes, folder, choose)
        look(folder)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=depth(100, 1000), deadline=None)
@given(_STEPS, st.data())
def test_the_journal_is_as_it_was_promised(
    steps: list[tuple[str, bool] | str], data: st.DataObject
) -> None:
    """Everything that `put` returned for is there, at most one more; the next record follows; and
    nothing looks broken.
    """
    work = Path(tempfile.mkdtemp())
    try:
        run = Run(work)
        run.do(steps)
        cut = data.draw(st.integers(0, len(run.recorder.changes)), label="cut after")
        done = max(at for at, (end, _, _) in enumerate(run.promises) if end <= cut)
        allowed = [run.promises[at][1:] for at in (done, min(done + 1, len(run.promises) - 1))]

        def look(folder: Path) -> None:
            journal = Journal(folder / "journal")
            found = seen(journal)
            assert found in allowed
            assert not journal.is_broken
            journal.put(entry("z", 99, removed=False))
            journal.close()
            assert seen(Journal(folder / "journal"))[0] == {**found[0], "z": 99}

        after(run.recorder.changes[:cut], lambda n: data.draw(st.integers(0, n - 1)), look)
    finally:
        shutil.rmtree(work)


@settings(max_examples=depth(60, 500), deadline=None)
@given(st.integers(2, 5), st.data())
def test_the_kept_document_is_one_that_was_kept(versions: int, data: st.DataObject) -> None:
    """Never a mixture, never none once one was promised, and never an older one than was
    promised.
    """
    work = Path(tempfile.mkdtemp())
    try:
        recorder, ends = Recorder(work), [0]
        before = durable.use(recorder)
        try:
            kept = DocumentStore(work, opened)
            for version in range(1, versions + 1):
                kept.keep(str(version), envelope(version))
                ends.append(len(recorder.changes))
        finally:
            durable.use(before)
        cut = data.draw(st.integers(0, ends[-1]), label="cut after")
        done = max(at for at, end in enumerate(ends) if end <= cut)

        def look(folder: Path) -> None:
            found = DocumentStore(folder, opened).load()
            assert (int(found[0]) if found else 0) in {done, done + 1}

        after(recorder.changes[:cut], lambda n: data.draw(st.integers(0, n - 1)), look)
    finally:
        shutil.rmtree(work)


@given(st.binary(max_size=200))
def test_objects_that_are_torn_are_none(text: bytes) -> None:
    """They are applied, or looked at, again."""
    work = Path(tempfile.mkdtemp())
    try:
        wanted = LastApplied(work)
        wanted.put(BundleName("a"), AppliedObjects(objects=[]))
        (work / "a.json").write_bytes(text)
        (work / "a.accepted").write_bytes(text)
        wanted.get(BundleName("a"))
        wanted.each(BundleName("a"))
        wanted.accepted(BundleName("a"))
    finally:
        shutil.rmtree(work)


def envelope(version: int) -> Envelope:
    head = {"workspace": Workspace("w"), "cluster_id": ClusterId("c"), "cluster": ClusterName("c")}
    document = Desired(**head, epoch=Epoch(version), issued="", expires="")
    return Envelope(key_id="k", payload=msgspec.json.encode(document).decode(), signature="s")


def opened(kept: Envelope) -> Desired:
    return msgspec.json.decode(kept.payload, type=Desired)
