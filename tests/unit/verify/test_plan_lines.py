import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.verify.inventory_lines import line_of_entry
from pushmirror.verify.plan_lines import (
    LineKind,
    expectations,
    key_in,
    key_of,
    line_of_file,
    lines_of_directory,
    merged,
    parse,
)

A, B = "a" * 64, "b" * 64
BY_INDEX = line_of_file("pool", "x", "5", A, "f")
OTHERWISE = line_of_file("pool", "x", "5", B, "f")
BY_LIST = line_of_file("pool", "x", "", A, "o")
BY_INVENTORY = line_of_entry(Entry("pool/x", Kind.FILE, 7, 99, sha256=B))
UNHASHED = line_of_entry(Entry("pool/x", Kind.FILE, 7, 99))
LINK = line_of_entry(Entry("pool/x", Kind.LINK, target="y"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([BY_INDEX, BY_INDEX], (LineKind.FILE, 5, A, None)),
        ([BY_INDEX, BY_INVENTORY], (LineKind.FILE, 5, A, 99)),  # the index counts
        ([BY_LIST], (LineKind.OPTIONAL, None, A, None)),
        ([BY_LIST, BY_INVENTORY], (LineKind.FILE, 7, A, 99)),  # it is mirrored, then
        ([BY_LIST, BY_INDEX], (LineKind.FILE, 5, A, None)),
        ([UNHASHED], (LineKind.FILE, 7, "", 99)),
        ([UNHASHED, BY_INDEX], (LineKind.FILE, 5, A, 99)),
        ([BY_INDEX, OTHERWISE], (LineKind.FILE, 5, f"{A},{B}", None)),
        ([LINK], (LineKind.LINK, None, "", None)),
        ([LINK, BY_INDEX], (LineKind.FILE, 5, A, None)),
    ],
)
def test_what_is_known_of_a_name_becomes_one_line(lines, expected):
    found = expectations(lines)["pool/x"]
    assert (found.what, found.size, found.digest, found.mtime) == expected


def test_indices_that_disagree_are_noticed():
    assert expectations([BY_INDEX, OTHERWISE])["pool/x"].disputed
    assert not expectations([BY_INDEX, BY_INVENTORY])["pool/x"].disputed


def test_lines_sort_as_a_tree_is_read_one_directory_after_the_other():
    paths = ["z", "a/b/c", "a-b/x", "a/z", "a/b.txt", "a/\udcff"]
    lines = [line_of_file(*path.rpartition("/")[::2], "1", A, "f") for path in paths]
    lines += [line for directory in ("", "a", "a/b", "a-b") for line in lines_of_directory(directory)]
    names = [key_in(line).replace(b"\0", b"|") for line, _ in merged(sorted(lines))]
    assert names == [
        *(b"|", b"|a", b"|a-b", b"|z"),
        *(b"a|", b"a|b", b"a|b.txt", b"a|z", b"a|\xff"),
        *(b"a-b|", b"a-b|x"),
        *(b"a/b|", b"a/b|c"),
    ]


@pytest.mark.parametrize("path", ["x", "a/b/c", "a/\udcff"])
def test_the_key_of_a_path_is_that_of_its_line(path):
    assert key_in(line_of_entry(Entry(path, Kind.FILE))) == key_of(path)


def test_a_directory_that_is_named_is_more_than_one_that_something_is_in():
    named = line_of_entry(Entry("a/b", Kind.DIRECTORY))
    found = expectations([*lines_of_directory("a/b"), named])
    assert found["a/b"].what is LineKind.DIRECTORY


MD5 = "1" * 32


@pytest.mark.parametrize(
    ("digests", "known", "disputed"),
    [((B, MD5), B, False), ((MD5, MD5), MD5, False), ((MD5, "2" * 32), f"{MD5},{'2' * 32}", True)],
)
def test_indices_that_list_other_kinds_of_hashes_do_not_disagree(
    digests: tuple[str, ...], known: str, disputed: bool
) -> None:
    lines = sorted(line_of_file("pool", "x", "7", digest, "f") for digest in digests)
    ((line, _),) = merged(lines)
    found = parse(line.decode().split("\0"))
    assert (found.digest, found.disputed) == (known, disputed)
