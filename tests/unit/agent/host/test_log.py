"""Lines of the agent's log, and which complaints are worth one."""

from __future__ import annotations

import json

import pytest

from agent.host import log
from agent.host.log import line
from agent.host.log_dedup import CROWD, Repeats, span

HELM = "helm did not end within 90 s"


def said_at(
    repeats: Repeats, times: list[float], subject: str = "bundle web", text: str = HELM
) -> dict[float, str]:
    """Time → what was added, of those that were said."""
    found = {at: repeats.admit(subject, text, at) for at in times}
    return {at: added for at, added in found.items() if added is not None}


class TestRepeats:
    def test_a_failure_that_stays_is_said_at_growing_intervals(self) -> None:
        """Every 10 s for two hours: at once, then after 1, 3, 7, 15, 31, 63 minutes, then every
        hour, with a count.
        """
        said = said_at(Repeats(), [float(t) for t in range(0, 7200, 10)])
        assert list(said) == [0, 60, 180, 420, 900, 1860, 3780]
        assert said[60] == " (7 times in 60 s)"
        assert said[3780] == " (379 times in 63 min)"

    def test_figures_make_no_other_trouble(self) -> None:
        """Ports, ages and addresses differ from one try to the next."""
        repeats = Repeats()
        assert repeats.admit("manager", "connection to 10.0.0.1:31311 refused", 0) == ""
        assert repeats.admit("manager", "connection to 10.0.0.2:40404 refused", 5) is None

    def test_the_same_words_in_another_order_are_no_other_trouble(self) -> None:
        """The API server lists its errors as a hash map gives them."""
        repeats = Repeats()
        assert (
            repeats.admit("bundle web", "errors: .data.b: wrong .metadata.b: not declared", 0) == ""
        )
        assert (
            repeats.admit("bundle web", "errors: .metadata.b: not declared .data.b: wrong", 5)
            is None
        )

    def test_another_trouble_of_the_same_subject_is_said_at_once(self) -> None:
        """And going back to the first is no news."""
        repeats = Repeats()
        assert [
            repeats.admit("bundle web", text, at) for at, text in enumerate(["a", "b", "a", "b"])
        ] == ["", "", None, None]

    def test_the_end_is_said_once_with_the_count(self) -> None:
        """Then the same trouble is news again."""
        repeats = Repeats()
        said_at(repeats, [0, 5, 15, 35])
        assert repeats.over("bundle web", 50) == "after 4 failures in 50 s"
        assert repeats.over("bundle web", 51) is None
        assert repeats.admit("bundle web", HELM, 52) == ""

    def test_the_end_of_nothing_is_not_said(self) -> None:
        """Success is the rule."""
        assert Repeats().over("bundle web", 1) is None

    def test_what_did_not_come_for_half_an_hour_is_news(self) -> None:
        """It is another trouble that has the same words."""
        assert said_at(Repeats(), [0, 10, 4000]) == {0: "", 4000: ""}

    def test_many_with_one_trouble_are_counted(self) -> None:
        """200 bundles whose API server is away: three lines, and one for the rest."""
        repeats = Repeats()
        said = [
            n
            for n in range(200)
            if repeats.admit(f"bundle b{n}", "the API server does not answer", n / 100) is not None
        ]
        assert said == list(range(CROWD))
        assert repeats.gather(3) == []
        ((level, subjects, text),) = repeats.gather(6)
        assert level == "warning"
        assert subjects.startswith("197 more (bundle b3, bundle b4, ")
        assert text == "the API server does not answer"
        assert repeats.gather(7) == []
        assert repeats.over("bundle b150", 8) is None

    def test_what_is_kept_is_bounded(self) -> None:
        """An endless row of names costs no endless memory."""
        repeats = Repeats()
        for n in range(5000):
            repeats.admit(f"bundle b{n}", f"trouble of {'x' * (n % 7)}", float(n))
        assert len(repeats._repetitions) <= 602

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")],
    )
    def test_spans(self, seconds: float, shown: str) -> None:
        """Whole units, the largest that is at least two."""
        assert span(seconds) == shown


