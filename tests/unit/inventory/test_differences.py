"""A manifest against an inventory, name by name; and that it finds what a listing against the disk finds."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.archive.filters import Selection, exclude_rules
from pushmirror.archive.paths import Entry, Kind
from pushmirror.inventory.diff import Diff, DiskDiff, InventoryDiff, scanner

ALL = Selection()


def file(path: str, size: int = 1, mtime: int = 1000) -> Entry:
    return Entry(path, Kind.FILE, size, mtime)


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.LINK, target=target)


def directory(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY)


def survey_of(theirs: list[Entry], ours: list[Entry], selection: Selection = ALL) -> Diff:
    there, here = ({entry.path: entry for entry in entries} for entries in (theirs, ours))

    def below(path: str) -> list[Entry]:
        return [entry for entry in ours if entry.path.startswith(f"{path}/")]

    differences = InventoryDiff(selection, below)
    for path in sorted({*there, *here}):
        differences.take(path, there.get(path), here.get(path))
    return differences.diff


def told(diff: Diff) -> dict[str, object]:
    """All that a survey says of names, in no order."""
    return {
        "early": {entry.path for entry in diff.early},
        "missing": set(diff.missing),
        "changed": set(diff.changed),
        "links": {path: entry.target for path, entry in diff.links.items()},
        "directories": set(diff.directories),
        "extras": set(diff.extras),
        "obstructing": set(diff.in_the_way),
        "extra_directories": set(diff.extra_directories),
        "upstream_links": diff.upstream_links,
    }


@pytest.mark.parametrize(
    ("theirs", "ours", "kind", "expected"),
    [
        (file("pool/a"), None, "early", {"pool/a"}),
        (file("dists/s/Packages"), None, "missing", {"dists/s/Packages"}),
        (file("a", 2), file("a"), "changed", {"a"}),
        (file("a", 1, 999), file("a"), "changed", {"a"}),
        (file("a"), link("a", "b"), "changed", {"a"}),
        (link("a", "b"), link("a", "c"), "links", {"a": "b"}),
        (link("a", "b"), file("a"), "links", {"a": "b"}),
        (directory("a"), file("a"), "directories", {"a"}),
        (None, file("a"), "extras", {"a"}),
        (None, directory("a"), "extra_directories", {"a"}),
        (None, directory("project/trace"), "extra_directories", set()),
        (link("project/trace", "elsewhere"), None, "directories", {"project/trace"}),
    ],
)
def test_a_name_that_differs_is_told(
    theirs: Entry | None, ours: Entry | None, kind: str, expected: object
) -> None:
    found = told(survey_of([theirs] if theirs else [], [ours] if ours else []))
    assert found[kind] == expected


@pytest.mark.parametrize("entry", [file("a"), link("a", "b"), directory("a")])
def test_a_name_that_is_the_same_is_not_told(entry: Entry) -> None:
    found = told(survey_of([entry], [entry]))
    assert not any(names for kind, names in found.items() if kind != "upstream_links")


def test_a_hash_that_only_one_of_them_knows_is_no_difference() -> None:
    assert not survey_of([file("a")._replace(sha256="0" * 64)], [file("a")]).changed


def test_what_is_below_a_directory_leaves_when_a_file_takes_its_name() -> None:
    diff = survey_of([file("a")], [directory("a"), file("a/b"), directory("a/c"), file("a/c/d")])
    assert set(diff.in_the_way) == {"a/b", "a/c/d"} and "a" in diff.changed


def test_what_is_not_mirrored_is_only_here() -> None:
    selection = Selection(tuple(exclude_rules(["*.iso"])))
    diff = survey_of([file("a.iso"), file("b.iso"), file("c")], [file("a.iso")], selection)
    assert (diff.extras, [entry.path for entry in diff.early]) == (["a.iso"], ["c"])


NAMES = st.sampled_from(
    ["a", "b", "pool/x", "pool/y", "pool/y/z", "dists/s/Release", "dists/s/main/Packages", "d/e/f"]
)
LEAVES = st.one_of(
    st.tuples(st.just("file"), st.integers(0, 2), st.integers(1000, 1001)),
    st.tuples(st.just("link"), st.sampled_from(["a", "b"]), st.just(0)),
    st.tuples(st.just("directory"), st.just(0), st.just(0)),
)
TREES = st.dictionaries(NAMES, LEAVES, max_size=6)


def entries_of(tree: dict[str, tuple[str, object, int]]) -> list[Entry]:
    """A tree's entries with their directories, depth first as rsync lists them."""
    found: dict[str, Entry] = {}
    for path, (kind, what, mtime) in tree.items():
        if any(tree.get(str(parent), ("directory",))[0] != "directory" for parent in Path(path).parents):
            continue
        for parent in [*Path(path).parents][:-1]:
            found.setdefault(str(parent), directory(str(parent)))
        match kind:
            case "file":
                found[path] = file(path, int(str(what)), mtime)
            case "link":
                found[path] = link(path, str(what))
            case _:
                found[path] = directory(path)
    return [found[path] for path in sorted(found, key=lambda path: path.split("/"))]


def make(entries: list[Entry], top: Path) -> None:
    for entry in entries:
        path = top / entry.path
        match entry.kind:
            case Kind.FILE:
                path.write_bytes(b"x" * entry.size)
                path.chmod(0o644)
                os.utime(path, (entry.mtime, entry.mtime))
            case Kind.LINK:
                path.symlink_to(entry.target)
            case Kind.DIRECTORY:
                path.mkdir()
                path.chmod(0o755)


@settings(max_examples=80, deadline=None)
@given(theirs=TREES, ours=TREES)
def test_manifest_and_inventory_tell_the_same_as_listing_and_disk(
    tmp_path_factory: pytest.TempPathFactory,
    theirs: dict[str, tuple[str, object, int]],
    ours: dict[str, tuple[str, object, int]],
) -> None:
    there, here = entries_of(theirs), entries_of(ours)
    top = tmp_path_factory.mktemp("tree")
    make(here, top)
    comparison = DiskDiff(top, scanner(top, leave_out=lambda _: False))
    for entry in there:
        comparison.take(entry)
    assert told(survey_of(there, here)) == told(comparison.finish())
