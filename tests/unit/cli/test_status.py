from __future__ import annotations

import json
from datetime import timedelta

import pytest

from pushmirror.cli import main as cli
from pushmirror.cli.context import Session
from pushmirror.push.engine import SilentObserver
from pushmirror.push.pushes import PushCoordinator
from pushmirror.state.records import Outcome, SiteState, Stage
from pushmirror.system import clock
from pushmirror.verify.checkpoint import VerifyResult, VerifyStore, directory_of
from pushmirror.verify.reader import Finding, Problem

OLD, NEW = "b" * 64, "a" * 64
MIN = timedelta(minutes=1)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub whose archive `debian` has three sites: one live, one failing for two hours, one never woken."""
    monkeypatch.setattr(cli, "unwind_on_signals", lambda: None)
    (tmp_path / "pushmirror.toml").write_text(
        f'[archives.debian]\npath = "{tmp_path}/tree"\nupstream = "rsync://us@hub.example.org/debian"\n'
        f'[archives.own]\npath = "{tmp_path}/own"\n[state]\ndirectory = "{tmp_path}/state"\n'
    )
    (tmp_path / "sites.d").mkdir()
    for name in ("a.example", "failing.example", "new.example"):
        text = f'host = "{name}"\nuser = "mirror"\narchives = ["debian"]\n'
        (tmp_path / "sites.d" / f"{name}.toml").write_text(text)
    now, session = clock.now(), Session(tmp_path)
    live = SiteState("debian", "a.example", NEW, now, NEW, now, exit_code=0)
    failing = SiteState(
        "debian",
        "failing.example",
        failing_since=now - 120 * MIN,
        attempts=3,
        last_words="broken \x1b[2Jpipe",
    )
    with session.store(session.config()) as store:
        store.publish_generation("debian", OLD, None, now - 200 * MIN)
        store.publish_generation("debian", NEW, None, now - 3 * MIN)
        store.put_site_states([live, failing])
    return tmp_path


def status(hub, *arguments: str) -> int:
    return cli.main(["--config", str(hub), "status", *arguments])


def test_the_sites_of_an_archive_are_below_it_those_in_trouble_first(hub, capsys):
    assert status(hub) == 0
    said = capsys.readouterr().out
    assert "1 of 3" in said and "whose upstream is rsync://us@hub.example.org/debian" in said
    assert said.index("\nfailing.example") < said.index("\nnew.example") < said.index("\na.example")
    assert "failed 3 times since" in said


def test_what_was_announced_and_is_not_served_is_said_of_the_archive_and_of_its_sites(hub, capsys):
    session = Session(hub)
    with session.store(session.config()) as store:
        store.add_request("debian", Stage.ALL, trigger="ssh", generation="c" * 64)
        run = store.begin_run("debian", Stage.ALL, strategy="", trigger="ssh")
        taken = {"strategy": "manifest", "why": "3 steps"}
        store.end_run(run.id, outcome=Outcome.FAILED, exit_code=4, **taken)
        woken = {"sent_stage": Stage.ALL, "sent_generation": NEW, "sent_at": clock.now()}
        store.put_site_states([SiteState("debian", "new.example", **woken)])
    status(hub)
    said = " ".join(capsys.readouterr().out.split())
    assert f"debian: {'c' * 12} was announced " in said and f" ago, serves {NEW[:12]} debian: last" in said
    assert "debian: last run by manifest: 3 steps" in said
    assert f"; pushed {NEW[:12]}, has confirmed none yet" in said
    status(hub, "--json")
    debian = json.loads(capsys.readouterr().out)[0]
    assert (debian["asked_generation"], debian["strategy"], debian["why"]) == ("c" * 12, *taken.values())
    assert {one["site"]: one["pushed_for"] for one in debian["sites"]}["new.example"] == NEW[:12]


def test_nothing_that_a_site_said_reaches_the_terminal_as_a_command(hub, capsys):
    status(hub)
    assert "\x1b[2J" not in capsys.readouterr().out


def test_an_archive_without_sites_looks_as_it_does_on_a_mirror_without_any(hub, capsys):
    assert status(hub, "own") == 0
    said = capsys.readouterr().out
    assert "waiting" in said and "live" not in said


def test_no_line_is_wider_than_a_terminal_of_80_columns(hub, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status(hub)
    lines = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(lines) and max(map(len, lines)) <= 80
    assert any(NEW[:12] in line and "debian" in line for line in lines)


def test_the_name_of_a_site_is_never_cut(hub, capsys, monkeypatch):
    name = "a-mirror-whose-name-is-long.of-a-university.example.org"
    (hub / f"sites.d/{name}.toml").write_text('host = "h"\nuser = "u"\narchives = ["debian"]\n')
    monkeypatch.setenv("COLUMNS", "80")
    status(hub)
    lines = capsys.readouterr().out.splitlines()
    assert name in lines and lines[lines.index(name) + 1].split() == ["new", "-", "never"]


def test_programs_get_the_sites_of_each_archive(hub, capsys):
    assert status(hub, "--json") == 0
    debian, own = json.loads(capsys.readouterr().out)
    assert {one["site"]: one["state"] for one in debian["sites"]} == {
        "failing.example": "failing",
        "a.example": "live",
        "new.example": "new",
    }
    assert (debian["upstream"], own["upstream"], own["sites"]) == (
        "rsync://us@hub.example.org/debian",
        "owner",
        [],
    )


def test_the_last_verify_of_an_archive_is_told(hub, capsys):
    at = clock.now() - timedelta(days=3)
    state = VerifyStore(directory_of(hub / "state", "debian"))
    state.begin(NEW)
    state.add([Finding("pool/a", Problem.MISSING), Finding("pool/b", Problem.MISSING)])
    state.finish(VerifyResult("debian", NEW, at, at, files=7, size=7), None)
    status(hub)
    assert "debian: verified 3 d ago, 2 files missing" in capsys.readouterr().out
    status(hub, "--json")
    debian, own = json.loads(capsys.readouterr().out)
    assert (debian["verified_problems"], debian["verified_at"]) == (2, at.isoformat())
    assert (own["verified_problems"], own["verified_at"]) == (None, None)


def test_a_site_that_has_been_failing_for_long_is_an_error_for_monitoring(hub, capsys):
    assert status(hub, "--exit-code") == 1
    assert status(hub, "--exit-code", "--site", "a.example") == 0


def test_one_site_can_be_asked_for(hub, capsys):
    assert status(hub, "--site", "a.example", "--json") == 0
    (debian,) = json.loads(capsys.readouterr().out)
    assert [one["site"] for one in debian["sites"]] == ["a.example"]


def test_an_unknown_site_is_named_with_those_there_are(hub, capsys):
    assert status(hub, "--site", "b.example") == 64
    assert "a.example, failing.example, new.example" in capsys.readouterr().err


def test_a_site_that_has_been_woken_is_seen_waiting_while_the_push_lives(hub, capsys):
    config = Session(hub).config()
    with Session(hub).store(config) as store:
        woken = SiteState(
            "debian", "new.example", sent_stage=Stage.STAGE1, sent_generation=NEW, sent_at=clock.now()
        )
        store.put_site_states([woken])
        with PushCoordinator(lambda: config, store, SilentObserver()).turn("debian").taken():
            status(hub, "--site", "new.example")
    assert "triggered for stage 1 0 s ago, no answer yet" in capsys.readouterr().out
    status(hub, "--site", "new.example")
    assert "its answer was lost (the push process is gone)" in capsys.readouterr().out


def test_who_watches_sees_a_site_being_paused(hub, capsys, monkeypatch):
    rounds = iter((lambda: pause(hub), lambda: None))

    def sleep(_: float) -> None:
        act = next(rounds, None)
        if act is None:
            raise KeyboardInterrupt
        act()

    monkeypatch.setattr("time.sleep", sleep)
    assert status(hub, "--watch", "--site", "new.example") == 0
    before, _, after = capsys.readouterr().out.partition("paused by hand")
    assert "new.example  new" in before and "new.example  paused" in before
    assert "paused by hand" in after


def test_who_watches_sees_the_time_pass(hub, capsys, monkeypatch):
    times = iter(clock.now().replace(hour=12, minute=0, second=second) for second in (1, 3))
    looked = [next(times)]
    monkeypatch.setattr(clock, "now", lambda: looked[-1])

    def sleep(_: float) -> None:
        after = next(times, None)
        if after is None:
            raise KeyboardInterrupt
        looked.append(after)

    monkeypatch.setattr("time.sleep", sleep)
    assert status(hub, "--watch") == 0
    said = capsys.readouterr().out
    assert said.index("12:00:01 UTC\n") < said.index("12:00:03 UTC\n")


def pause(hub) -> None:
    with (hub / "sites.d/new.example.toml").open("a") as file:
        file.write("paused = true\n")


def a_good_run(hub) -> None:
    session = Session(hub)
    with session.store(session.config()) as store:
        run = store.begin_run("debian", Stage.ALL, strategy="full", trigger="cron")
        store.end_run(run.id, outcome=Outcome.SUCCEEDED, exit_code=0, generation=NEW)


def level(hub, capsys) -> str:
    capsys.readouterr()
    status(hub, "debian", "--json", "--site", "a.example")
    found: str = json.loads(capsys.readouterr().out)[0]["level"]
    return found


@pytest.mark.parametrize(("days", "expected"), [(0, "ok"), (1, "warning"), (30, "error")])
def test_what_was_good_does_not_stay_good(hub, capsys, monkeypatch, days, expected):
    a_good_run(hub)
    later = clock.now() + timedelta(days=days)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert level(hub, capsys) == expected
    assert status(hub, "debian", "--exit-code", "--site", "a.example") == (expected == "error")


def test_how_long_an_archive_may_stay_as_it_is_can_be_set(hub, capsys, monkeypatch):
    a_good_run(hub)
    file = hub / "pushmirror.toml"
    file.write_text(file.read_text().replace("[archives.own]", 'stale_after = "60d"\n[archives.own]'))
    later = clock.now() + timedelta(days=30)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert level(hub, capsys) == "ok"


def test_an_upstream_whose_trace_stands_still_is_not_good(hub, capsys):
    a_good_run(hub)
    (hub / "tree/project/trace").mkdir(parents=True)
    (hub / "tree/project/trace/master").write_text("Sat Aug  1 12:00:00 UTC 2020\n")
    assert level(hub, capsys) == "warning"
