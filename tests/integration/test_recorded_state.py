"""A mirror that an earlier commit left behind is understood, and goes on as if nothing had happened."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pushmirror.config.loader import load
from pushmirror.state.database import find_damage
from pushmirror.state.records import Outcome, Stage
from pushmirror.state.store import open_store
from pushmirror.state.suites import read_suites, suites_path
from recorded import RecordedMirror
from support.rsync_daemon import RsyncDaemon


@pytest.fixture
def mirror(tmp_path: Path, daemon: RsyncDaemon) -> RecordedMirror:
    url = daemon.url("")
    mirror = RecordedMirror.unpack(tmp_path / "recorded", upstream=url, sites=False)
    daemon.add_module("debian", mirror.upstream)
    daemon.add_module("debian.manifest", mirror.upstream.parent / "manifest")
    return mirror


def printed(mirror: RecordedMirror, *words: str) -> Any:
    """What a command prints as JSON."""
    return json.loads(mirror.run(*words, "--json").check().output)


def test_its_configuration_has_the_archives_and_the_sites(tmp_path: Path) -> None:
    config = load(RecordedMirror.unpack(tmp_path / "recorded").etc)
    assert [*config.archives] == ["debian", "security"]
    assert {name: site.push.value for name, site in config.sites.items()} == {
        "site1.example.org": "staged",
        "site2.example.org": "all",
    }


def test_its_database_has_what_was_asked_done_served_and_confirmed(tmp_path: Path) -> None:
    mirror = RecordedMirror.unpack(tmp_path / "recorded")
    assert find_damage(mirror.state / "state.sqlite") == ""
    with closing(open_store(f"sqlite:///{mirror.state}/state.sqlite", mirror.state)) as store:
        runs = store.runs()
        generations = store.generations("debian")
        assert [(one.id, one.outcome, one.trigger) for one in runs] == [
            (3, Outcome.SUCCEEDED, "ssh"),
            (2, Outcome.SUCCEEDED, "manual"),
            (1, Outcome.SUCCEEDED, "manual"),
        ]
        assert [one.digest for one in generations] == [one.generation for one in runs]
        assert generations[0].digest == mirror.served and generations[0].replaced_at is None
        (request,) = store.pending("security")
        assert (request.stage, request.mhop, request.client) == (Stage.STAGE1, True, "192.0.2.7")
        prepared = store.preparation("security")
        assert prepared and prepared.generation == request.generation
        sites = store.site_states("debian")
        assert sites["site1.example.org"].stage2 == mirror.served
        assert (sites["site2.example.org"].stage2, sites["site2.example.org"].attempts) == (None, 2)
        assert [one.exit_code for one in store.triggers()] == [0, None, None, None, None]
        assert store.triggers()[0].output == "synced\ndone\n"


def test_its_suites_are_known(tmp_path: Path) -> None:
    mirror = RecordedMirror.unpack(tmp_path / "recorded")
    suites = read_suites(suites_path(mirror.state, "debian"))
    assert {"dists/sid", "dists/trixie"} <= {one.directory for one in suites}
    assert all(one.served and one.signed_by and not one.is_held for one in suites)


def test_what_it_serves_is_answered_without_a_run(mirror: RecordedMirror) -> None:
    result = mirror.run("receive", "sync:archive:debian", "sync:all", f"sync:generation:{mirror.served}")
    assert (result.exit_code, result.errors) == (0, "")
    assert result.output.decode() == f"debian all: already at {mirror.served[:12]}\n"


def test_its_tree_is_what_its_closures_and_its_inventory_say(mirror: RecordedMirror) -> None:
    found = printed(mirror, "verify", "debian")
    assert (found["whole"], found["missing"], found["wrong"]) == (True, 0, 0)
    assert found["files"] > 300 and found["generation"] == mirror.served


def test_a_run_goes_on_from_its_inventory_and_finds_nothing_to_do(mirror: RecordedMirror) -> None:
    config = mirror.etc / "pushmirror.toml"
    config.write_text(config.read_text().replace("retries = 0", 'retries = 0\nfull_every = "3650d"'))
    mirror.run("sync", "debian", "--strategy", "manifest").check()
    newest = printed(mirror, "history")[0]
    assert (newest["strategy"], newest["generation"]) == ("manifest", mirror.served)
    assert newest["stats"]["files_fetched"] == newest["stats"]["published"] == 0


def test_its_backup_can_be_restored(mirror: RecordedMirror) -> None:
    (mirror.state / "state.sqlite").write_bytes(b"x" * 8192)
    mirror.run("state", "restore").check()
    newest = printed(mirror, "history")[0]
    assert newest["generation"] is not None
