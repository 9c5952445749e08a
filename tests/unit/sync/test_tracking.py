"""What is known of a tree before, during and after a change of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.config.model import Archive
from pushmirror.fetch.selection import selection_hash
from pushmirror.inventory.diff import Diff
from pushmirror.inventory.inventory import Inventory
from pushmirror.progress import Silent
from pushmirror.sync.tracking import NOT_COMPARED, SOMEWHERE, InventoryTracker
from pushmirror.workspace import StatePaths

A, B = "a" * 64, "b" * 64


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    return Archive(name="debian", path=tmp_path / "tree", exclude=("none",))


@pytest.fixture
def tracker(archive: Archive, tmp_path: Path) -> Iterator[InventoryTracker]:
    paths = StatePaths(
        *(tmp_path / name for name in ("ledger", "inventory", "upstream")), None, tmp_path / "suites"
    )
    tracker = InventoryTracker(archive, paths, Silent())
    with tracker.open():
        tracker.inventory.reconcile(archive.path, progress=Silent())
        tracker.inventory.arrive_at(A, selection_hash(archive))
        yield tracker


def changing(*, digest: str = "", covers_all: bool = True, compared_disk: bool = False) -> Diff:
    diff = Diff(digest=digest, covers_all=covers_all, compared_disk=compared_disk)
    diff.add_missing(Entry("pool/new", Kind.FILE, 1, 1))
    return diff


BY_MANIFEST = changing(digest=B)
BY_INDEX = changing(covers_all=False)
BY_FULL = changing(compared_disk=True)


def known(inventory: Inventory) -> tuple[str, str]:
    return inventory.followed, inventory.target


@pytest.mark.parametrize(
    ("diff", "prepared", "publishing", "arrived"),
    [
        (BY_MANIFEST, (A, B), (A, B), (B, "")),
        (BY_INDEX, ("", ""), ("", SOMEWHERE), ("", "")),
        (BY_FULL, ("", ""), ("", SOMEWHERE), ("", "")),
    ],
)
def test_a_change_is_not_taken_for_done_before_it_is(
    tracker: InventoryTracker,
    diff: Diff,
    prepared: tuple[str, str],
    publishing: tuple[str, str],
    arrived: tuple[str, str],
) -> None:
    tracker.prepare_for(diff)
    assert known(tracker.inventory) == prepared
    tracker.publishing(diff)
    assert known(tracker.inventory) == publishing
    tracker.arrived(diff, complete=True)
    assert known(tracker.inventory) == arrived


def test_what_changed_nothing_leaves_everything_as_it_was(tracker: InventoryTracker) -> None:
    nothing = Diff(covers_all=False)
    tracker.prepare_for(nothing)
    tracker.publishing(nothing)
    tracker.arrived(nothing, complete=True)
    assert tracker.inventory.target == ""


def test_a_full_comparison_that_lacks_something_is_none(tracker: InventoryTracker) -> None:
    tracker.prepare_for(BY_FULL)
    tracker.publishing(BY_FULL)
    tracker.arrived(BY_FULL, complete=False)
    assert tracker.inventory.selection == NOT_COMPARED


def test_a_run_that_did_not_arrive_is_remembered_as_under_way(tracker: InventoryTracker) -> None:
    tracker.prepare_for(BY_MANIFEST)
    tracker.publishing(BY_MANIFEST)
    tracker.arrived(BY_MANIFEST, complete=False)
    assert known(tracker.inventory) == (A, B)


def test_a_narrower_selection_ends_what_was_followed_before_anything_is_deleted(
    tracker: InventoryTracker, archive: Archive
) -> None:
    tracker.inventory.arrive_at(A, selection_hash(archive) + 1)
    tracker.prepare_for(BY_MANIFEST)
    assert known(tracker.inventory) == ("", "")
    assert tracker.inventory.selection == selection_hash(archive) + 1
