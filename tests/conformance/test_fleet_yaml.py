"""A corpus of small repositories: for every key, default, trap and interplay of Fleet what must
come of it.

`expect` of a case: `bundles` (name to a subset of Fleet's Bundle document; `resources` are names
alone), `values` and `objects` (cluster to bundle to what the chart gets, or a subset of each
object), `release` (NAMESPACE/NAME), `fate` (cluster to bundle to the target and customization, or
why not), `refused` (text in a problem of the scan), `fails` (cluster to bundle to a text in the
error), `warned`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.core.documents.fleet_yaml import KEYS
from fleetctl.core.targeting.target import Match
from tests.support.pages.cases import Case, Outcome, cases, subset
from tests.support.pages.fleet_compat import PAGE, page

ALL = cases()


@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_what_comes_of_it(case: Case, tmp_path: Path, tool_env: dict[str, str]) -> None:
    """Exactly what the case states."""
    got = Outcome(case, tmp_path, tool_env["PATH"])
    expect = dict(case.expect)
    refused = expect.pop("refused", None)
    problems = got.problems()
    if refused is None:
        assert problems == []
    else:
        assert any(refused in text for text in problems), problems
    warned = expect.pop("warned", "")
    assert any(warned in w.summary for w in got.scan.warnings) or not warned, got.scan.warnings
    for what, wanted in expect.items():
        _CHECKS[what](got, wanted)


def _bundles(got: Outcome, wanted: dict) -> None:
    assert sorted(got.drafts) == sorted(wanted)
    for name, want in wanted.items():
        document = got.document(name)
        names = [r["name"] for r in document["spec"].pop("resources")]
        want = dict(want or {})
        assert names == want.pop("resources", names)
        assert subset(want, document["spec"] | {"labels": document["metadata"].get("labels")}) == []


def _each(wanted: dict):
    return [
        (cluster, bundle, want) for cluster, mine in wanted.items() for bundle, want in mine.items()
    ]


def _values(got: Outcome, wanted: dict) -> None:
    for cluster, bundle, want in _each(wanted):
        assert got.values(bundle, cluster) == want


def _objects(got: Outcome, wanted: dict) -> None:
    for cluster, bundle, want in _each(wanted):
        made = sorted(
            got.objects(bundle, cluster), key=lambda o: (o["kind"], o["metadata"]["name"])
        )
        assert subset(want, made) == []


def _release(got: Outcome, wanted: dict) -> None:
    for cluster, bundle, want in _each(wanted):
        made = got.plan(bundle, cluster)
        assert f"{made.namespace}/{made.release}" == want


def _fate(got: Outcome, wanted: dict) -> None:
    for cluster, bundle, want in _each(wanted):
        found = got.fate(bundle, cluster)
        assert (
            f"{found.target} {found.customization}".strip()
            if isinstance(found, Match)
            else found.why
        ) == want


def _fails(got: Outcome, wanted: dict) -> None:
    for cluster, bundle, want in _each(wanted):
        assert want in got.error(bundle, cluster)


def _options(got: Outcome, wanted: dict) -> None:
    from fleetctl.core.scan.bundle_document import options_document

    for cluster, bundle, want in _each(wanted):
        found = got.fate(bundle, cluster)
        assert isinstance(found, Match)
        assert subset(want, options_document(found.options)) == []


_CHECKS = {
    "bundles": _bundles,
    "values": _values,
    "objects": _objects,
    "release": _release,
    "fate": _fate,
    "fails": _fails,
    "options": _options,
}


def test_every_key_has_a_case():
    """A key that nobody tried is not known to work."""
    tried = {key for case in ALL for key in case.keys}
    assert sorted(set(KEYS) - tried) == []
    assert all(case.why for case in ALL if case.verdict != "same")
    assert {case.verdict for case in ALL} <= {"same", "better", "stricter", "not yet"}


def test_the_page_says_what_the_cases_say():
    """docs/fleet-compat.md is written from the corpus."""
    assert PAGE.read_text("utf-8") == page()
