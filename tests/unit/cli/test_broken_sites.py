from __future__ import annotations

import json
import logging
from contextlib import closing

import pytest

from pushmirror.cli import main as cli
from pushmirror.errors import Exit
from pushmirror.state.store import open_store
from pushmirror.system import clock

SAID = "push: expected 'all', 'staged', 'mhop' or 'none', found \"stged\""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command line of an owner in whose one site's file somebody mistyped a word."""
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    monkeypatch.setattr(logging.getLogger("pushmirror"), "handlers", [])  # each call adds its own
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "tree/project/trace").mkdir(parents=True)
    (tmp_path / "tree/README").touch()
    (tmp_path / "sites.d").mkdir()
    (tmp_path / "sites.d/x.toml").write_text(
        'host = "h"\nuser = "u"\narchives = ["debian"]\npush = "stged"\n'
    )
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\n[state]\ndirectory = "{tmp_path}/state"\n'
    )
    return lambda *words: cli.main(["--config", str(tmp_path), *words])


@pytest.mark.parametrize("words", [("sync",), ("receive", "sync:archive:debian", "sync:all")])
def test_a_mirror_goes_on_mirroring_and_says_so(call, capsys, words):
    assert call(*words) == 0
    said = capsys.readouterr()
    assert "debian" in said.out and SAID in said.err and "until this is fixed" in said.err


def test_status_goes_on_and_shows_the_mistake_at_each_archive(call, capsys, tmp_path):
    with closing(open_store(f"sqlite:///{tmp_path}/state/state.sqlite", tmp_path / "state")) as store:
        store.publish_generation("debian", "a" * 40, None, clock.now())
    assert call("status", "--json") == 0
    said = capsys.readouterr()
    [archive] = json.loads(said.out)
    assert (archive["level"], said.err) == ("warning", "")
    assert SAID in archive["attention"][-1] and "x.toml" in archive["attention"][-1]


def test_without_an_archive_status_says_it_on_standard_error(call, capsys, tmp_path):
    (tmp_path / "pushmirror.toml").write_text(f'[state]\ndirectory = "{tmp_path}/state"\n')
    assert call("status") == 0
    assert SAID in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("site", "list"), ("push",), ("serve",), ("check",), ("status", "--site", "x")],
)
def test_what_is_about_sites_stays_strict(call, capsys, words):
    assert call(*words) in (Exit.CONFIG, Exit.FAILED)
    said = capsys.readouterr()
    assert SAID in said.out + said.err
