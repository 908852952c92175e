"""Lists are requested in pages, and tables are printed page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from fleetctl.cli.display.output import Format
from fleetctl.cli.objects.list_request import ListRequest, View
from fleetctl.cli.objects.list_view import read
from fleetctl.cli.session import Session
from fleetctl.client import ItemPage


def cluster(number: int, state: str = "Ready") -> dict[str, Any]:
    return {
        "kind": "Cluster",
        "metadata": {"name": f"n-{number}", "namespace": "w"},
        "status": {"display": {"state": state, "readyBundles": "1/1"}},
    }


class FakeClient:
    """Serves pages of clusters and records what was requested."""

    def __init__(self, count: int) -> None:
        self.items = [cluster(number) for number in range(count)]
        self.requests: list[dict[str, str]] = []
        self.pages_read = 0

    def pages(self, plural: str, size: int, **query: str) -> Iterator[ItemPage]:
        self.requests.append({"plural": plural, "size": str(size), **query})
        size = size or len(self.items) or 1
        for start in range(0, max(1, len(self.items)), size):
            self.pages_read += 1
            rest = max(0, len(self.items) - start - size)
            yield ItemPage(self.items[start : start + size], rest > 0, rest or None)


class FakeSession:
    workspace = "w"

    def __init__(self, count: int) -> None:
        self.client = FakeClient(count)

    def warn_if_empty(self) -> None: ...


def show(count: int, **options: Any) -> FakeClient:
    session = FakeSession(count)
    read(cast("Session", session), [ListRequest("clusters")], View(**options))
    return session.client


def test_a_table_of_many_pages_has_one_header(capsys: pytest.CaptureFixture[str]) -> None:
    show(12, chunk_size=5)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", *(f"n-{n}" for n in range(12))]


def test_limit_reads_no_more_pages_than_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line on stderr counts the objects that are not shown."""
    client = show(100, chunk_size=5, limit=7)
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 8
    assert output.err == "… and 93 more\n"
    assert client.pages_read == 2


def test_a_limit_as_large_as_the_list_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(5, limit=5)
    output = capsys.readouterr()
    assert (len(output.out.splitlines()), output.err) == (6, "")


def test_a_sorted_list_is_cut_after_the_sorting(capsys: pytest.CaptureFixture[str]) -> None:
    """Although it needs all pages."""
    client = show(12, chunk_size=5, limit=1, sort_by=".metadata.name")
    output = capsys.readouterr()
    assert output.out.splitlines()[1].split()[0] == "n-0"
    assert (output.err, client.pages_read) == ("… and 11 more\n", 3)


def test_json_of_many_pages_is_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    show(12, chunk_size=5, form=Format.JSON)
    text = capsys.readouterr().out
    assert text.count('"kind": "List"') == 1
    assert text.count('"kind": "Cluster"') == 12


def test_the_manager_filters_by_state() -> None:
    """With the states as the manager writes them."""
    client = show(0, states="offline,READY", not_ready=True)
    [request] = client.requests
    assert (request["state"], request["notReady"]) == ("Offline,Ready", "true")


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show(0)
    assert capsys.readouterr().err == "No clusters in workspace w.\n"
