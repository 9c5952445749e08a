from __future__ import annotations

import os
from collections import namedtuple
from contextlib import closing
from datetime import UTC, datetime

import pytest

from offering import open_directory
from pushmirror.checks import machine
from pushmirror.config.model import Archive, Callback, Config, Mirror, State
from pushmirror.state.store import open_store
from pushmirror.status.words import Level

Disk = namedtuple("Disk", "f_bavail f_frsize f_blocks f_files f_favail")


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "tree").mkdir(mode=0o755)
    return Archive(name="a", path=tmp_path / "tree", upstream="rsync://hub.example.org/debian")


@pytest.fixture
def owned(archive):
    """The same as its owner has it."""
    return archive.model_copy(update={"upstream": None})


def test_a_tree_of_our_own_is_fine(archive):
    assert machine.tree(archive).level is Level.OK


def test_a_tree_that_is_not_there_yet_is_made_by_the_first_sync(archive):
    archive.path.rmdir()
    found = machine.tree(archive)
    assert (found.level, found.todo) == (Level.WARNING, "the first sync creates it")


def test_a_tree_that_cannot_be_made_is_an_error_with_what_root_must_do(archive, monkeypatch):
    archive.path.rmdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = machine.tree(archive)
    assert found.level is Level.ERROR
    assert found.todo == f"as root: {machine.made_by_root(archive.path)}" and "install -d -o " in found.todo


@pytest.mark.parametrize(("name", "level"), [("m.example.org", Level.OK), ("localhost", Level.WARNING)])
def test_a_mirror_needs_a_name_that_others_know(name, level):
    (found,) = machine.of_mirror(Mirror(name=name))
    assert found.level is level


@pytest.fixture
def state(tmp_path):
    """Of a mirror that has published the archive."""
    state = State(directory=tmp_path)
    with closing(open_store(state.database_url, tmp_path)) as store:
        store.publish_generation("a", "f" * 64, None, datetime(2026, 8, 1, tzinfo=UTC))
    return state


def test_an_empty_tree_where_something_was_published_is_an_error_as_for_a_sync(archive, state):
    (archive.path / "Archive-Update-Required-m").touch()
    (archive.path / "lost+found").mkdir()
    found, *_ = machine.of_archive(archive, state)
    assert found.level is Level.ERROR and "is empty, but generation ffffffffffff was" in found.found
    assert found.todo.endswith("pushmirror sync a --refill")


def test_a_tree_with_something_in_it_is_not_empty(archive, state):
    (archive.path / "dists").mkdir()
    assert machine.emptied(archive, state) is None


def test_an_empty_tree_where_nothing_was_published_is_about_to_be_filled(archive, tmp_path):
    assert machine.emptied(archive, State(directory=tmp_path)) is None


def test_an_owners_tree_that_cannot_be_written_is_fine(owned, monkeypatch):
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    assert machine.tree(owned).level is Level.OK


def test_an_owners_tree_may_be_another_users(owned, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: owned.path.stat().st_uid + 1)
    assert machine.tree(owned).level is Level.OK


