import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.verify import _tell
from pushmirror.errors import Exit, Stopped
from pushmirror.system import clock
from pushmirror.verify.checkpoint import VerifyResult
from pushmirror.verify.run import VerifyRun

END = datetime(2026, 11, 23, 4, 10, tzinfo=UTC)
FOUND = VerifyResult("debian", "", END - timedelta(minutes=5), END, 265, 50_100_000)
UNHASHED = "checked by size and time only (no SHA256 known)"


@pytest.fixture
def told(monkeypatch, capsys):
    monkeypatch.setattr(clock, "now", lambda: END)

    def told(**facts):
        _tell(replace(FOUND, **facts), is_listed=False)
        return capsys.readouterr().out

    return told


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "debian: ok: 265 files (50.1 MB read) in 5 min"),
        (
            {"files": 1, "extra": 1},
            "1 file (50.1 MB read) in 5 min; 1 file that the indices do not know (extra)",
        ),
        ({"unhashed": 12}, f"265 files (50.1 MB read) in 5 min, 12 of them {UNHASHED}"),
        ({"unhashed": 265, "size": 0}, f"265 files (0.0 MB read) in 5 min, {UNHASHED}"),
        ({"resumed": True}, "265 files (50.1 MB read) started 04:05 UTC, interrupted and resumed"),
        (
            {"remembered": True, "repaired": 1},
            "debian: ok: only the problems that the verify of 04:10 UTC found were checked again, 1 repaired",
        ),
        ({"files": 0, "missing": 7}, "the tree is empty"),
        ({"files": 0, "missing": 7}, "hint: mount its disk"),
    ],
)
def test_the_result_says_what_was_looked_at_and_how(told, facts, line):
    assert line in told(**facts)


def test_a_tree_with_something_in_it_is_not_called_empty(told):
    assert "empty" not in told(missing=7) + told(files=0, missing=7, extra=1)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs `pushmirror verify WORDS` for the owner of a, a tree with nothing in it."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (tmp_path / "a").mkdir()
    state = f'[state]\ndirectory = "{tmp_path / "state"}"\n'
    (etc / "pushmirror.toml").write_text(f'[archives.a]\npath = "{tmp_path / "a"}"\n{state}')
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    return lambda *words: cli.main(["--config", str(etc), "verify", *words])


@pytest.mark.parametrize("words", [["--repair"], []])
def test_an_empty_tree_is_an_error_and_not_whole(call, capsys, words, tmp_path):
    if words:
        text = (tmp_path / "etc/pushmirror.toml").read_text()
        upstream = 'upstream = "rsync://hub.example.org/debian"\n'
        (tmp_path / "etc/pushmirror.toml").write_text(text.replace("[state]", f"{upstream}[state]"))
    assert call("a", *words) == Exit.CONFIG
    assert "is empty" in capsys.readouterr().err


def test_who_stops_it_is_told_that_it_can_go_on(call, capsys, monkeypatch):
    def stopped(*_, **__):
        raise Stopped(f"stopped by {signal.SIGINT.name}", exit_code=Exit.INTERRUPTED)

    monkeypatch.setattr(VerifyRun, "verify", stopped)
    assert call() == Exit.INTERRUPTED
    assert "stopped by SIGINT; `pushmirror verify a` resumes it" in capsys.readouterr().err


def test_a_rate_that_is_none_is_told_of(call, capsys):
    assert call("--max-rate", "50X") == Exit.USAGE
    assert 'found "50X"' in capsys.readouterr().err


@pytest.mark.parametrize(("words", "kind"), [([], list), (["a"], dict)])
def test_the_json_is_an_object_of_one_archive_and_an_array_of_all(call, capsys, monkeypatch, words, kind):
    monkeypatch.setattr(VerifyRun, "verify", lambda *_, **__: FOUND)
    assert call("--json", *words) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, kind)
    assert (told[0] if kind is list else told)["unhashed"] == 0
