"""What a run is told of those who wait for it, and what is remembered of it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pushmirror.config.model import Archive, Config, State, Strategy
from pushmirror.errors import StateError
from pushmirror.progress import Silent
from pushmirror.runner import Runner
from pushmirror.state.records import Stage
from pushmirror.state.store import Store, open_store
from pushmirror.sync.report import Report
from pushmirror.sync.request import OnPublished, RunRequest
from pushmirror.system import clock

ONE, TWO = "1" * 64, "2" * 64


class Work:
    """A run that does nothing but remember what it was to do."""

    def __init__(self) -> None:
        self.requests: list[RunRequest] = []
        self.report = Report(clock.now(), strategy="manifest", why="3 steps")

    def run(self, request: RunRequest, _: OnPublished) -> Report:
        self.requests.append(request)
        return self.report


class Mirror:
    keep_runs = 20

    def __init__(self, tree: Path, store: Store, work: Work) -> None:
        archive = Archive.model_validate({"name": "debian", "path": str(tree), "upstream": "rsync://h/m"})
        state = State(directory=tree.parent / "state", keep_runs=self.keep_runs)
        config = Config(archives={"debian": archive}, state=state)
        self.runner, self.store, self.work = Runner(config, store, Silent()), store, work

    def waits(self, generation: str | None = None) -> None:
        """Somebody's request, whose process is gone."""
        self.store.add_request("debian", Stage.ALL, trigger="ssh", generation=generation)

    def submit(self, generation: str | None = None, strategy: Strategy | None = None) -> RunRequest:
        """The run of a request."""
        request = RunRequest("debian", Stage.ALL, "ssh", generation=generation, strategy=strategy)
        assert self.runner.submit(request).exit_code == 0
        return self.work.requests[-1]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    work = Work()
    monkeypatch.setattr(Runner, "_work", lambda *_: work)
    (tmp_path / "tree").mkdir()
    with closing(open_store(f"sqlite:///{tmp_path}/state.sqlite", tmp_path / "state")) as store:
        yield Mirror(tmp_path / "tree", store, work)


@pytest.mark.parametrize(
    ("waiting", "asked", "told"),
    [
        ([], None, None),
        ([], ONE, ONE),
        ([ONE], ONE, ONE),
        ([ONE], TWO, None),
        ([TWO], ONE, None),
        ([None], ONE, None),
        ([ONE], None, None),
    ],
)
def test_a_run_is_told_what_was_announced_if_that_is_the_answer_to_all_who_wait(
    mirror: Mirror, waiting: list[str | None], asked: str | None, told: str | None
) -> None:
    for generation in waiting:
        mirror.waits(generation)
    assert mirror.submit(asked).generation == told
    assert mirror.store.pending("debian") == []


def test_a_run_takes_the_strategy_of_who_carries_it_out_for_itself(mirror: Mirror) -> None:
    mirror.waits()
    assert mirror.submit(strategy=Strategy.FULL).strategy is Strategy.FULL
    assert mirror.submit().strategy is None


def test_who_asks_for_a_strategy_is_not_served_by_a_run_that_did_not_know() -> None:
    assert RunRequest("debian", Stage.ALL, "manual", strategy=Strategy.FULL).is_special
    assert not RunRequest("debian", Stage.ALL, "ssh", generation=ONE).is_special


def test_it_is_remembered_how_a_run_really_went(mirror: Mirror) -> None:
    mirror.submit()
    (run,) = mirror.store.runs("debian")
    assert (run.strategy, run.why) == ("manifest", "3 steps")


def test_answers_that_needed_no_run_are_not_remembered_for_ever(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushmirror.runner.is_already_served", lambda *_: True)
    request = RunRequest("debian", Stage.ALL, "ssh", generation=ONE)
    first, *_ = [mirror.runner.submit(request) for _ in range(mirror.keep_runs + 100)]
    with pytest.raises(StateError):
        mirror.store.request(first.id)
