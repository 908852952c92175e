"""Charts that no release can hold are told at the scan, not by every cluster."""

from __future__ import annotations

import asyncio
import random

from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.ids import DEFAULT_WORKSPACE, BundleName
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.scan.draft import Draft
from fleetctl.sources.charts.complete import ChartSource, Login, complete_drafts

HERE = ChartSource({}, (), Login())
CHART = File(b"apiVersion: v2\nname: c\nversion: 0.1.0\n")
BIG = File(random.Random(1).randbytes(900_000))


def made(files: dict[str, File], chart: str = "") -> tuple[int, list[str]]:
    """(bundles, what is said of the others)."""
    spec = BundleSpec(
        workspace=DEFAULT_WORKSPACE,
        name=BundleName("web"),
        path="web",
        options=Options(helm=HelmOptions(chart=chart or None)),
    )
    built, problems = asyncio.run(complete_drafts([Draft(spec=spec, files=files)], HERE))
    return len(built), [problem.summary for problem in problems]


class TestCompleted:
    def test_a_chart_that_no_record_holds_is_a_problem_with_the_numbers(self) -> None:
        """Beside the bundle's directory."""
        count, said = made({"Chart.yaml": CHART, "files/big": BIG})
        assert count == 0
        assert said[0].startswith("web: 900038 bytes make a release record of about 12")

    def test_only_the_chart_that_is_installed_counts(self) -> None:
        """What lies beside it, or is raw YAML, does not."""
        assert made(
            {"Chart.yaml": CHART, "big": BIG, "small/Chart.yaml": CHART}, chart="small"
        ) == (1, [])
        assert made({"m.yaml": BIG}) == (1, [])
