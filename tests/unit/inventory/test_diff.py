"""The comparison of a listing with a tree that is only told of."""

import os
import stat
from pathlib import Path

import pytest

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.paths import Entry, Kind
from pushmirror.errors import PushmirrorError
from pushmirror.inventory.diff import Diff, DiskDiff

FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def here(mode: int, size: int = 1, mtime: int = 1000) -> os.stat_result:
    times = dict.fromkeys(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), mtime * 10**9)
    return os.stat_result((mode, 0, 0, 1, 0, 0, size, mtime, mtime, mtime), times)


def file(path: str, size: int = 1, mtime: int = 1000) -> Entry:
    return Entry(path, Kind.FILE, size, mtime)


def directory(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, 0)


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.LINK, 0, 0, target)


def compare(tree: dict[str, dict[str, os.stat_result]], *entries: Entry) -> Diff:
    """A survey of `entries` against a tree told as names by directory."""
    comparison = DiskDiff(Path("/nonexistent"), lambda path: dict(tree.get(path, {})))
    for entry in entries:
        comparison.take(entry)
    return comparison.finish()


def unchanged(diff: Diff) -> bool:
    found = (diff.early, diff.missing, diff.changed, diff.links, diff.directories)
    return not any((*found, diff.extras, diff.extra_directories))


def test_an_equal_tree_is_empty_of_change() -> None:
    tree = {"": {"a": here(FILE), "d": here(DIRECTORY)}, "d": {"b": here(FILE)}}
    diff = compare(tree, file("a"), directory("d"), file("d/b"))
    assert unchanged(diff) and (diff.files_here, diff.files_upstream) == (2, 2)


@pytest.mark.parametrize(
    ("size", "mtime", "changed"), [(1, 1000, False), (2, 1000, True), (1, 1001, True), (1, 999, True)]
)
def test_a_file_of_another_size_or_time_has_changed(size: int, mtime: int, changed: bool) -> None:
    diff = compare({"": {"a": here(FILE, size, mtime)}}, file("a"))
    assert ("a" in diff.changed) is changed and diff.to_fetch == changed


def test_what_is_only_there_is_missing_and_what_is_only_here_is_extra() -> None:
    tree = {"": {"x": here(FILE), "d": here(DIRECTORY)}, "d": {"y": here(FILE), "l": here(LINK)}}
    diff = compare(tree, file("a"), directory("e"), file("e/b"))
    assert [entry.path for entry in diff.early] == ["a", "e/b"] and diff.directories == ["e"]
    assert sorted(diff.extras) == ["d/l", "d/y", "x"] and diff.extra_directories == ["d"]


def test_a_directory_where_upstream_has_a_file_is_told_with_all_below_it() -> None:
    tree = {"": {"a": here(DIRECTORY)}, "a": {"x": here(FILE)}}
    diff = compare(tree, file("a"))
    assert list(diff.changed) == ["a"] and diff.in_the_way == ["a/x"] and not diff.extras


def test_a_file_where_upstream_has_a_directory_makes_all_below_it_missing() -> None:
    diff = compare({"": {"a": here(FILE)}}, directory("a"), file("a/x"))
    assert diff.directories == ["a"] and [entry.path for entry in diff.early] == ["a/x"]


@pytest.mark.parametrize(
    ("path", "early"),
    [
        ("pool/a.deb", True),
        ("doc/a", True),
        ("dists/sid/main/binary-amd64/by-hash/SHA256/0", True),
        ("dists/sid/main/binary-amd64/Packages", False),
        ("dists/sid/InRelease", False),
    ],
)
def test_what_may_be_fetched_ahead_is_kept_apart(path: str, early: bool) -> None:
    diff = Diff()
    diff.add_missing(file(path))
    assert (len(diff.early), len(diff.missing), diff.to_fetch) == (early, not early, 1)


def test_a_link_that_leads_out_is_not_taken() -> None:
    diff = compare({}, link("a", "/etc"), link("b", "../x"), link("c", "d/../../x"))
    assert unchanged(diff) and not diff.upstream_links


def test_a_link_where_a_file_is_replaces_it() -> None:
    assert list(compare({"": {"a": here(FILE)}}, link("a", "b")).links) == ["a"]


@pytest.mark.parametrize(("mode", "listed"), [(0o644, False), (0o600, True), (0o755, True), (0o4644, True)])
def test_a_wrong_mode_is_told(mode: int, listed: bool) -> None:
    diff = compare({"": {"a": here(stat.S_IFREG | mode)}}, file("a"))
    assert diff.modes == ([("a", 0o644)] if listed else []) and not diff.changed


@pytest.mark.parametrize("path", ["../a", "/a", "a/b", "..", "", "a\nb", "d/../a", "x" * 300])
def test_a_name_that_does_not_belong_where_it_comes_is_refused(path: str) -> None:
    with pytest.raises(PushmirrorError):
        compare({}, file(path))


def test_a_name_that_comes_after_its_directory_was_left_is_refused() -> None:
    with pytest.raises(PushmirrorError, match="outside of its directory"):
        compare({}, directory("a"), directory("b"), file("b/x"), file("a/x"))


def test_the_digest_of_a_plain_tree_is_that_of_its_listing() -> None:
    digests = set()
    for entries in ([file("a")], [file("a", 2)], [file("a", 1, 7)], [file("b")], [link("a", "b")]):
        comparison = DiskDiff(Path("/nonexistent"), lambda _: {}, digest=TreeDigest())
        for entry in entries:
            comparison.take(entry)
        digests.add(comparison.finish().digest)
    assert len(digests) == 5


def test_names_are_told_in_the_order_of_publishing() -> None:
    diff = compare(
        {},
        directory("dists"),
        directory("dists/sid"),
        file("dists/sid/InRelease"),
        file("dists/sid/Release"),
        file("ls-lR.gz"),
        directory("pool"),
        file("pool/a"),
    )
    names = ["pool/a", "dists/sid/Release", "dists/sid/InRelease", "ls-lR.gz"]
    assert diff.names_in_publishing_order() == names
