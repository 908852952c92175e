"""`fleetctl schedule preview` of files, without a manager."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli.person import Person

EXAMPLE = Path(__file__).parents[3] / "examples" / "schedules" / "schedules.yaml"
SCHEDULE = """apiVersion: fleet.cattle.io/v1alpha1
kind: Schedule
metadata: {{name: {name}}}
spec:
  schedule: {text}
  duration: 2h
  location: {location}
  targets: {{clusters: [{{clusterSelector: {{}}}}]}}
"""


def written(
    folder: Path, text: str = "30 2 * * *", location: str = "Europe/Berlin", name: str = "nightly"
) -> str:
    path = folder / "s.yaml"
    path.write_text(SCHEDULE.format(name=name, text=text, location=location))
    return str(path)


def test_the_night_without_half_past_two(tmp_path: Path) -> None:
    """By the clock on the wall and in UTC, within 80 columns."""
    shown = Person(tmp_path).good(
        "schedule", "preview", written(tmp_path), "--at", "2026-03-28T12:00", "--count", "2"
    )
    assert shown.splitlines() == [
        "SCHEDULE   KIND    OPENS                       OPENS (UTC)            LASTS",
        "nightly    allow   2026-03-29T03:00:00+02:00   2026-03-29T01:00:00Z   120m",
        "nightly    allow   2026-03-30T02:30:00+02:00   2026-03-30T00:30:00Z   120m",
    ]
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_the_examples(tmp_path: Path) -> None:
    """Both are good; a window that is open at that time has a star, and a time without a zone is
    the schedule's own.
    """
    shown = json.loads(
        Person(tmp_path).good(
            "schedule",
            "preview",
            str(EXAMPLE),
            "--at",
            "2026-12-24T02:30",
            "--count",
            "1",
            "-o",
            "json",
        )
    )
    assert [
        (i["metadata"]["name"], i["deny"], i["open"], i["opensUtc"], i["closesUtc"])
        for i in shown["items"]
    ] == [
        ("shops-at-night", False, True, "2026-12-24T01:00:00Z", "2026-12-24T04:00:00Z"),
        ("christmas-freeze", True, True, "2026-12-19T23:00:00Z", "2027-01-02T23:00:00Z"),
    ]
    assert "allow*" in Person(tmp_path).good(
        "schedule", "preview", str(EXAMPLE), "--at", "2026-12-24T02:30"
    )


@pytest.mark.parametrize(
    ("text", "location", "more", "said"),
    [
        ("0 25 * * *", "UTC", (), "hour: '25' is not within 0-23"),
        ("0 2 * * *", "Europe/Berln", (), "there is no time zone 'Europe/Berln'"),
        ("0 2 * * *", "UTC", ("--at", "tomorrow"), "'tomorrow' is not a time"),
        ("0 2 * * *", "UTC", ("--at", "9999-12-31T00:00"), "is not a time"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, text: str, location: str, more: tuple[str, ...], said: str
) -> None:
    done = Person(tmp_path).run("schedule", "preview", written(tmp_path, text, location), *more)
    assert (done.status, said in done.err) == (2, True)


def test_a_file_without_one_and_one_that_never_opens(tmp_path: Path) -> None:
    """The first is an error, the second is told."""
    (tmp_path / "none.yaml").write_text("kind: ConfigMap\n")
    assert Person(tmp_path).run("schedule", "preview", str(tmp_path / "none.yaml")).status == 2
    done = Person(tmp_path).run(
        "schedule", "preview", written(tmp_path, "0 0 30 2 *", name="never")
    )
    assert (done.status, done.err) == (0, "never opens never again.\n")


def test_validate_and_explain_know_the_kind(tmp_path: Path) -> None:
    """A wrong expression is found at its line."""
    person = Person(tmp_path)
    done = person.run("validate", written(tmp_path, "0 25 * * *"))
    assert (done.status, "5:3: error: schedule: hour: '25'" in done.out) == (1, True)
    assert person.run("validate", written(tmp_path)).status == 0
    assert "forbids changes" in person.good("explain", "schedule.spec.deny")
