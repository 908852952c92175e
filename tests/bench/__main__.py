"""One line a figure: name, ours, peer, ratio, goal, met or not; the same as a list in
`.bench/results.json`.

A goal is the largest ratio of ours to the peer's; where there is no peer to run, the peer is the
goal itself and the ratio must be 1. What has neither is only printed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench import agent_writes, edge, figures, rollouts, scans
from tests.bench.figures import Figure

RESULTS = Path(".bench/results.json")
BENCHES: dict[str, Callable[[Path], Iterable[Figure]]] = {
    "deploy": figures.fifty_bundles,
    "idle": figures.idle_agent,
    "edge": edge.idle_line,
    "manager": figures.fifty_by_fifty,
    "load": rollouts.beside_reports,
    "admit": rollouts.fifty_by_ten_thousand,
    "million": rollouts.one_by_a_million,
    "reports": agent_writes.reports,
    "enrol": agent_writes.enrolments,
    "cli": figures.help_pages,
    "scan": scans.large_repository,
    "scan-child": scans.child_process,
    "render": scans.thousand_clusters,
}


def main() -> int:
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    found: list[Figure] = []
    print(f"{'what':<52} {'ours':>10} {'peer':>10} {'ratio':>7} {'goal':>6}")
    for name, bench in BENCHES.items():
        if only and only not in name:
            continue
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            for figure in bench(folder):
                found.append(figure)
                print(_line(figure), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([f.as_dict() for f in found], indent=2) + "\n")
    return 0


def _line(f: Figure) -> str:
    if not f.peer:
        return f"{f.name:<52} {f.ours:>10.3f}"
    word = "met" if f.met else "MISSED"
    return f"{f.name:<52} {f.ours:>10.3f} {f.peer:>10.3f} {f.ratio:>7.2f} {f.goal:>6.2f} {word}"


if __name__ == "__main__":
    sys.exit(main())