def test_an_owners_tree_has_to_be_readable(owned, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = machine.tree(owned)
    assert found.level is Level.ERROR and "is not readable by this user" in found.found


def test_an_owners_tree_is_made_by_no_sync(owned):
    owned.path.rmdir()
    found = machine.tree(owned)
    assert found.level is Level.ERROR and "must exist" in found.todo


def test_a_tree_that_is_a_file_is_an_error(archive):
    archive.path.rmdir()
    archive.path.touch()
    assert machine.tree(archive).level is Level.ERROR


@pytest.mark.parametrize(("mode", "level"), [(0o777, Level.ERROR), (0o700, Level.WARNING), (0o775, Level.OK)])
def test_a_tree_is_ours_to_write_and_everybodys_to_read(archive, mode, level):
    archive.path.chmod(mode)
    assert machine.tree(archive).level is level


def test_a_tree_of_somebody_else_is_named_with_its_owner(archive, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: archive.path.stat().st_uid + 1)
    found = machine.tree(archive)
    assert found.level is Level.WARNING and "run pushmirror as that user" in found.todo


def test_a_tree_we_cannot_write_is_an_error(archive, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "is not writable by this user" in machine.tree(archive).found


@pytest.mark.parametrize(
    ("free", "inodes", "levels"),
    [
        (50, 50, [Level.OK, Level.OK]),
        (1, 50, [Level.WARNING, Level.OK]),
        (0, 0, [Level.ERROR, Level.ERROR]),
    ],
)
def test_a_disk_runs_out_of_bytes_or_of_inodes(archive, monkeypatch, free, inodes, levels):
    gib = 1024**3
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(free * gib, 1, 100 * gib, 100, inodes))
    assert [found.level for found in machine.disk(archive.path)] == levels


def test_a_file_system_without_a_number_of_inodes_has_enough(archive, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(2**40, 1, 2**40, 0, 0))
    assert len(list(machine.disk(archive.path))) == 1


@pytest.mark.parametrize(("year", "level"), [(1970, Level.ERROR), (2027, Level.OK), (2155, Level.ERROR)])
def test_a_clock_that_cannot_be_right_is_an_error(year, level):
    assert machine.clock_of(datetime(year, 6, 1, tzinfo=UTC)).level is level


def test_a_keyring_that_is_missing_or_empty_is_an_error(tmp_path):
    (tmp_path / "empty").touch()
    assert machine.readable("keyring", tmp_path / "none").level is Level.ERROR
    assert machine.readable("keyring", tmp_path / "empty").level is Level.ERROR


def test_a_key_that_others_can_read_is_an_error(tmp_path):
    (tmp_path / "key").write_text("x")
    (tmp_path / "key").chmod(0o644)
    assert "chmod 600" in machine.private_key("key", tmp_path / "key").todo


def test_looking_at_the_state_makes_no_database(tmp_path):
    assert [found.level for found in machine.of_state(State(directory=tmp_path))] == [Level.OK]
    assert list(tmp_path.iterdir()) == []


def test_state_that_root_left_behind_is_named_with_the_way_out(tmp_path, monkeypatch):
    asked = tmp_path / "push" / "debian" / "asked"
    asked.parent.mkdir(parents=True)
    asked.touch()
    monkeypatch.setattr(machine, "_belongs_to_another", lambda name, _: name == asked)
    (found,) = machine.of_state(State(directory=tmp_path))
    assert found.level is Level.ERROR and str(asked) in found.found
    assert found.todo.startswith("as root: chown -R -h ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_in_the_state_directory_is_found(tmp_path):
    (tmp_path / "known_hosts").touch()
    os.chown(tmp_path / "known_hosts", 12345, -1)
    (found,) = machine.of_state(State(directory=tmp_path))
    assert f"{tmp_path}/known_hosts belongs to 12345, {tmp_path} to root" in found.found


def test_a_broken_database_is_an_error(tmp_path):
    (tmp_path / "state.sqlite").write_text("x" * 5000)
    *_, found = machine.of_state(State(directory=tmp_path))
    assert found.level is Level.ERROR and "not a database" in found.found


def test_the_key_for_calling_back_must_be_there(archive, state):
    calling = archive.model_copy(update={"callback": Callback(host="h", key="/nowhere/key")})
    (found,) = [one for one in machine.of_archive(calling, state) if one.subject == "callback key of a"]
    assert found.level is Level.ERROR and "/nowhere/key" in found.found


@pytest.mark.parametrize(
    ("method", "levels"), [("own", []), ("stunnel", []), ("stunnel-old", [Level.WARNING])]
)
def test_tls_that_looks_at_no_name_is_warned_of(tmp_path, method, levels):
    keys = {"name": "a", "path": "/srv/a", "upstream": "rsyncs://hub/debian", "tls_ca": str(tmp_path)}
    found = machine.tls(Archive.model_validate({**keys, "tls_method": method}))
    assert [one.level for one in found] == levels


def _mounts(archive, *names):
    lines = [f"36 35 0:1 / {archive.path / name} rw - tmpfs none rw" for name in names]
    for name in names:
        (archive.path / name).mkdir(parents=True)
    return "\n".join(lines)


def test_suites_that_are_mounted_in_the_tree_cannot_be_swapped_in_one_instant(archive):
    table = _mounts(archive, "dists", "pool")
    found = [one for one in machine.volumes(archive, table) if one.subject.startswith("tree")]
    assert [one.level for one in found] == [Level.WARNING, Level.OK]
    assert "swapped atomically" in found[0].found and "separate file system" in found[1].found


def test_a_pool_that_is_a_link_to_another_disk_has_to_be_mounted(archive, tmp_path):
    (tmp_path / "disk").mkdir()
    (archive.path / "pool").symlink_to(tmp_path / "disk")
    (found,) = machine.volumes(archive)
    assert found.level is Level.ERROR and "mount --bind" in found.todo


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize(
    ("owners", "level", "words"),
    [
        ((0, 0), None, ""),
        ((65534, 65534), Level.OK, "continue as nobody"),
        ((34, 65534), Level.ERROR, "no user may write to both"),
        ((0, 65534), Level.ERROR, "no user may write to both"),
    ],
)
def test_check_of_root_judges_as_the_user_that_a_sync_becomes(archive, owners, level, words):
    with open_directory() as base:
        for name, owner in zip(("state", "tree"), owners, strict=True):
            (base / name).mkdir()
            os.chown(base / name, owner, -1)
        config = Config(
            mirror=Mirror(name="m.example.org"),
            archives={"a": archive.model_copy(update={"path": base / "tree"})},
            state=State(directory=base / "state"),
        )
        found = [*machine.user(config), *[None] * (level is None)]
    assert [one and one.level for one in found] == [level]
    assert level is None or words in found[0].found
