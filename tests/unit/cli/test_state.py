from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pushmirror.checks import machine
from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.errors import Exit
from pushmirror.state.backups import list_backups
from pushmirror.state.records import Stage
from pushmirror.status.words import Level
from pushmirror.system import clock


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """A configuration, and a state that knows of one published generation."""
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\nupstream = "rsync://us@hub.example.org/debian"\n'
        f'[state]\ndirectory = "{tmp_path}/state"\n'
    )
    with stored(tmp_path) as store:
        store.publish_generation("debian", "1" * 64, None, datetime(2026, 8, 1, tzinfo=UTC))
    return tmp_path


def stored(mirror: Path):
    return Session(mirror).store(Session(mirror).config())


def state(mirror: Path, *argv: str) -> int:
    return cli.main(["--config", str(mirror), "state", *argv])


def test_what_was_damaged_is_restored_and_asked_for_anew(mirror, capsys):
    assert state(mirror, "backup") == Exit.OK
    (mirror / "state" / "state.sqlite").write_bytes(b"x" * 8192)
    assert state(mirror, "check") == Exit.DAMAGED
    assert state(mirror, "restore") == Exit.OK
    said = capsys.readouterr().out
    assert (
        "file is not a database" in said
        and "old file kept as: " in said
        and "next: run `pushmirror sync`" in said
    )
    assert "nothing after 20" in said
    with stored(mirror) as store:
        assert [(one.stage, one.trigger) for one in store.pending("debian")] == [(Stage.ALL, "restore")]
    assert state(mirror, "check") == Exit.OK


def test_a_good_state_is_only_replaced_by_force_or_by_a_file_that_is_named(mirror, capsys):
    state(mirror, "backup", "--json")
    made = Path(json.loads(capsys.readouterr().out)["file"])
    assert state(mirror, "restore") == Exit.USAGE
    assert "is good: nothing needs to be restored" in capsys.readouterr().err
    assert state(mirror, "restore", made.name, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["source"] == str(made)
    assert state(mirror, "restore", "--force", "--empty") == Exit.OK


def test_a_state_of_ftpsyncs_files_is_named_by_its_directory(mirror):
    (mirror / "pushmirror.toml").unlink()
    assert state(mirror, "backup", "--directory", str(mirror / "state")) == Exit.OK
    (mirror / "state" / "state.sqlite").unlink()
    assert state(mirror, "restore", "--directory", str(mirror / "state")) == Exit.OK
    assert state(mirror, "check", "--directory", str(mirror / "state")) == Exit.OK


def test_a_damaged_backup_beside_a_good_state_is_a_failure_of_its_own(mirror, capsys):
    state(mirror, "backup")
    (backup,) = (mirror / "state" / "backups").glob("state-*.sqlite")
    backup.write_bytes(b"")
    assert state(mirror, "check", "--json") == Exit.FAILED
    found = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert [(one["kind"], bool(one["problem"])) for one in found] == [("state", False), ("backup", True)]


def test_another_database_is_left_to_its_own_tools(mirror, capsys):
    with (mirror / "pushmirror.toml").open("a") as file:
        file.write('database = "postgresql+psycopg://user@host/name"\n')
    assert state(mirror, "backup") == Exit.USAGE
    assert "pg_dump" in capsys.readouterr().err


def test_a_push_that_comes_in_leaves_a_backup_of_the_day(mirror):
    (mirror / "tree").mkdir()
    cli.main(["--config", str(mirror), "receive", "sync:generation:x"])
    assert (mirror / "state" / "backups" / f"state-{clock.now():%Y%m%d}.sqlite").exists()


@pytest.mark.parametrize(("age_d", "level"), [(0, Level.OK), (3, Level.WARNING)])
def test_check_tells_how_old_the_newest_backup_is(mirror, age_d, level):
    state(mirror, "backup")
    later = clock.now() + timedelta(days=age_d)
    found = machine.database(mirror / "state" / "state.sqlite", list_backups(mirror / "state", later), later)
    assert found.level is level and "backup" in found.found
