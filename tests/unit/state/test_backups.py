from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pushmirror.errors import StateDamaged, StateError
from pushmirror.state import backups
from pushmirror.state.backups import back_up, back_up_daily, list_backups
from pushmirror.state.database import find_damage
from pushmirror.state.records import Outcome, SiteState, Stage
from pushmirror.state.restore import restore_backup
from pushmirror.state.store import open_store
from pushmirror.system import clock

G1, G2 = "1" * 64, "2" * 64
NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path) -> Path:
    """The database of a hub that serves G1, which its site has confirmed."""
    with closing(opened(tmp_path)) as store:
        publish(store, G1)
        store.put_site_states([SiteState("debian", "a.example", G1, NOW, G1, NOW)])
    return tmp_path / "state.sqlite"


def opened(directory: Path):
    return open_store(f"sqlite:///{directory}/state.sqlite", directory)


def publish(store, digest: str) -> None:
    run = store.begin_run("debian", Stage.ALL, strategy="full", trigger="ssh")
    store.publish_generation("debian", digest, run.id, NOW)
    store.end_run(run.id, outcome=Outcome.SUCCEEDED, exit_code=0, generation=digest)


def daily(file: Path) -> None:
    back_up_daily(f"sqlite:///{file}", file.parent)


def at(monkeypatch, now: datetime) -> None:
    monkeypatch.setattr(clock, "now", lambda: now)


def damage(file: Path) -> None:
    file.write_bytes(b"x" * 8192)


def names(file: Path) -> list[str]:
    return [one.file.name for one in list_backups(file.parent, clock.now())]


def test_there_is_one_backup_a_day_and_the_newest_few_are_kept(file, monkeypatch):
    monkeypatch.setattr(backups, "KEPT", 2)
    for day in range(4):
        for hour in (1, 2):
            at(monkeypatch, NOW + timedelta(days=day, hours=hour))
            daily(file)
    assert names(file) == ["state-20260804.sqlite", "state-20260803.sqlite"]
    assert list((file.parent / "backups" / "new").iterdir()) == []


def test_a_backup_has_what_is_only_in_the_log_and_needs_none_itself(file):
    with closing(opened(file.parent)) as store:
        publish(store, G2)
        made = back_up(file, file.parent)
        assert (file.parent / "state.sqlite-wal").stat().st_size
    with closing(sqlite3.connect(f"file:{made.file}?immutable=1", uri=True)) as db:
        assert db.execute("SELECT digest FROM generations").fetchall() == [(G1,), (G2,)]
    assert made.file.stat().st_mode == file.stat().st_mode


def test_what_is_damaged_replaces_no_backup_and_has_none_deleted(file, caplog, monkeypatch):
    good = back_up(file, file.parent).file.read_bytes()
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE runs SET started_at = 'soon'")
        db.commit()
    with pytest.raises(StateDamaged, match=r"started_at|a time"):
        back_up(file, file.parent)
    at(monkeypatch, clock.now() + timedelta(days=1))
    daily(file)
    assert "the state database was not backed up" in caplog.text and "state restore" in caplog.text
    (kept,) = list_backups(file.parent, clock.now())
    assert kept.file.read_bytes() == good and list((kept.file.parent / "new").iterdir()) == []


def test_backups_of_a_clock_that_was_wrong_are_taken_last_and_push_nothing_out(file, monkeypatch):
    monkeypatch.setattr(backups, "KEPT", 2)
    for day in (365, 0, 1, 2):
        at(monkeypatch, NOW + timedelta(days=day))
        daily(file)
    assert names(file) == ["state-20260803.sqlite", "state-20260802.sqlite", "state-20270801.sqlite"]


def test_a_restored_store_takes_no_site_for_current_though_its_generation_is_served_again(file):
    back_up(file, file.parent)
    with closing(opened(file.parent)) as store:
        publish(store, G2)
        publish(store, G1)  # the site may have got G2, and not yet G1 again
    damage(file)
    done = restore_backup(file, file.parent, archives=["other"])
    with closing(opened(file.parent)) as store:
        publish(store, G1)
        assert store.site_states("debian")["a.example"].stage2 is None
        assert [one.trigger for one in store.pending("debian")] == ["restore"]
    assert done.archives == ("debian", "other") and done.made_at
    assert [(one.name[:23], one.stat().st_size) for one in done.kept_aside] == [
        ("state.sqlite.replaced-2", 8192)
    ]


def test_the_newest_good_backup_is_restored_and_the_others_named(file, monkeypatch):
    for day in range(3):
        at(monkeypatch, NOW + timedelta(days=day))
        daily(file)
    newest, middle, _ = list_backups(file.parent, clock.now())
    newest.file.write_bytes(b"")
    flipped = middle.file.read_bytes().replace(b"succeeded", b"suCceeded")
    middle.file.write_bytes(flipped)
    file.unlink()
    done = restore_backup(file, file.parent)
    assert done.source and done.source.name == "state-20260801.sqlite"
    assert [Path(name).name for name in done.skipped] == [newest.file.name, middle.file.name]
    assert find_damage(file) == "" and middle.file.read_bytes() == flipped


def test_nothing_is_restored_while_somebody_has_the_database_open(file):
    back_up(file, file.parent)
    with closing(opened(file.parent)), pytest.raises(StateError, match=r"in use by process \d+"):
        restore_backup(file, file.parent)
    assert find_damage(file) == ""


@pytest.mark.parametrize("loss", [Path.unlink, lambda file: os.truncate(file, 0)])
def test_a_lost_database_is_not_begun_anew_where_there_are_backups(file, loss):
    back_up(file, file.parent)
    loss(file)
    with pytest.raises(StateDamaged, match=r"missing"):
        opened(file.parent)
    restore_backup(file, file.parent, empty=True)
    with closing(opened(file.parent)) as store:
        assert store.runs() == []


def test_without_a_good_backup_nothing_is_touched(file):
    damage(file)
    with pytest.raises(StateDamaged, match="no good backup") as caught:
        restore_backup(file, file.parent)
    assert "--empty" in (caught.value.hint or "")
    assert sorted(one.name for one in file.parent.iterdir()) == ["backups", "state.sqlite"]


def test_what_was_kept_aside_is_restored_with_its_log(file, tmp_path):
    with closing(opened(file.parent)) as store:
        publish(store, G2)
        copy = tmp_path / "copy"
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{file}{suffix}").read_bytes())
    restore_backup(file, file.parent, source=copy)
    with closing(opened(file.parent)) as store:
        assert [one.digest for one in store.generations("debian")] == [G2, G1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets the state of others")
def test_root_who_looks_at_the_state_of_a_mirror_leaves_nothing_in_the_way_of_its_user(file):
    os.chown(file.parent, 65534, -1)
    before = set(file.parent.iterdir())
    opened(file.parent).close()
    daily(file)
    assert set(file.parent.iterdir()) - before <= {
        file.with_name(f"{file.name}-{end}") for end in ("wal", "shm")
    }


def test_a_directory_of_backups_that_cannot_be_looked_at_is_only_logged(file, caplog, monkeypatch):
    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "exists", fails)
    daily(file)
    assert "was not backed up" in caplog.text


def test_a_damaged_backup_of_today_makes_way_for_a_good_one_at_a_restore(file):
    daily(file)
    (today,) = list_backups(file.parent, clock.now())
    damage(file)
    damage(today.file)
    restore_backup(file, file.parent, empty=True)
    assert names(file) == []
    daily(file)
    assert names(file) == [today.file.name] and find_damage(today.file) == ""