class TestLine:
    def test_text_has_the_time_and_the_subject_first(self) -> None:
        """As a person reads it."""
        made = line(
            "text",
            "info",
            ("bundle web", "deployed"),
            {"bundle": "web", "generation": 3, "release": "web/web"},
            0,
        )
        assert made == "1970-01-01T00:00:00Z bundle web: deployed (generation 3, release web/web)"

    def test_journald_gets_the_level_and_no_time(self) -> None:
        """`<4>` is a warning: journald takes it off and adds its own time."""
        assert (
            line("journal", "warning", ("bundle web", "helm: no"), {}, 0)
            == "<4>warning: bundle web: helm: no"
        )

    def test_json_is_one_object(self) -> None:
        """With the fields apart, and the same words."""
        made = json.loads(
            line(
                "json",
                "info",
                ("bundle web", "deployed"),
                {"bundle": "web", "generation": 3, "repo": ""},
                0,
            )
        )
        assert made == {
            "time": "1970-01-01T00:00:00Z",
            "level": "info",
            "event": "deployed",
            "subject": "bundle web",
            "bundle": "web",
            "generation": 3,
        }

    @pytest.mark.parametrize("style", ["text", "json", "journal"])
    def test_nobody_can_write_a_second_line_or_paint_the_terminal(self, style: str) -> None:
        """Newlines, escapes and bidirectional marks of others become spaces; passwords are cut."""
        evil = "a\n<3>error: bundle x: lost\x1b[31m\u202e https://joe:hunter2@h/ \r\x07"
        made = line(style, "warning", ("bundle \nweb", evil), {"why": evil, "n": 1}, 0)
        assert made.isprintable()
        assert "hunter2" not in made

    def test_a_line_has_an_end(self) -> None:
        """Whatever a tool printed."""
        assert len(line("text", "info", ("", "x" * 100_000), {"why": "y" * 100_000}, 0)) < 2100


class TestBug:
    """A defect of the agent is logged with a traceback that can be pasted into a report."""

    @pytest.fixture(autouse=True)
    def _new_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log, "_repeats", Repeats())
        monkeypatch.setattr(log, "_style", "text")

    @staticmethod
    def broken(text: str) -> RuntimeError:
        def fail() -> None:
            raise RuntimeError(text)

        with pytest.raises(RuntimeError) as error:
            fail()
        return error.value

    def test_the_traceback_comes_before_the_line_that_asks_for_it(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.bug("Poller.poll", self.broken("no such thing"))
        first, *_, last = capsys.readouterr().err.splitlines()
        assert first == "Traceback (most recent call last):"
        assert last.endswith(
            "error: Poller.poll: internal error; please report the traceback above:"
            " RuntimeError: no such thing"
        )

    def test_a_repetition_is_not_written_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        log.bug("Poller.poll", self.broken("no such thing"))
        capsys.readouterr()
        log.bug("Poller.poll", self.broken("no such thing"))
        assert capsys.readouterr().err == ""

    def test_passwords_and_control_characters_are_cut(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.bug("poll", self.broken("https://user:secret-word@host/\x1b[2J"))
        text = capsys.readouterr().err
        assert "secret-word" not in text
        assert "\x1b" not in text

    def test_in_json_it_is_one_object(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log, "_style", "json")
        log.bug("poll", self.broken("no such thing"))
        entry = json.loads(capsys.readouterr().err)
        assert entry["level"] == "error"
        assert entry["traceback"].startswith("Traceback (most recent call last):\n")

    def test_under_journald_every_line_has_the_level(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log, "_style", "journal")
        log.bug("poll", self.broken("no such thing"))
        assert all(row.startswith("<3>") for row in capsys.readouterr().err.splitlines())
