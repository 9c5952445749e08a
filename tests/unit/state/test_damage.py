"""A state database that a disk has damaged: what is asked of it ends well, or with one error that helps."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random

import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.cli.history import _row
from pushmirror.errors import Exit, StateDamaged, StateError
from pushmirror.health import health_of
from pushmirror.progress import Silent
from pushmirror.push.engine import SilentObserver
from pushmirror.push.pushes import PushCoordinator
from pushmirror.push.site_state import reset
from pushmirror.runner import Runner
from pushmirror.state import database
from pushmirror.state.records import Outcome, SiteState, Stage
from pushmirror.state.schema import metadata
from pushmirror.state.store import open_store

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
TRIES = 200
CONNECT = database.connect


def opened(directory: Path):
    return open_store(f"sqlite:///{directory}/state.sqlite", directory, now=lambda: NOW)


def live(store, *, since: int, until: int) -> None:
    """What a hub does in its days, by the store's methods."""
    for number in range(since, until):
        digest, at = f"{number:064x}", NOW - timedelta(hours=until - number)
        request = store.add_request("debian", Stage.ALL, trigger="ssh", client="::1", words="sync:all")
        run = store.begin_run(
            "debian", Stage.ALL, strategy="full", trigger="ssh", log="/log", request_ids=[request.id]
        )
        store.prepare("debian", digest)
        store.publish_generation("debian", digest, run.id, at, was_prepared=True)
        ended = {"outcome": Outcome.SUCCEEDED, "exit_code": 0, "stats": {"files": number, "share": 0.5}}
        store.end_run(run.id, **ended, generation=digest, strategy="manifest", why="3 steps")
        sent = {"sent_stage": Stage.ALL, "sent_generation": digest, "sent_at": at}
        for trigger in store.add_triggers(
            SiteState("debian", f"site{one}.example", **sent) for one in range(3)
        ):
            done = {"stage2": digest, "stage2_at": at, "sent_stage": None, "next_try_at": at}
            store.record_answer(
                trigger, lambda now, done=done: replace(now, **done), exit_code=0, output="done"
            )
    store.add_request("debian", Stage.STAGE1, mhop=True, trigger="ssh", generation="a" * 64)
    store.prepare("debian", "b" * 64)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A state as a kill leaves it: some of it in the database, some in its write-ahead log."""
    work, kept = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("kept")
    with closing(opened(work)) as store:
        live(store, since=0, until=10)
    with closing(opened(work)) as store:
        live(store, since=10, until=16)
        for file in work.glob("state.sqlite*"):
            shutil.copy(file, kept)
    assert (kept / "state.sqlite-wal").stat().st_size > 10_000 < (kept / "state.sqlite").stat().st_size
    return kept


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The configuration of that hub."""
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    monkeypatch.setattr(database, "connect", careless)
    (tmp_path / "tree").mkdir()
    (tmp_path / "sites.d").mkdir()
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\nupstream = "rsync://us@hub.example.org/debian"\n'
        f'[push]\nkey = "{tmp_path}/key"\n[state]\ndirectory = "{tmp_path}/state"\n'
    )
    for one in range(3):
        text = f'host = "site{one}.example"\nuser = "mirror"\narchives = ["debian"]\n'
        (tmp_path / "sites.d" / f"site{one}.example.toml").write_text(text)
    (tmp_path / "state").mkdir()
    return Session(tmp_path).config()


def flip(file: Path, random: Random) -> None:
    """Change some bits next to each other, as a disk does that forgets; not where nothing is."""
    data = bytearray(file.read_bytes())
    at = next(place for place in iter(lambda: random.randrange(len(data)), None) if data[place])
    for _ in range(random.choice([1, 8, 64])):
        data[min(len(data) - 1, at + random.randrange(100))] ^= 1 << random.randrange(8)
    file.write_bytes(data)


def careless(file: Path) -> sqlite3.Connection:
    """As a store opens it, but for the power that may go: two hundred of them wait for no disk."""
    connection = CONNECT(file)
    try:
        connection.execute("PRAGMA synchronous = OFF")
    except Exception:
        connection.close()
        raise
    return connection


def use(config) -> None:
    """What status, history, log, push, receive and sync ask of a store, and tell it."""
    with closing(open_store(config.state.database_url, config.state.directory)) as store:
        list(health_of(config, store, ["debian"]))
        for run in store.runs(limit=1000):
            _row(run)
        store.triggers(site="site1.example", limit=1000)
        PushCoordinator(lambda: config, store, SilentObserver()).view("debian", frozenset(), reset)
        Runner(config, store, Silent()).is_current("debian")
        store.recover("debian")
        live(store, since=16, until=17)
        store.change_site_states("debian", reset)
        store.prune("debian", 5)
        store.prune_triggers("debian", 20, keep_output=5)


