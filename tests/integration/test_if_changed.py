"""`sync --if-changed`: a timer that does nothing when upstream has nothing new."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.archive.layout import TRACES
from pushmirror.config import loader
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.progress import Silent
from pushmirror.runner import Runner
from pushmirror.state.records import Stage
from pushmirror.state.store import open_store
from pushmirror.system import clock
from support.damage import break_suite, mend_suite
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon
from trees import snapshot

SERIAL = "Archive serial: 2026112301\n"


def is_current(site: LabSite) -> bool:
    config = loader.load(site.etc)
    store = open_store(config.state.database_url, config.state.directory)
    try:
        return Runner(config, store, Silent()).is_current(ARCHIVE)
    finally:
        store.close()


def test_nothing_is_done_while_upstream_has_nothing_new_and_all_when_it_has(
    site: LabSite, archive: LabArchive
) -> None:
    first = site.sync("--if-changed").check()
    before = snapshot(site.tree)
    second = site.sync("--if-changed").check()
    assert b"upstream has nothing new" not in first.output
    assert second.output == b"debian: upstream has nothing new\n" and snapshot(site.tree) == before
    archive.update()
    site.sync("--if-changed").check()
    assert all((site.tree / path).read_bytes() == text for path, text in generation_files(archive).items())
    assert len(site.json("history")) == 2


def test_suites_that_are_held_back_are_looked_at_again_until_they_are_published(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    archive.update()
    break_suite(archive, "sid")
    assert site.sync().exit_code == site.sync("--if-changed").exit_code == Exit.HELD
    assert broken(site.tree, thorough=True) == []
    mend_suite(archive, "sid")
    assert site.sync("--if-changed").exit_code == Exit.OK
    assert b"upstream has nothing new" in site.sync("--if-changed").check().output


def test_that_upstream_has_nothing_new_keeps_an_archive_from_growing_stale(synced: LabSite) -> None:
    (before,) = synced.json("status")
    synced.sync("--if-changed").check()
    (after,) = synced.json("status")
    assert after["last_success_at"] > before["last_success_at"]
    assert after["last_run_id"] == before["last_run_id"]


@pytest.fixture
def upstream(tmp_path: Path, daemon: RsyncDaemon) -> Path:
    """A small plain tree, whose origin leaves a trace."""
    tree = tmp_path / "upstream"
    (tree / TRACES).mkdir(parents=True)
    (tree / "README").write_text("read me")
    (tree / TRACES / "master").write_text(SERIAL)
    daemon.add_module(ARCHIVE, tree)
    return tree


@pytest.fixture
def synced(tmp_path: Path, upstream: Path, daemon: RsyncDaemon) -> LabSite:
    site = LabSite(tmp_path / "plain", upstream=daemon.url(ARCHIVE))
    site.sync().check()
    assert is_current(site)
    return site


def test_as_json_nothing_new_is_null(synced: LabSite) -> None:
    assert synced.json("sync", ARCHIVE, "--if-changed") is None
    assert synced.json("sync", "--if-changed") == []


@pytest.mark.parametrize("option", ["--dry-run", "--refill", "--allow-mass-delete"])
def test_what_asks_for_a_run_does_not_go_with_it(tmp_path: Path, option: str) -> None:
    assert LabSite(tmp_path / "owner").sync("--if-changed", option).exit_code == 64


def test_what_is_owed_is_done_also_when_upstream_has_nothing_new(synced: LabSite) -> None:
    config = loader.load(synced.etc)
    store = open_store(config.state.database_url, config.state.directory)
    store.add_request(ARCHIVE, Stage.ALL, trigger="ssh")
    store.close()
    assert not is_current(synced)


def test_a_run_that_was_interrupted_or_failed_is_followed_by_another(synced: LabSite) -> None:
    synced.configure(hooks={"before_sync": ["false"]})
    assert synced.sync().exit_code == 3
    assert not is_current(synced)


def test_a_tree_that_says_something_else_of_itself_is_not_current(synced: LabSite) -> None:
    (synced.tree / TRACES / synced.name).unlink()
    assert not is_current(synced)


def test_an_upstream_that_cannot_be_asked_is_for_a_run_to_tell(synced: LabSite, daemon: RsyncDaemon) -> None:
    daemon.remove_module(ARCHIVE)
    assert not is_current(synced)
    result = synced.sync("--if-changed")
    assert result.exit_code == 3 and "no such module" in result.errors


def test_another_serial_of_the_origin_is_something_new(synced: LabSite, upstream: Path) -> None:
    (upstream / TRACES / "master").write_text(SERIAL.replace("01", "02"))
    assert not is_current(synced)


def test_a_plain_tree_whose_origin_leaves_no_trace_is_looked_at_each_time(
    synced: LabSite, upstream: Path
) -> None:
    (upstream / TRACES / "master").unlink()
    synced.sync().check()
    assert not is_current(synced)


def test_an_owners_tree_is_looked_at_each_time(tmp_path: Path) -> None:
    site = LabSite(tmp_path / "owner")
    site.tree.mkdir()
    (site.tree / "README").write_text("read me")
    os.utime(site.tree / "README", (0, 0))
    site.sync().check()
    assert not is_current(site)


@pytest.mark.parametrize("changed", [{"exclude": ["/unwanted"]}, {"full_every": "1s"}])
def test_another_selection_or_a_day_without_a_run_is_something_new(
    synced: LabSite, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    later = clock.now() + timedelta(hours=1)
    synced.configure(**changed)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert not is_current(synced)
