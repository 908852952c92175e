"""`make sim`: play N agents against a manager and print a table.

python -m tests.sim [--count N] [--only WORD[,WORD…]] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.sim.scenarios import SCENARIOS, Row, enrol, prepare
from tests.sim.simulator import SimulatedFleet

_HEAD = (
    f"{'what':<36} {'rate/s':>8} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9} {'errors':>7}"
    f" {'CPU ms':>8} {'Go CPU':>8} {'ratio':>6} {'MiB':>6}"
)


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    names = [name for name in args.only.split(",") if name] or list(SCENARIOS)
    if unknown_names := set(names) - set(SCENARIOS):
        print(f"unknown: {', '.join(sorted(unknown_names))}; known: {', '.join(SCENARIOS)}")
        return 2
    folder = args.folder or Path(tempfile.mkdtemp(prefix="sim-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the processes end with this one
    try:
        _play(folder, args, names)
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _agent_count(text: str) -> int:
    """Raises ArgumentTypeError on anything but a number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of agents; write for example N=1000"
        )
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description="Play N agents against a manager."
    )
    parser.add_argument(
        "--count", type=_agent_count, default=1000, metavar="N", help="agents (%(default)s)"
    )
    parser.add_argument("--only", default="", metavar="WORDS", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="write the agents into the database; then nothing is measured about enrolment",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="keep the manager's data and the journal here"
    )
    return parser


def _play(folder: Path, args: argparse.Namespace, names: list[str]) -> None:
    fleet = SimulatedFleet(folder, args.count)
    try:
        fleet.start()
        print(f"{args.count} agents, manager started in {fleet.start_seconds:.2f} s")
        print(_HEAD)
        for scenario in [prepare if args.prepare else enrol, *(SCENARIOS[name] for name in names)]:
            for row in scenario(fleet):
                print(_line(row), flush=True)
        result = fleet.check()
        print(f"nothing lost, nothing backwards: {json.dumps(result)}")
    finally:
        fleet.stop()


def _line(row: Row) -> str:
    result = row.result
    errors = sum(result.get("errors", {}).values())
    numbers = "".join(f" {result.get(key, 0):>9.1f}" for key in ("p50", "p99", "max"))
    line = f"{row.name:<36} {result.get('rate', 0):>8.0f}{numbers} {errors:>7} {row.cpu:>8.3f}"
    ratio = f" {row.peer_cpu:>8.3f} {row.cpu / row.peer_cpu:>6.1f}" if row.peer_cpu else " " * 16
    line += f"{ratio} {row.resident_bytes / 2**20:>6.0f}"
    notes = [row.note] if row.note else []
    if errors:
        notes.append(json.dumps(result["errors"]))
    return "  ".join([line, *notes])


if __name__ == "__main__":
    sys.exit(main())
