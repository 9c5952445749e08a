from __future__ import annotations

import json

import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.errors import Exit
from pushmirror.state.records import Outcome, Stage


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\n[state]\ndirectory = "{tmp_path}/state"\n'
    )

    def call(*argv):
        code = cli.main(["--config", str(tmp_path), *argv])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def run(tmp_path, call):
    """Adds a run that failed."""

    def run(message="disk full", log="", **taken):
        session = Session(tmp_path)
        with session.store(session.config()) as store:
            begun = store.begin_run("debian", Stage.ALL, strategy="full", trigger="ssh", log=log)
            return store.end_run(begun.id, outcome=Outcome.FAILED, exit_code=4, message=message, **taken)

    return run


def test_runs_are_listed_newest_first(call, run):
    run("first"), run("second")
    _, out, _ = call("history")
    assert out.index("second") < out.index("first")


def test_a_run_is_one_line_and_its_message_another(call, run):
    run(" ".join(["rsync: no space left on device"] * 20))
    header, line, message = call("history")[1].splitlines()
    assert header.split("  ")[0] == "run" and line.endswith(" failed (4)")
    assert message == "      " + " ".join(["rsync: no space left on device"] * 20) + "; by full"


def test_a_run_says_how_it_learnt_what_had_changed(call, run):
    run(strategy="manifest", why="3 steps")
    assert call("history")[1].endswith("      disk full; by manifest: 3 steps\n")
    (one,) = json.loads(call("history", "--json")[1])
    assert (one["strategy"], one["why"]) == ("manifest", "3 steps")


def test_a_list_without_runs_is_its_header(call):
    assert call("history")[1] == "run  archive  stage  trigger  started (UTC)  took  outcome (code)\n"


def test_runs_can_be_read_by_programs(call, run):
    run()
    _, out, _ = call("history", "debian", "--json")
    assert [(one["outcome"], one["exit_code"]) for one in json.loads(out)] == [("failed", 4)]


def test_an_unknown_archive_is_named_with_the_near_one(call):
    code, _, err = call("history", "debain")
    assert code == Exit.USAGE and "did you mean debian?" in err


def test_words_from_the_network_cannot_control_the_terminal(call, run):
    run("\x1b]0;owned\x07[red]not a colour[/red]")
    _, out, _ = call("history")
    assert "\x1b" not in out and "[red]not a colour[/red]" in out


def test_the_log_of_the_last_run_is_printed(call, run, tmp_path):
    (tmp_path / "1.log").write_text("first line\nsecond \x1b[2J\n")
    run(log=str(tmp_path / "1.log"))
    assert call("log", "last")[:2] == (0, "first line\nsecond �[2J\n")


@pytest.mark.parametrize(
    ("which", "said"),
    [("last", "no runs yet"), ("7", "there is no run 7"), ("x", "'x' is not a run; expected a number")],
)
def test_a_run_that_is_not_there_is_named(call, which, said):
    code, _, err = call("log", which)
    assert code in {Exit.FAILED, Exit.USAGE} and said in err


def test_a_log_that_was_removed_is_named(call, run, tmp_path):
    run(log=str(tmp_path / "gone.log"))
    assert "gone.log: No such file or directory" in call("log", "1")[2]


LOG = """\
2026-08-01 12:00:00,001 INFO pinned
2026-08-01 12:00:00,002 DEBUG rsync --list-only
 two lines
2026-08-01 12:00:00,003 ERROR it failed
Traceback
"""


def test_a_log_is_printed_without_what_is_for_debugging(call, run, tmp_path):
    (tmp_path / "log").write_text(LOG)
    run(log=str(tmp_path / "log"))
    lines = LOG.splitlines(keepends=True)
    assert call("log", "last")[1] == "".join([lines[0], *lines[3:]])
    assert call("log", "last", "--debug")[1] == LOG
