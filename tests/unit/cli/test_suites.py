from __future__ import annotations

import json
from datetime import timedelta

import pytest

from pushmirror.cli import main as cli
from pushmirror.state.suites import SuiteRecord, suites_path, write_suites
from pushmirror.system import clock

KEY = "0146DC6D4A0B2914BDED34DB648ACFD622F3D138"
HOUR = timedelta(hours=1)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror one of whose suites is held back, one names files that upstream lacks, and one is good."""
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\n[archives.plain]\npath = "{tmp_path}/plain"\n'
        f'[state]\ndirectory = "{tmp_path}/state"\n'
    )
    now = clock.now()
    suites = [
        SuiteRecord("dists/trixie", ("dists/stable",), date=now - HOUR, signed_by=(KEY,)),
        SuiteRecord("dists/sid", date=now - HOUR, held_since=now, reason="bad signature", hint="wait"),
        SuiteRecord("dists/forky", date=now - HOUR, missing=2, missing_paths=("pool/a", "pool/b")),
        SuiteRecord("dists/new", served=False, held_since=now, reason="unreadable"),
    ]
    write_suites(suites_path(tmp_path / "state", "debian"), suites)
    return tmp_path


def run(mirror, *words: str) -> int:
    return cli.main(["--config", str(mirror), *words])


def line_of(said: str, begin: str) -> str:
    return next(line for line in said.splitlines() if line.startswith(begin))


def test_each_suite_has_a_line_with_its_state_and_who_signed_it(mirror, capsys):
    assert run(mirror, "suites", "debian") == 0
    said = capsys.readouterr().out
    good = line_of(said, "dists/trixie (stable)")
    assert "current" in good and "648ACFD622F3D138" in good and "0146DC6D" not in good
    assert "held back" in line_of(said, "dists/sid") and "never published" in line_of(said, "dists/new")


def test_what_is_wrong_with_a_suite_and_what_to_do_is_below_it(mirror, capsys):
    run(mirror, "suites", "debian")
    lines = capsys.readouterr().out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("dists/sid"))
    assert lines[at + 1].strip().endswith(": bad signature; wait")


def test_an_archive_without_suites_says_so(mirror, capsys):
    assert run(mirror, "suites", "plain") == 0
    assert capsys.readouterr().out.startswith("plain: no suites known")


def test_programs_get_the_names_of_missing_files(mirror, capsys):
    run(mirror, "suites", "debian", "--json")
    found = {one["suite"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["dists/forky"]["missing_paths"] == ["pool/a", "pool/b"]
    run(mirror, "suites", "--json")
    assert set(json.loads(capsys.readouterr().out)) == {"debian", "plain"}


def test_status_has_a_line_for_each_suite_in_trouble(mirror, capsys):
    run(mirror, "status", "debian")
    said = capsys.readouterr().out
    assert (
        "! debian: dists/sid is held back since" in said
        and "names 2 files that are missing or wrong upstream" in said
    )
    assert "dists/trixie" not in said


def test_trouble_with_a_suite_is_a_warning_and_no_error_for_monitoring(mirror, capsys):
    assert run(mirror, "status", "debian", "--exit-code", "--json") == 0
    (debian,) = json.loads(capsys.readouterr().out)
    assert debian["level"] == "warning"
    assert [one["suite"] for one in debian["suites"]] == ["dists/forky", "dists/new", "dists/sid"]
