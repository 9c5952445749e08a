"""What is known of a tree before, during and after a change of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.config.model import Archive
from pushmirror.fetch.selection import selection_hash
from pushmirror.inventory.diff import Survey
from pushmirror.inventory.inventory import Inventory
from pushmirror.progress import Silent
from pushmirror.sync.tracking import NOT_COMPARED, SOMEWHERE, Bookkeeping, Places

A, B = "a" * 64, "b" * 64


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    return Archive(name="debian", path=tmp_path / "tree", exclude=("none",))


@pytest.fixture
def books(archive: Archive, tmp_path: Path) -> Iterator[Bookkeeping]:
    places = Places(
        *(tmp_path / name for name in ("ledger", "inventory", "upstream")), None, tmp_path / "suites"
    )
    books = Bookkeeping(archive, places, Silent())
    with books.open():
        books.inventory.reconcile(archive.path, progress=Silent())
        books.inventory.follow(A, selection_hash(archive))
        yield books


def changing(*, digest: str = "", covers_all: bool = True, compared_disk: bool = False) -> Survey:
    survey = Survey(digest=digest, covers_all=covers_all, compared_disk=compared_disk)
    survey.add_missing(Entry("pool/new", Kind.FILE, 1, 1))
    return survey


BY_MANIFEST = changing(digest=B)
BY_INDEX = changing(covers_all=False)
BY_FULL = changing(compared_disk=True)


def known(inventory: Inventory) -> tuple[str, str]:
    return inventory.followed, inventory.heading


@pytest.mark.parametrize(
    ("survey", "prepared", "publishing", "arrived"),
    [
        (BY_MANIFEST, (A, B), (A, B), (B, "")),
        (BY_INDEX, ("", ""), ("", SOMEWHERE), ("", "")),
        (BY_FULL, ("", ""), ("", SOMEWHERE), ("", "")),
    ],
)
def test_a_change_is_not_taken_for_done_before_it_is(
    books: Bookkeeping,
    survey: Survey,
    prepared: tuple[str, str],
    publishing: tuple[str, str],
    arrived: tuple[str, str],
) -> None:
    books.prepare_for(survey)
    assert known(books.inventory) == prepared
    books.publishing(survey)
    assert known(books.inventory) == publishing
    books.arrived(survey, complete=True)
    assert known(books.inventory) == arrived


def test_what_changed_nothing_leaves_everything_as_it_was(books: Bookkeeping) -> None:
    nothing = Survey(covers_all=False)
    books.prepare_for(nothing)
    books.publishing(nothing)
    books.arrived(nothing, complete=True)
    assert books.inventory.heading == ""


def test_a_full_comparison_that_lacks_something_is_none(books: Bookkeeping) -> None:
    books.prepare_for(BY_FULL)
    books.publishing(BY_FULL)
    books.arrived(BY_FULL, complete=False)
    assert books.inventory.selection == NOT_COMPARED


def test_a_run_that_did_not_arrive_is_remembered_as_under_way(books: Bookkeeping) -> None:
    books.prepare_for(BY_MANIFEST)
    books.publishing(BY_MANIFEST)
    books.arrived(BY_MANIFEST, complete=False)
    assert known(books.inventory) == (A, B)


def test_a_narrower_selection_ends_what_was_followed_before_anything_is_deleted(
    books: Bookkeeping, archive: Archive
) -> None:
    books.inventory.follow(A, selection_hash(archive) + 1)
    books.prepare_for(BY_MANIFEST)
    assert known(books.inventory) == ("", "")
    assert books.inventory.selection == selection_hash(archive) + 1
