"""What becomes of names that change their kind, in trees of a temporary directory."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.config.model import Delete
from pushmirror.inventory.diff import Diff
from pushmirror.sync import deletion
from pushmirror.sync.kind_changes import KindChanges, plan_kind_changes
from pushmirror.tree.work_area import WorkArea

SUMS = "dists/sid/main/installer-amd64/1/images/SHA256SUMS"
COPY = "dists/sid/main/installer-amd64/1/images/by-hash/SHA256/00"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def put(tree: Path, path: str, text: str) -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)


def settled(
    tree: Path,
    diff: Diff,
    needed: Callable[[Collection[str]], set[str]] = set,
    limits: Delete | None = None,
) -> KindChanges:
    """Where everything is needed, unless told otherwise."""
    decide = partial(deletion.decide, kept=(), files_here=diff.files_here, limits=limits)
    return plan_kind_changes(diff, (), tree, WorkArea(tree), needed=needed, decide=decide)


def becoming_links(tree: Path, **files: int) -> Diff:
    """Directories with so many files, which become links to others of the same names in `new`."""
    for name, number in files.items():
        for count in range(number):
            put(tree, f"{name}/{count}", "old")
        put(tree, f"new/{name}/readme", "new")
    return Diff(
        links={name: Entry(name, Kind.LINK, target=f"new/{name}") for name in files},
        in_the_way=[f"{name}/{count}" for name, number in files.items() for count in range(number)],
        files_here=1000,
    )


@pytest.mark.parametrize(("there", "becomes_link"), [("sums", True), ("others", False)])
def test_a_file_that_is_needed_becomes_a_link_to_the_same_content_only(
    tree: Path, there: str, becomes_link: bool
) -> None:
    put(tree, SUMS, "sums")
    put(tree, COPY, there)
    diff = Diff(links={SUMS: Entry(SUMS, Kind.LINK, target="by-hash/SHA256/00")})
    settled(tree, diff)
    assert (SUMS in diff.links) == becomes_link
    assert (tree / SUMS).is_file()


def test_what_is_needed_of_a_directory_that_becomes_a_link_is_carried_to_where_it_leads(tree: Path) -> None:
    old, new = f"dists/a/{COPY[10:]}", f"dists/b/{COPY[10:]}"
    put(tree, old, "graced")
    diff = Diff(links={"dists/a": Entry("dists/a", Kind.LINK, target="b")}, in_the_way=[old])
    assert settled(tree, diff) == KindChanges(carried={new: old})


def test_a_directory_stays_where_a_link_would_lead_what_is_needed_to_another_content(tree: Path) -> None:
    put(tree, "pool/a/x.deb", "right")
    put(tree, "pool/b/x.deb", "something else")
    diff = Diff(links={"pool/a": Entry("pool/a", Kind.LINK, target="b")}, in_the_way=["pool/a/x.deb"])
    diff.digest = "0" * 64
    assert settled(tree, diff) == KindChanges(staying={"pool/a"})
    assert not diff.links and not diff.digest


def test_a_directory_with_what_is_needed_does_not_become_a_file(tree: Path) -> None:
    put(tree, "pool/a/x.deb", "right")
    diff = Diff(changed={"pool/a": Entry("pool/a", Kind.FILE, 1, 0)}, in_the_way=["pool/a/x.deb"])
    changes = settled(tree, diff)
    assert changes.leave("pool/a") and not diff.changed


def test_a_directory_that_would_lose_too_much_stays_and_others_change(tree: Path) -> None:
    diff = becoming_links(tree, doc=7, tools=2)
    changes = settled(tree, diff, lambda _: set(), Delete(max_files=5))
    assert changes.staying == {"doc"} and list(diff.links) == ["tools"] and not changes.stuck
    assert sorted(changes.gone) == ["tools/0", "tools/1"]
    assert changes.withheld.withheld == len(changes.withheld.withheld_paths) == 7
    assert "delete.max_files = 5" in changes.withheld.reason


@pytest.mark.parametrize(("name", "stuck"), [("doc/readme", ["doc"]), ("doc/other", [])])
def test_a_directory_cannot_stay_where_the_target_needs_what_the_link_leads_to(
    tree: Path, name: str, stuck: list[str]
) -> None:
    diff = becoming_links(tree, doc=7)
    assert settled(tree, diff, {name}.intersection, Delete(max_files=5)).stuck == stuck


def test_a_suite_that_would_lose_too_much_cannot_stay_what_it_is(tree: Path) -> None:
    put(tree, "dists/a/InRelease", "old")
    link = Entry("dists/a", Kind.LINK, target="b")
    diff = Diff(links={"dists/a": link}, in_the_way=["dists/a/InRelease"])
    assert settled(tree, diff, lambda _: set(), Delete(max_files=0)).stuck == ["dists/a"]
