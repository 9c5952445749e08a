from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.state.records import SiteState, Stage

SENT = SiteState(
    "debian", "a", sent_stage=Stage.STAGE1, sent_generation="f" * 64, sent_at=datetime(2026, 1, 2, tzinfo=UTC)
)


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """Runs `site log` for a site that was sent stage 1 and said what is given."""
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    (tmp_path / "sites.d").mkdir()
    (tmp_path / "sites.d" / "a.toml").write_text('host = "h"\nuser = "u"\narchives = ["debian"]\n')
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\n[state]\ndirectory = "{tmp_path}/state"\n'
    )

    def call(*argv, said="first\nlast \x1b[2J line\n", code=3):
        session = Session(tmp_path)
        with session.store(session.config()) as store:
            (trigger,) = store.add_triggers([SENT])
            store.record_answer(trigger, lambda one: one, exit_code=code, output=said)
        code = cli.main(["--config", str(tmp_path), "site", "log", "a", *argv])
        return code, capsys.readouterr().out

    return call


def test_a_trigger_is_one_line_and_the_last_that_was_said_another(call):
    _, line, said = call()[1].splitlines()
    assert line.split()[:5] == ["2026-01-02", "00:00:00", "debian", "stage1", "f" * 12]
    assert line.split()[-1] == "3" and said.split() == ["last", "�[2J", "line"]


def test_all_that_was_said_is_there_to_be_read(call):
    out = call("--output")[1]
    assert "first\nlast �[2J line" in out


def test_no_answer_is_not_an_exit_code(call):
    assert call(code=None)[1].splitlines()[1].split()[-1] == "none"


def test_programs_get_everything(call):
    assert json.loads(call("--json")[1])[0]["output"] == "first\nlast \x1b[2J line\n"
