"""When a push is answered without a run."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pushmirror.config.model import Archive
from pushmirror.fetch.selection import selection_hash
from pushmirror.state.records import Outcome, Stage
from pushmirror.state.store import Store, open_store
from pushmirror.sync.current import is_already_served
from pushmirror.system import clock, locks
from pushmirror.tree.published_state import read_published

RELEASE = "Origin: Lab\nSuite: stable\nDate: Sat, 01 Aug 2026 12:00:00 UTC\nSHA256:\n"
OTHER = "f" * 64
ONE, TWO, ALL = Stage.STAGE1, Stage.STAGE2, Stage.ALL


class Mirror:
    """A tree with a Release file, whose generation a run has published."""

    def __init__(self, tree: Path, store: Store) -> None:
        self.release = tree / "dists/stable/Release"
        self.release.parent.mkdir(parents=True)
        self.release.write_text(RELEASE)
        self.generation = read_published(tree).generation
        self.store = store
        self._told = {"name": "debian", "path": str(tree), "upstream": "rsync://127.0.0.1:1/debian"}
        self.change()
        self.ran()

    def change(self, **options: object) -> None:
        """Another configuration."""
        self.archive = Archive.model_validate({**self._told, **options})

    def ran(
        self, stage: Stage = ALL, outcome: Outcome = Outcome.SUCCEEDED, *, generation: str | None = None
    ) -> None:
        """One more run has ended, with this generation or the tree's."""
        run = self.store.begin_run("debian", stage, strategy="", trigger="ssh")
        published = None if stage is ONE else generation or self.generation
        stats = {"selection": selection_hash(self.archive)}
        if published:
            self.store.publish_generation("debian", published, run.id, clock.now())
        self.store.end_run(run.id, outcome=outcome, exit_code=0, generation=published, stats=stats)

    def begin(self) -> None:
        """A run has begun and not ended."""
        self.store.begin_run("debian", ALL, strategy="", trigger="ssh")

    def is_there(self, generation: str | None = None) -> bool:
        return is_already_served(self.archive, generation or self.generation, self.store)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    state = tmp_path / "state"
    with closing(open_store(f"sqlite:///{tmp_path}/state.sqlite", state)) as store:
        yield Mirror(tmp_path / "tree", store)


def test_what_the_last_run_published_and_the_tree_has_is_there(mirror: Mirror) -> None:
    assert mirror.is_there() and not mirror.is_there(OTHER)


#: What is known, or has happened, by which nobody can be sure that it is there.
DOUBTS: dict[str, Callable[[Mirror], object]] = {
    "somebody waits": lambda mirror: mirror.store.add_request("debian", ALL, trigger="cron"),
    "the last run failed": lambda mirror: mirror.ran(outcome=Outcome.FAILED),
    "the last run was interrupted": lambda mirror: mirror.ran(outcome=Outcome.INTERRUPTED),
    "the last run died": lambda mirror: (mirror.begin(), mirror.store.recover("debian")),
    "a run died, and nobody has noticed": lambda mirror: mirror.begin(),
    "something else is served": lambda mirror: mirror.ran(generation=OTHER),
    "the tree was changed by hand": lambda mirror: mirror.release.write_text(f"{RELEASE}Version: 1\n"),
    "the tree was emptied by hand": lambda mirror: mirror.release.unlink(),
    "the tree is gone": lambda mirror: mirror.archive.path.rename(mirror.archive.path.with_name("x")),
    "a Release is damaged": lambda mirror: mirror.release.write_text("no field"),
    "a Release cannot be read": lambda mirror: (mirror.release.unlink(), mirror.release.mkdir()),
    "other architectures are mirrored": lambda mirror: mirror.change(architectures=["amd64"]),
    "it is its owner's": lambda mirror: mirror.change(upstream=None),
    "nothing but stage 1 is known": lambda mirror: [mirror.ran(ONE) for _ in range(20)],
}


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS)
def test_when_in_doubt_there_is_a_run(mirror: Mirror, doubt: Callable[[Mirror], object]) -> None:
    doubt(mirror)
    assert not mirror.is_there()


def test_what_stage_1_fetches_ahead_changes_nothing_of_what_is_served(mirror: Mirror) -> None:
    mirror.ran(ONE, Outcome.FAILED)
    assert mirror.is_there()


def test_a_run_that_is_under_way_does_not_make_it_untrue(mirror: Mirror) -> None:
    mirror.begin()
    with locks.locked(mirror.archive.path):
        assert mirror.is_there()


def test_what_was_righted_counts_again(mirror: Mirror) -> None:
    mirror.ran(outcome=Outcome.FAILED)
    mirror.ran()
    assert mirror.is_there()


def test_a_plain_tree_is_left_to_a_run(mirror: Mirror) -> None:
    mirror.release.unlink()
    mirror.ran(generation=OTHER)
    assert not mirror.is_there(OTHER)
