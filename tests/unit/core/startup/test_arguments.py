"""Command lines of fleet-manager and fleet-agent: each error has the form of fleetctl's."""

from __future__ import annotations

import pytest

from agent.command_line import build_parser as agent_parser
from fleetctl.core.model.errors import UsageError
from manager.config import parser as manager_parser

PROGRAMS = {"fleet-agent": agent_parser, "fleet-manager": manager_parser}


@pytest.mark.parametrize(
    ("line", "summary", "step"),
    [
        (
            "fleet-manager srve --data-dir d",
            "there is no command 'srve'",
            "Did you mean serve? See `fleet-manager --help`.",
        ),
        (
            "fleet-manager epoch rise --data-dir d",
            "there is no command 'rise'",
            "Did you mean raise? See `fleet-manager epoch --help`.",
        ),
        (
            "fleet-manager serve --data-dri d",
            "there is no option --data-dri",
            "Did you mean --data-dir? See `fleet-manager serve --help`.",
        ),
        (
            "fleet-manager serve --data-dir=d --pol-seconds 3",
            "there is no option --pol-seconds",
            "Did you mean --poll-seconds? See",
        ),
        (
            "fleet-manager serve --data-dir d --verbose",
            "there is no option --verbose",
            "See `fleet-manager serve --help`.",
        ),
        (
            "fleet-manager serve --data-dir d -x",
            "there is no option -x",
            "See `fleet-manager serve --help`.",
        ),
        ("fleet-manager serve", "missing: --data-dir", "See `fleet-manager serve --help`."),
        (
            "fleet-manager serve --data-dir",
            "--data-dir: a value is missing",
            "See `fleet-manager serve --help`.",
        ),
        (
            "fleet-manager serve --data-dir d --poll-seconds x",
            "--poll-seconds: 'x' is not a whole number",
            "See",
        ),
        (
            "fleet-manager serve --data-dir d --log jsn",
            "--log: 'jsn' is not a valid value",
            "Did you mean json? Valid values: text, json.",
        ),
        (
            "fleet-manager serve d --data-dir d",
            "unrecognized arguments: d",
            "See `fleet-manager --help`.",
        ),
        (
            "fleet-manager serve --data-dir d --removals 3",
            "ambiguous option: --removals could match",
            "See `fleet-manager serve --help`.",
        ),
        (
            "fleet-manager",
            "no command is given",
            "Commands: serve, epoch, admin-token, single. See `fleet-manager --help`.",
        ),
        (
            "fleet-agent",
            "no command is given",
            "Commands: enrol, run, status, check, version. See `fleet-agent --help`.",
        ),
        ("fleet-agent chekc", "there is no command 'chekc'", "Did you mean check?"),
        (
            "fleet-agent run --kubeconfg f",
            "there is no option --kubeconfg",
            "Did you mean --kubeconfig?",
        ),
        (
            "fleet-agent status --state-dir d -o jsno",
            "-o/--output: 'jsno' is not a valid value",
            "Did you mean json?",
        ),
        ("fleet-agent enrol --state-dir d", "missing: url", "See `fleet-agent enrol --help`."),
    ],
)
def test_a_wrong_word_has_a_sentence_and_a_next_step(line: str, summary: str, step: str) -> None:
    program, *words = line.split()
    with pytest.raises(UsageError) as caught:
        PROGRAMS[program]().parse(words)
    assert caught.value.summary.startswith(summary)
    assert caught.value.next_step.startswith(step)
    assert caught.value.subject.startswith(program)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "line",
    [
        "fleet-manager serve --data-dir serve --log json",
        "fleet-manager serve --data d --poll=3",
        "fleet-manager epoch raise --data-dir d --revoke-tokens",
        "fleet-agent enrol https://m:1 --state-dir run --token-stdin",
        "fleet-agent selftest --state-dir d",
        "fleet-agent run --state-dir d --release-key a --release-key b",
    ],
)
def test_right_words_pass(line: str) -> None:
    program, *words = line.split()
    assert PROGRAMS[program]().parse(words).command == words[0]
