"""What counts as damage of a file that can be made anew."""

import sqlite3
from pathlib import Path

import pytest

from pushmirror.system.sqlite import is_damage, put_aside


def test_a_text_that_is_none_is_damage() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as found:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()
    assert is_damage(found.value)


def test_a_table_that_is_not_there_is_damage() -> None:
    with pytest.raises(sqlite3.OperationalError) as found:
        sqlite3.connect(":memory:").execute("SELECT * FROM facts")
    assert is_damage(found.value)


def test_a_connection_that_we_closed_is_none() -> None:
    connection = sqlite3.connect(":memory:")
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError) as found:
        connection.execute("SELECT 1")
    assert not is_damage(found.value)


def test_a_disk_that_is_full_is_none() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as found:
        connection.execute("CREATE TABLE t AS SELECT zeroblob(100000)")
    assert not is_damage(found.value)


def test_a_damaged_file_is_kept_beside_and_its_journal_is_not(tmp_path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"a.sqlite{suffix}").write_text(f"damaged{suffix}")
    put_aside(tmp_path / "a.sqlite")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.sqlite.damaged": "damaged"}
