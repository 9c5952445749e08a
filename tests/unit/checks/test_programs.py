from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.checks import programs
from pushmirror.config.model import Archive, Config, Site
from pushmirror.fetch.rsync_command import Version
from pushmirror.status.words import Level


@pytest.mark.parametrize(
    ("number", "level", "said"),
    [
        ((3, 1, 2), Level.ERROR, "expected at least 3.1.3"),
        ((3, 1, 3), Level.WARNING, "3.5.0 fixed security holes"),
        ((3, 2, 4), Level.WARNING, "wrongly reject file names"),
        ((3, 2, 5), Level.WARNING, "wrongly reject file names"),
        ((3, 2, 7), Level.WARNING, "security holes"),
        ((3, 5, 0), Level.OK, "version 3.5.0"),
        ((3, 10, 0), Level.OK, "version 3.10.0"),
    ],
)
def test_each_version_of_rsync_is_judged(number, level, said):
    found = programs.judge_rsync("rsync", Version(number))
    assert found.level is level and said in found.found


def test_the_installed_rsync_is_recognised():
    assert programs.rsync("rsync").found.startswith("version 3.")


def test_a_program_that_is_missing_is_an_error_with_advice():
    found = programs.rsync("/nonexistent/rsync")
    assert found.level is Level.ERROR and "/nonexistent/rsync" in found.found and found.todo


def test_a_program_that_is_not_rsync_is_an_error():
    assert programs.rsync("true").level is Level.ERROR


def test_only_programs_that_are_needed_are_looked_for():
    plain = Config(archives={"a": Archive(name="a", path="/srv/a")})
    assert [found.subject for found in programs.all_of(plain)] == ["rsync"]


def test_a_keyring_needs_gpgv_and_a_pushed_site_needs_ssh():
    archive = Archive(name="a", path="/srv/a", keyring=Path("/k"))
    site = Site(name="s", host="h", user="u", archives=["a"])
    needed = programs.all_of(Config(archives={"a": archive}, sites={"s": site}))
    assert [found.subject for found in needed] == ["rsync", "gpgv", "ssh"]


@pytest.mark.parametrize(
    ("method", "programs_too"),
    [("own", []), ("stunnel", ["stunnel"]), ("stunnel-old", ["stunnel"]), ("socat", ["socat"])],
)
def test_tls_needs_the_program_of_its_method(method, programs_too):
    keys = {"name": "a", "path": "/srv/a", "upstream": "rsyncs://hub/debian", "tls_method": method}
    needed = list(programs.all_of(Config(archives={"a": Archive.model_validate(keys)})))
    assert [found.subject for found in needed] == ["rsync", *programs_too]
    assert all(found.level is Level.OK and "." in found.found for found in needed[1:])


def test_a_daemon_behind_ssh_and_a_callback_need_ssh():
    behind = Archive(name="a", path="/srv/a", upstream="rsyncd+ssh://hub/debian")
    calling = Archive(name="b", path="/srv/b", callback={"host": "h", "key": "/key"})
    for archive in (behind, calling):
        assert programs.needs_ssh(Config(archives={archive.name: archive}))
