from __future__ import annotations

import json
import os
import re
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from pushmirror.checks import upstream
from pushmirror.cli import main as cli
from pushmirror.config.model import Archive
from pushmirror.status.words import Level
from support.rsync_daemon import RsyncDaemon

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """An rsync daemon with an archive in `open` and in `closed`, and nothing in `empty`."""
    tree = tmp_path_factory.mktemp("tree")
    release = tree / "dists/sid/InRelease"
    release.parent.mkdir(parents=True)
    release.touch()
    os.utime(release, (NOW.timestamp(), NOW.timestamp()))
    (tree / "pool").mkdir()
    daemon = RsyncDaemon(tmp_path_factory.mktemp("daemon"))
    daemon.add_module("open", tree)
    daemon.add_module("closed", tree, users={"site1": "hunter2"})
    daemon.add_module("empty", tmp_path_factory.mktemp("empty"))
    plain = tmp_path_factory.mktemp("plain")
    (plain / "README").touch()
    daemon.add_module("plain", plain)
    daemon.add_module("plain.manifest", manifest := tmp_path_factory.mktemp("manifest"))
    (manifest / "head").touch()
    with daemon:
        yield daemon


def found(url: str, now: datetime = NOW, **more) -> list[upstream.Finding]:
    return list(upstream.of_archive(Archive(name="a", path="/srv/a", upstream=url, **more), now))


def test_an_archive_that_can_be_listed_is_fine(hub):
    listing, _ = found(hub.url("open"))
    assert listing.level is Level.OK and listing.found.endswith(": dists, pool")


def test_what_upstream_refuses_is_told(hub, tmp_path):
    hub.add_module("strict", tmp_path, options={"refuse options": "dry-run hard-links ignore-times"})
    (tmp_path / "dists").mkdir()
    told = [finding.found for finding in found(hub.url("strict")) if "refuses" in finding.found]
    assert told == [
        "upstream refuses --dry-run: listing without it",
        "upstream refuses --hard-links: hard links arrive as copies",
        "upstream refuses --ignore-times: Release files are fetched into an empty directory",
    ]


def test_a_password_from_its_file_lets_us_in(hub, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "secret").chmod(0o600)
    listing, _ = found(hub.url("closed", "site1"), password_file=tmp_path / "secret")
    assert listing.level is Level.OK


def test_a_wrong_password_is_told_from_everything_else(hub, tmp_path):
    (tmp_path / "secret").write_text("wrong\n")
    (tmp_path / "secret").chmod(0o600)
    (refused,) = found(hub.url("closed", "site1"), password_file=tmp_path / "secret")
    assert refused.level is Level.ERROR and "refuses this user or password" in refused.found
    assert "password_file" in refused.todo


def test_a_login_without_a_password_is_refused_without_asking(hub):
    (refused,) = found(hub.url("closed", "site1"))
    assert "refuses this user or password" in refused.found


def test_an_unknown_module_is_told_from_everything_else(hub):
    (unknown,) = found(hub.url("nosuch"))
    assert unknown.level is Level.ERROR and "no such module" in unknown.found


def test_a_port_where_nothing_answers_is_told_from_everything_else():
    with socket.socket() as free:  # bound, but it does not listen
        free.bind(("127.0.0.1", 0))
        (refused,) = found(f"rsync://127.0.0.1:{free.getsockname()[1]}/debian")
    assert refused.level is Level.ERROR and "nothing answers" in refused.found


def test_an_upstream_that_accepts_and_says_nothing_is_waited_for_as_in_a_run():
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rsync://127.0.0.1:{silent.getsockname()[1]}/debian"
        (late,) = found(url, timeout="1s", connect_timeout="1s")
    # On a busy machine rsync's own limit may be the first, or our greeting is counted.
    assert late.level is Level.ERROR and re.search(r"moved only \d+ bytes|time(d )?out", late.found)
    assert time.monotonic() - started < 60


def test_an_empty_upstream_is_an_error(hub):
    assert found(hub.url("empty"))[0].level is Level.ERROR


def test_a_release_from_the_future_means_that_a_clock_is_wrong(hub):
    assert len(found(hub.url("open"), NOW - timedelta(minutes=4), strategy="full")) == 1
    *_, wrong = found(hub.url("open"), NOW - timedelta(hours=1))
    assert wrong.level is Level.ERROR and "newest Release is from 2026-08-01 12:00" in wrong.found


@pytest.mark.parametrize(
    ("module", "strategy", "level", "said"),
    [
        ("open", "auto", Level.OK, "index, full; not manifest: upstream offers none"),
        ("open", "index", Level.OK, "index, full"),
        ("open", "manifest", Level.WARNING, "not manifest: upstream offers none"),
        ("open/dists", "auto", Level.OK, "full; not manifest: only a part of the module"),
        ("plain", "manifest", Level.OK, "manifest, full"),
        ("plain", "index", Level.WARNING, 'strategy = "index", but possible strategies: full'),
    ],
)
def test_the_strategies_that_upstream_offers_are_named(hub, module, strategy, level, said):
    _, offered = found(hub.url(module), strategy=strategy)
    assert offered.level is level and said in offered.found


def test_the_owner_of_an_archive_has_no_upstream_to_look_at():
    assert list(upstream.of_archive(Archive(name="a", path="/srv/a"), NOW)) == []


def test_check_ends_with_1_when_something_does_not_work(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    text = '[archives.debian]\npath = "{0}/tree"\nupstream = "{1}"\n[state]\ndirectory = "{0}/state"\n'
    codes = []
    for module in ("open", "nosuch"):
        (tmp_path / "pushmirror.toml").write_text(text.format(tmp_path, hub.url(module)))
        codes.append(cli.main(["--config", str(tmp_path), "check", "--json"]))
        findings = json.loads(capsys.readouterr().out)
    assert codes == [0, 1]
    assert [one["subject"] for one in findings if one["level"] == "error"] == ["upstream of debian"]


def test_check_lists_each_mistake_of_the_configuration(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    (tmp_path / "pushmirror.toml").write_text("a = 1\nb = 2\n")
    assert cli.main(["--config", str(tmp_path), "check", "--json"]) == 1
    assert [one["level"] for one in json.loads(capsys.readouterr().out)] == ["error", "error"]
