from __future__ import annotations

import io
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib import import_module

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from pushmirror.errors import StateDamaged, StateError
from pushmirror.state import database, schema
from pushmirror.state.database import REVISIONS, SqliteDatabase, advice
from pushmirror.state.postgres import PostgresDatabase
from pushmirror.state.records import Stage
from pushmirror.state.store import open_store
from pushmirror.system import process

OPEN = """
import sys
from pathlib import Path
from pushmirror.state.store import open_store
open_store(f"sqlite:///{sys.argv[1]}/state.sqlite", Path(sys.argv[1])).pending("debian")
print(*{"alembic", "mako", "sqlalchemy"} & sys.modules.keys())
"""


RUN = """
INSERT INTO runs (archive, stage, strategy, trigger_name, started_at, outcome, message, stats, log)
VALUES ('debian', 'all', 'full', 'ssh', '2026-08-01T12:00:00.000000+00:00', 'succeeded', '', '{}', '')
"""


def opened(directory):
    return open_store(f"sqlite:///{directory}/state.sqlite", directory)


def migrated(directory, monkeypatch, revisions=REVISIONS):
    """The store of a database whose tables were all made by migrations."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "REVISIONS", revisions)
        patch.setattr(SqliteDatabase, "create", SqliteDatabase.upgrade)
        return opened(directory)


@contextmanager
def old(directory, monkeypatch):
    """The store of the first program, which knew no sites."""
    store = migrated(directory, monkeypatch, ("0001",))
    with closing(store):
        yield store


def killed(*_args, **_kwargs):
    raise KeyboardInterrupt


def killed_after(statements, count):
    yield from list(statements)[:count]
    raise KeyboardInterrupt


def test_the_known_revisions_are_those_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", "pushmirror:state/migrations")
    script = ScriptDirectory.from_config(config)
    assert tuple(revision.revision for revision in script.walk_revisions())[::-1] == REVISIONS


def test_a_migrated_database_has_the_tables_of_the_schema(tmp_path, monkeypatch):
    migrated(tmp_path, monkeypatch).close()
    with create_engine(f"sqlite:///{tmp_path}/state.sqlite").connect() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_comparison_with_the_schema_is_not_blind(tmp_path, monkeypatch):
    monkeypatch.setattr("alembic.operations.Operations.create_index", lambda *_args: None)
    migrated(tmp_path, monkeypatch).close()
    with create_engine(f"sqlite:///{tmp_path}/state.sqlite").connect() as db:
        assert len(compare_metadata(MigrationContext.configure(db), schema.metadata)) == 7


def schema_of(directory):
    """Tables with their columns (but for defaults, which no statement of ours relies on) and indices."""
    with closing(sqlite3.connect(directory / "state.sqlite")) as db:
        names = db.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
        columns = {
            (name, *column[1:4], column[5])
            for kind, name in names
            for column in db.execute(f"PRAGMA table_{'info' if kind == 'table' else 'xinfo'}({name})")
        }
        keys = {
            (name, *key[2:5]) for _, name in names for key in db.execute(f"PRAGMA foreign_key_list({name})")
        }
        indices = {
            (name, *row[2:])
            for kind, name in names
            if kind == "index"
            for row in db.execute(f"PRAGMA index_info({name})")
        }
        counts = db.execute("SELECT count(*) FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'").fetchall()
        return (
            {*names},
            columns,
            keys,
            indices,
            counts,
            db.execute("SELECT * FROM alembic_version").fetchall(),
        )


def test_a_new_database_is_as_one_that_was_migrated(tmp_path, monkeypatch):
    for name in ("new", "migrated"):
        (tmp_path / name).mkdir()
    opened(tmp_path / "new").close()
    migrated(tmp_path / "migrated", monkeypatch).close()
    assert schema_of(tmp_path / "new") == schema_of(tmp_path / "migrated")


def test_a_new_database_has_the_tables_of_the_schema(tmp_path):
    opened(tmp_path).close()
    with create_engine(f"sqlite:///{tmp_path}/state.sqlite").begin() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    with create_engine(f"sqlite:///{tmp_path}/model.sqlite").begin() as db:
        schema.create(db, REVISIONS[-1])
    (tmp_path / "model").mkdir()
    (tmp_path / "model.sqlite").rename(tmp_path / "model" / "state.sqlite")
    assert schema_of(tmp_path) == schema_of(tmp_path / "model")


def test_a_new_database_needs_no_sqlalchemy(tmp_path):
    result = process.run([sys.executable, "-c", OPEN, str(tmp_path)]).check()
    assert result.output == b"\n"


def test_opening_a_current_database_imports_neither_alembic_nor_sqlalchemy(tmp_path):
    opened(tmp_path).close()
    result = process.run([sys.executable, "-c", OPEN, str(tmp_path)]).check()
    assert result.output == b"\n"


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.create_index", killed)
        with pytest.raises(KeyboardInterrupt):
            migrated(tmp_path, monkeypatch)
    with sqlite3.connect(tmp_path / "state.sqlite") as left:
        assert left.execute("SELECT name FROM sqlite_master").fetchall() == []
    left.close()
    opened(tmp_path).close()


def test_a_creation_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    statements = database._schema()
    with monkeypatch.context() as patch:
        patch.setattr(database, "_schema", lambda: killed_after(statements, 3))
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path)
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as left:
        assert left.execute("SELECT name FROM sqlite_master").fetchall() == []
    opened(tmp_path).close()


def test_a_database_of_the_first_program_is_migrated_and_keeps_its_data(tmp_path, monkeypatch):
    with old(tmp_path, monkeypatch) as store:
        request = store.add_request("debian", Stage.ALL, trigger="ssh")
        with store._database.writing() as db:  # as that program did
            db.execute(RUN)
        with pytest.raises(StateError, match="no such table: triggers"):
            store.triggers()
    with closing(opened(tmp_path)) as store:
        assert store.pending("debian") == [request]
        assert store.run(1).strategy_text == "by full"
        assert (store.triggers(), store.site_states("debian"), store.preparation("debian")) == ([], {}, None)


def test_an_old_database_whose_migration_fails_is_left_as_it_was(tmp_path, monkeypatch):
    with old(tmp_path, monkeypatch) as store:
        request = store.add_request("debian", Stage.ALL, trigger="ssh")
    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.create_index", killed)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path)
    with closing(SqliteDatabase(tmp_path / "state.sqlite")) as left:
        assert left.revision() == "0001"
    with old(tmp_path, monkeypatch) as store:
        assert store.pending("debian") == [request]


def test_processes_that_open_an_old_database_at_once_migrate_it_once(tmp_path, monkeypatch):
    with old(tmp_path, monkeypatch):
        pass
    argv = [sys.executable, "-c", OPEN, str(tmp_path)]
    with ThreadPoolExecutor(3) as at_once:
        results = list(at_once.map(lambda _: process.run(argv, timeout_s=60), range(3)))
    assert [result.errors for result in results] == [""] * 3


def test_a_database_of_a_newer_program_is_refused(tmp_path):
    opened(tmp_path).close()
    with SqliteDatabase(tmp_path / "state.sqlite").writing() as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateError, match="schema 9999, expected at most"):
        opened(tmp_path)


def test_a_file_that_is_no_database_is_an_error_with_advice(tmp_path):
    (tmp_path / "state.sqlite").write_text("not a database at all\n" * 100)
    with pytest.raises(StateDamaged, match=r"state\.sqlite is damaged: file is not a database") as caught:
        opened(tmp_path)
    assert "pushmirror state restore" in caught.value.hint


def test_a_state_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be made: Not a directory"):
        opened(tmp_path / "file" / "state")


def test_a_full_disk_is_an_error_with_advice_and_loses_nothing(tmp_path):
    store = opened(tmp_path)
    store.add_request("debian", Stage.ALL, trigger="ssh")
    with store._database.reading() as db:
        db.execute("PRAGMA max_page_count = 1")  # as few as it has
    with pytest.raises(StateError, match="full") as caught:
        store.add_request("debian", Stage.ALL, trigger="ssh", words="x" * 100_000)
    assert "free some space" in caught.value.hint
    assert len(store.pending("debian")) == 1
    store.close()


def test_a_write_takes_the_lock_when_it_begins(tmp_path):
    store = opened(tmp_path)
    other = sqlite3.connect(tmp_path / "state.sqlite", timeout=0)
    with store._database.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()
    store.close()


def test_the_database_keeps_a_write_ahead_log_and_checks_foreign_keys(tmp_path):
    with opened(tmp_path)._database.reading() as db:
        found = [db.execute(f"PRAGMA {name}")[0] for name in ("journal_mode", "foreign_keys")]
    assert found == [{"journal_mode": "wal"}, {"foreign_keys": 1}]


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "nosuch://u:hunter2@h/d",
        "postgresql+nosuch://u:hunter2@h/d",
        "sqlite+pysqlite:///hunter2.sqlite",
    ],
)
def test_a_bad_database_url_is_refused_without_its_password(url):
    with pytest.raises(StateError) as caught:
        PostgresDatabase(url)
    assert "hunter2" not in str(caught.value)


def test_every_common_trouble_has_advice():
    said = ["database is locked", "attempt to write a readonly database", "unable to open database file"]
    assert all(advice(words) for words in [*said, "disk I/O error"])


@pytest.mark.parametrize("table", schema.metadata.sorted_tables, ids=str)
def test_the_tables_can_be_made_in_postgresql(table):
    assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_the_last_migration_can_be_said_to_postgresql():
    said = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": said}
    )
    with Operations.context(context):
        import_module("pushmirror.state.migrations.versions.0003_why_a_strategy").upgrade()
    assert "ALTER TABLE runs ADD COLUMN why TEXT DEFAULT '' NOT NULL" in said.getvalue()