def used_after(damage, kept: Path, config) -> str:
    """How each verb's calls end after this was done to a copy: well, damaged, or in another error of ours."""
    file = config.state.directory / "state.sqlite"
    Path(f"{file}-shm").unlink(missing_ok=True)
    for suffix in ("", "-wal"):
        shutil.copyfile(kept / f"state.sqlite{suffix}", f"{file}{suffix}")
    damage(file)
    try:
        use(config)
    except StateDamaged as exc:
        is_clear = str(file) in str(exc) and str(exc).isprintable() and "state restore" in (exc.hint or "")
        return "damaged" if is_clear else f"not clear: {exc}"
    except StateError as exc:
        return f"{exc}"
    return "well"


def test_bytes_that_flip_at_any_place_end_in_one_clear_error_or_in_none(kept, mirror):
    random, ends = Random(12), []  # noqa: S311  the same bytes each time
    for number in range(TRIES):
        suffix = "-wal" if number % 4 == 0 else ""
        ends.append(
            used_after(lambda file, suffix=suffix: flip(Path(f"{file}{suffix}"), random), kept, mirror)
        )
    assert set(ends) <= {"well", "damaged"}
    assert min(ends.count("well"), ends.count("damaged")) >= TRIES / 10


def all_columns() -> list[tuple[str, str]]:
    columns = [column for table in metadata.sorted_tables for column in table.c]
    return [(column.table.name, column.name) for column in columns if column.name != "id"]  # SQLite's own


#: What may become of a value: no text, no UTF-8, a text, a number that nothing has room for.
VALUES = ("x'00ff'", "CAST(x'ff' AS TEXT)", "'none'", "9e99")


def test_a_value_of_another_type_in_any_column_ends_in_one_clear_error_or_in_none(kept, mirror):
    for (table, column), value in zip(all_columns(), cycle(VALUES), strict=False):
        said = f"UPDATE OR IGNORE {table} SET {column} = {value}"  # noqa: S608  names of our own schema
        assert used_after(changing(said), kept, mirror) in {"well", "damaged"}, said


@pytest.mark.parametrize(
    "said",
    [
        "DROP TABLE alembic_version",
        "DELETE FROM alembic_version",
        "UPDATE alembic_version SET version_num = '0\x7f03'",
        "UPDATE alembic_version SET version_num = '0001'",
        "INSERT INTO alembic_version VALUES ('0001')",
        "UPDATE alembic_version SET version_num = x'ff'",
        *(f"DROP TABLE {table}" for table in sorted(metadata.tables)),
        "ALTER TABLE runs RENAME COLUMN stage TO stagf",
    ],
)
def test_a_schema_that_is_not_ours_any_more_is_damage(kept, mirror, said):
    is_migrated = said.endswith("VALUES ('0001')")  # what a program sees of it depends on the order of rows
    assert used_after(changing(said), kept, mirror) in {"damaged", *(["well"] if is_migrated else [])}


def changing(said: str):
    def change(file: Path) -> None:
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA foreign_keys = OFF")
            db.execute(said)
            db.commit()

    return change


@pytest.mark.parametrize("size", [1, 99, 512, 5000, 40_000])
def test_a_file_that_was_cut_short_is_damage(kept, mirror, size):
    def cut(file: Path) -> None:
        Path(f"{file}-wal").unlink()
        os.truncate(file, size)

    assert used_after(cut, kept, mirror) == "damaged"


@pytest.mark.parametrize(
    "argv",
    [
        ["status", "--json"],
        ["history"],
        ["log", "last"],
        ["sync"],
        ["push"],
        ["receive", "sync:all"],
        ["verify"],
        ["site", "log", "site1.example"],
        ["state", "check"],
        ["state", "backup"],
    ],
    ids=" ".join,
)
def test_every_verb_that_needs_a_damaged_state_says_so_and_ends_with_72(mirror, argv, capsys):
    file = mirror.state.directory / "state.sqlite"
    file.write_bytes(b"x" * 8192)
    (mirror.archives["debian"].path / "pool").mkdir()
    assert cli.main(["--config", str(mirror.source), *argv]) == Exit.DAMAGED
    out, err = capsys.readouterr()
    assert "file is not a database" in out + err and "Traceback" not in err
    assert "pushmirror state restore" in err or argv == ["state", "check"]
    assert file.read_bytes() == b"x" * 8192, "nothing is lost"


def test_a_state_that_the_disk_cannot_read_is_an_error_that_is_told(tmp_path, monkeypatch):
    opened(tmp_path).close()

    def broken(*_, **__):
        raise OSError(5, "Input/output error", str(tmp_path / "state.sqlite"))

    monkeypatch.setattr("pushmirror.state.store.incomplete", broken)
    with pytest.raises(StateError, match=r"state\.sqlite cannot be read or written: Input/output error"):
        opened(tmp_path)
