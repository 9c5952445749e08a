"""When `pushmirror sync` wakes the sites of each archive, and how."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pushmirror import background_push
from pushmirror.cli import main as cli
from pushmirror.cli import push, sync
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit, StateError, Stopped
from pushmirror.progress import Silent
from pushmirror.runner import Runner
from pushmirror.state.records import OWNER_SCAN, Outcome, Request, Run, Stage
from pushmirror.sync.request import RunRequest


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Story:
    """What happened, in its order; `raising` is what a part of it is to end with."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.raising: dict[str, BaseException] = {}

    def tell(self, what: str) -> None:
        self.told.append(what)
        if what in self.raising:
            raise self.raising[what]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    made, submit = Story(), Runner.submit

    def submitted(runner: Runner, request: RunRequest) -> Request:
        made.tell(f"run {request.archive}")
        return submit(runner, request)

    monkeypatch.setattr(Runner, "submit", submitted)
    monkeypatch.setattr(background_push, "in_background", lambda _, name: made.tell(f"wake {name}"))
    monkeypatch.setattr(push, "push_here", lambda *args: made.tell(f"show {' '.join(args[2])}"))
    monkeypatch.setattr(sync, "progress_on", lambda *_, **__: nullcontext(Silent()))
    return made


@pytest.fixture
def on_a_terminal(call: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The same before somebody's eyes."""

    def on_a_terminal() -> int:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # as late as that: pytest changes stderr
        return call()

    return on_a_terminal


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., int]:
    """Runs `pushmirror sync WORDS` for the owner of a, b, and of c, which nobody mirrors."""
    etc = tmp_path / "etc"
    (etc / "sites.d").mkdir(parents=True)
    for name in "abc":
        (tmp_path / name).mkdir()
    trees = "".join(f'[archives.{name}]\npath = "{tmp_path / name}"\n' for name in "abc")
    (etc / "pushmirror.toml").write_text(f'{trees}[state]\ndirectory = "{tmp_path / "state"}"\n')
    (etc / "sites.d/one.toml").write_text('host = "h"\nuser = "u"\narchives = ["a", "b"]\n')
    return lambda *words: cli.main(["--config", str(etc), "sync", *words])


def test_the_sites_of_an_archive_are_woken_before_the_next_archive_is_begun(
    call: Callable[..., int], story: Story
) -> None:
    assert call() == Exit.OK
    assert story.told == ["run a", "wake a", "run b", "wake b", "run c"]


def test_an_archive_in_trouble_keeps_nobody_from_being_woken(call: Callable[..., int], story: Story) -> None:
    story.raising["run a"] = StateError("no")
    assert call() == Exit.FAILED
    assert story.told == ["run a", "wake a", "run b", "wake b", "run c"]


def test_a_strategy_is_refused_for_an_archive_that_is_made_here(
    call: Callable[..., int], story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("b", "--strategy", "full") == Exit.USAGE
    assert "b has no upstream: --strategy needs one" in capsys.readouterr().err
    assert story.told == []


def test_a_strategy_that_nobody_knows_is_refused(call: Callable[..., int], story: Story) -> None:
    assert call("--strategy", "best") == Exit.USAGE
    assert story.told == []


def test_the_strategies_to_choose_from_are_those_that_there_are() -> None:
    (option,) = (one for one in sync.sync.params if one.name == "strategy")
    assert set(option.type.to_info_dict()["choices"]) == set(Strategy)


def run_by(strategy: str, why: str) -> Run:
    now = datetime(2026, 8, 1, tzinfo=UTC)
    ended = (now, now, Outcome.SUCCEEDED, 0, "c" * 64, "fetched 0 files", {}, "")
    return Run(7, "debian", Stage.ALL, strategy, "manual", *ended, why=why)


@pytest.mark.parametrize("asked", [None, Strategy.AUTO, Strategy.MANIFEST])
def test_the_line_about_a_run_names_its_strategy(
    asked: Strategy | None, capsys: pytest.CaptureFixture[str]
) -> None:
    sync._tell(run_by("manifest", "3 steps"), asked)
    out, err = capsys.readouterr()
    assert out.endswith("fetched 0 files, by manifest (run 7)\n") and err == ""


def test_a_run_that_asked_nobody_names_no_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    sync._tell(run_by(OWNER_SCAN, ""))
    assert capsys.readouterr().out.endswith("fetched 0 files (run 7)\n")


def test_a_strategy_that_was_asked_for_and_not_taken_is_told_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sync._tell(run_by("full", "any daemon; not by index: no Release files"), Strategy.INDEX)
    said = "debian: strategy index could not be used: by full: any daemon; not by index: no Release files\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("words", [("--no-push",), ("--stage", "1")])
def test_nobody_is_woken_who_is_not_to_be(call: Callable[..., int], story: Story, words: list[str]) -> None:
    assert call(*words) == Exit.OK
    assert story.told == ["run a", "run b", "run c"]


def test_on_a_terminal_the_push_of_all_is_shown_in_the_end(
    on_a_terminal: Callable[..., int], story: Story
) -> None:
    assert on_a_terminal() == Exit.OK
    assert story.told == ["run a", "run b", "run c", "show a b"]


def test_a_signal_before_the_end_has_what_is_done_pushed_in_the_background(
    on_a_terminal: Callable[..., int], story: Story
) -> None:
    story.raising["run b"] = Stopped("by SIGTERM")
    assert on_a_terminal() == Exit.TERMINATED
    assert story.told == ["run a", "run b", "wake a"]


def test_a_push_that_is_shown_goes_on_in_the_background_after_a_signal_and_says_so(
    on_a_terminal: Callable[..., int], story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    story.raising["show a b"] = Stopped("stopped by SIGINT", exit_code=Exit.INTERRUPTED)
    assert on_a_terminal() == Exit.INTERRUPTED
    assert story.told[-3:] == ["show a b", "wake a", "wake b"]
    said = capsys.readouterr().err
    assert "stopped by SIGINT; the push of a, b continues in the background (see pushmirror status)" in said


def test_quietly_nothing_is_said_that_went_well(
    call: Callable[..., int], story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--quiet") == Exit.OK
    assert capsys.readouterr() == ("", "")


def test_quietly_a_failure_is_still_said(
    call: Callable[..., int], story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    story.raising["run a"] = StateError("the disk is full")
    assert call("--quiet") == Exit.FAILED
    assert capsys.readouterr() == ("", "a: failed: the disk is full\n")


@pytest.mark.parametrize("option", ["--verbose", "--json"])
def test_who_wants_it_quiet_does_not_want_to_read_much(
    call: Callable[..., int], story: Story, option: str
) -> None:
    assert call("--quiet", option) == Exit.USAGE
    assert story.told == []


def test_that_suites_are_held_back_is_said_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    held = replace(run_by("index", ""), exit_code=6, message="published; 1 suite held back: dists/sid")
    sync._tell(held)
    out, err = capsys.readouterr()
    assert out.startswith(
        "debian: held back (6) in 0 s: generation cccccccccccc, published; 1 suite held back"
    )
    assert err == ""


@pytest.mark.parametrize(
    ("codes", "worst"), [((0, 6), 6), ((6, 4), 4), ((4, 6), 4), ((6, 75), 75), ((3, 4), 4), ((0, 0), 0)]
)
def test_suites_that_are_held_back_hide_no_failure_of_another_archive(
    codes: tuple[int, int], worst: int
) -> None:
    assert sync._worse(Exit(codes[0]), Exit(codes[1])) == worst
