import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushmirror.archive import compression, manifest_parts
from pushmirror.archive.manifest_parts import (
    Change,
    Part,
    order_of,
    pack_snapshot,
    read_change,
    read_snapshot,
    render_change,
)
from pushmirror.archive.paths import Entry, Kind, link_stays_inside
from pushmirror.errors import ArchiveError, BadPath, MalformedFile, Mismatch, UnknownVersion

from .edits import EDITS, edited

H = "0123456789abcdef" * 4

NAMES = st.one_of(
    st.sampled_from(["a", "a-b", "a.deb", ".", "..x", "-", "end", "é", "\udcff", "x" * 255, " "]),
    st.text(st.characters(exclude_characters="/", exclude_categories=("Cc", "Cs")), min_size=1, max_size=5),
).filter(lambda name: name not in {".", ".."} and len(name.encode("utf-8", "surrogateescape")) < 256)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def entry(draw: st.DrawFn) -> Entry:
    path, kind = draw(PATHS), draw(st.sampled_from(Kind))
    if kind is Kind.LINK:
        target = draw(st.sampled_from([".", "b", "../b", "a/./b", "é", "\udcff"]) | PATHS)
        return Entry(path, kind, target=target if link_stays_inside(path, target) else "b")
    if kind is Kind.DIRECTORY:
        return Entry(path, kind)
    size, mtime = draw(st.integers(0, 2**50)), draw(st.integers(-(2**40), 2**63 - 1))
    return Entry(path, kind, size, mtime, "", draw(st.sampled_from(["", H, "a" * 64])))


ENTRIES = st.lists(entry(), max_size=12, unique_by=lambda one: one.path.encode("utf-8", "surrogateescape"))


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda one: order_of(one.path))


def part_of(data: bytes, entries: int) -> Part:
    return Part("part.gz", len(data), hashlib.sha256(data).hexdigest(), entries)


def plain(entries: list[Entry]) -> str:
    return gzip.decompress(b"".join(pack_snapshot(entries))).decode("utf-8", "surrogateescape")


def snapshot(text: str, entries: int) -> list[Entry]:
    return unpacked(gzip.compress(text.encode("utf-8", "surrogateescape")), entries)


def unpacked(data: bytes, entries: int, step: int = 1000) -> list[Entry]:
    chunks = (data[start : start + step] for start in range(0, len(data), step))
    return list(read_snapshot(chunks, part_of(data, entries), where="S"))


def change(text: str, entries: int) -> Change:
    return change_of(gzip.compress(text.encode()), entries)


def change_of(data: bytes, entries: int = 1) -> Change:
    return read_change(data, part_of(data, entries), where="C")


@given(entries=ENTRIES, block=st.sampled_from([60, 300, 10_000]), step=st.sampled_from([1, 7, 1000]))
def test_a_snapshot_comes_back_as_it_was(entries: list[Entry], block: int, step: int) -> None:
    data = b"".join(pack_snapshot(ordered(entries)))
    with mock.patch.object(compression, "_BLOCK", block):
        assert unpacked(data, len(entries), step) == ordered(entries)


@given(removed=ENTRIES, added=ENTRIES)
def test_a_change_comes_back_as_it_was(removed: list[Entry], added: list[Entry]) -> None:
    told = Change(tuple(removed), tuple(added))
    data = render_change(told)
    expected = Change(tuple(ordered(removed)), tuple(ordered(added)))
    assert read_change(data, part_of(data, len(told)), where="C") == expected


def test_the_same_entries_are_the_same_bytes_whatever_the_time() -> None:
    one = [Entry("a", Kind.FILE, 1, 2)]
    data = b"".join(pack_snapshot(one))
    assert data == b"".join(pack_snapshot(one)) and data[4:8] == bytes(4)


SNAPSHOT = f"""pushmirror-snapshot 1
f\tREADME\t120\t1700000000\t-
d\tdists
l\tlatest\tdists/trixie
d\tpool
/\tpool
f\ta.deb\t0\t-1\t{H}
f\tb.deb\t3\t0\t-
end\t6
"""


def test_the_format_is_as_documented() -> None:
    entries = snapshot(SNAPSHOT, 6)
    assert entries[0] == Entry("README", Kind.FILE, 120, 1700000000)
    assert entries[2] == Entry("latest", Kind.LINK, target="dists/trixie")
    assert entries[4] == Entry("pool/a.deb", Kind.FILE, 0, -1, "", H)
    assert plain(entries) == SNAPSHOT


BAD_SNAPSHOTS = {
    "nothing at all": "",
    "no first line": SNAPSHOT.partition("\n")[2],
    "another format": SNAPSHOT.replace("-snapshot", "-change"),
    "no version": SNAPSHOT.replace(" 1\n", "\n", 1),
    "a strange version": SNAPSHOT.replace(" 1\n", " 01\n", 1),
    "cut in a line": SNAPSHOT[:-2],
    "cut before the end": SNAPSHOT.partition("end")[0],
    "a line after the end": SNAPSHOT + "d\tz\n",
    "two ends": SNAPSHOT + "end\t6\n",
    "an end with another count": SNAPSHOT.replace("end\t6", "end\t5"),
    "a count with a zero before it": SNAPSHOT.replace("end\t6", "end\t06"),
    "one entry more": SNAPSHOT.replace("end\t6", "d\tx\nend\t7"),
    "one entry fewer": SNAPSHOT.replace("d\tdists\n", "").replace("end\t6", "end\t5"),
    "an empty line": SNAPSHOT.replace("end", "\nend"),
    "an unknown kind": SNAPSHOT.replace("d\tdists", "p\tdists"),
    "a marked line": SNAPSHOT.replace("d\tdists", "+d\tdists"),
    "a field too many": SNAPSHOT.replace("d\tdists", "d\tdists\t"),
    "a field too few": SNAPSHOT.replace("\t120", ""),
    "a name twice": SNAPSHOT.replace("b.deb", "a.deb"),
    "names in another order": SNAPSHOT.replace("b.deb", "Z.deb"),
    "a directory again": SNAPSHOT.replace("end", "/\tpool\nend"),
    "directories in another order": SNAPSHOT.replace("end", "/\tdists\nend"),
    "the root again": SNAPSHOT.replace("end", "/\t\nend"),
    "a slash in a name": SNAPSHOT.replace("b.deb", "b/b.deb"),
    "an empty name": SNAPSHOT.replace("README", ""),
    "a name that climbs": SNAPSHOT.replace("README", ".."),
    "a name that is no name": SNAPSHOT.replace("README", "."),
    "a directory that climbs": SNAPSHOT.replace("/\tpool", "/\tpool/../.."),
    "an absolute directory": SNAPSHOT.replace("/\tpool", "/\t/etc"),
    "a directory with a dot": SNAPSHOT.replace("/\tpool", "/\t./pool"),
    "a name that is too long": SNAPSHOT.replace("README", "R" * 256),
    "a path that is too long": SNAPSHOT.replace("/\tpool", "/\t" + "/".join(["p" * 255] * 16)),
    "a control character": SNAPSHOT.replace("README", "READ\x1bME"),
    "a control character above ASCII": SNAPSHOT.replace("README", "READ\x9bME"),
    "a carriage return": SNAPSHOT.replace("README", "README\r"),
    "a link that climbs": SNAPSHOT.replace("\tdists/", "\t../dists/"),
    "an absolute link": SNAPSHOT.replace("\tdists/", "\t/dists/"),
    "a link to nothing": SNAPSHOT.replace("\tdists/trixie", "\t"),
    "a link that is too long": SNAPSHOT.replace("\tdists/", "\t" + "a/" * 2048),
    "a negative size": SNAPSHOT.replace("120", "-120"),
    "a size with a zero before it": SNAPSHOT.replace("120", "0120"),
    "a size that is none": SNAPSHOT.replace("120", "1_0"),
    "an absurd size": SNAPSHOT.replace("120", str(2**50 + 1)),
    "a time that is none": SNAPSHOT.replace("1700000000", "-0"),
    "an absurd time": SNAPSHOT.replace("1700000000", str(2**63)),
    "a short hash": SNAPSHOT.replace(H, H[1:]),
    "a hash in capitals": SNAPSHOT.replace(H, H.upper()),
    "no hash": SNAPSHOT.replace(H, ""),
    "a very long line": SNAPSHOT.replace("README", "R" * 300_000),
}


@pytest.mark.parametrize("text", BAD_SNAPSHOTS.values(), ids=BAD_SNAPSHOTS.keys())
@pytest.mark.parametrize("block", [30, 256 * 1024])
def test_a_malformed_snapshot_is_refused(text: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_BLOCK", block)
    with pytest.raises(MalformedFile, match=r"^S: "):
        snapshot(text, 6)


def test_an_error_names_the_line() -> None:
    with pytest.raises(MalformedFile, match=r"^S: line 8: expected a name that comes after the one before"):
        snapshot(SNAPSHOT.replace("b.deb", "a.deb"), 6)


def test_a_later_version_says_so() -> None:
    with pytest.raises(UnknownVersion, match="expected version 1 of pushmirror-snapshot, found 2") as caught:
        snapshot(SNAPSHOT.replace(" 1\n", " 2\n", 1), 6)
    assert caught.value.hint == "install a newer pushmirror to read it"


CHANGE = f"pushmirror-change 1\n-f\ta\t1\t2\t-\n+l\ta\tb\n/\tb\n-d\tc\n+f\tc\t1\t2\t{H}\nend\t4\n"


def test_what_is_replaced_is_in_both_parts_of_a_change() -> None:
    told = change(CHANGE, 4)
    assert [one.path for one in told.removed] == [one.path for one in told.added] == ["a", "b/c"]
    assert told.added == (Entry("a", Kind.LINK, target="b"), Entry("b/c", Kind.FILE, 1, 2, "", H))


BAD_CHANGES = {
    "an entry without a mark": CHANGE.replace("-d\tc", "d\tc"),
    "a marked directory": CHANGE.replace("/\tb", "+/\tb"),
    "a marked end": CHANGE.replace("end", "-end"),
    "a marked first line": "+" + CHANGE,
    "added before removed": CHANGE.replace("-d\tc", "+d\tc").replace("+f\tc", "-f\tc"),
    "removed twice": CHANGE.replace("+f\tc", "-f\tc"),
    "two marks": CHANGE.replace("-d", "--d"),
    "no end": CHANGE.partition("end")[0],
    "a link that climbs": CHANGE.replace("+l\ta\tb", "+l\ta\t../b"),
    "a snapshot": CHANGE.replace("-change", "-snapshot"),
}


@pytest.mark.parametrize("text", BAD_CHANGES.values(), ids=BAD_CHANGES.keys())
def test_a_malformed_change_is_refused(text: str) -> None:
    with pytest.raises(MalformedFile, match=r"^C: "):
        change(text, 4)


def test_a_change_of_more_entries_than_memory_is_not_read() -> None:
    with pytest.raises(MalformedFile, match="at most 250000 entries, found 250001"):
        change(CHANGE, 250_001)


@pytest.mark.parametrize(("number", "is_read"), [(10, True), (11, False)])
def test_the_number_of_directories_is_bounded(
    monkeypatch: pytest.MonkeyPatch, number: int, is_read: bool
) -> None:
    monkeypatch.setattr(manifest_parts, "MAX_DIRECTORIES", 10)
    names = [f"d{index:03}" for index in range(number)]
    made = [Entry(name, Kind.DIRECTORY) for name in names]
    made += [Entry(f"{name}/x", Kind.FILE, 1, 1, "", H) for name in names]
    compression = b"".join(pack_snapshot(made))
    part = Part("snapshot", len(compression), hashlib.sha256(compression).hexdigest(), len(made))
    if is_read:
        assert list(read_snapshot([compression], part, where="S")) == made
    else:
        with pytest.raises(MalformedFile, match=r"^S: line \d+: expected no more than 10 directories"):
            list(read_snapshot([compression], part, where="S"))


PACKED = gzip.compress(SNAPSHOT.encode())
DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-9],
    "without its checksum": lambda data: data[:-8],
    "something behind": lambda data: data + b"x",
    "another stream behind": lambda data: data + gzip.compress(b""),
    "not packed": gzip.decompress,
    "empty": lambda data: data[:0],
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("step", [1, 1000])
def test_a_file_that_is_no_whole_gzip_is_refused(damage: Callable[[bytes], bytes], step: int) -> None:
    with pytest.raises(MalformedFile, match=r"^S: "):
        unpacked(damage(PACKED), 6, step)


@pytest.mark.parametrize("data", [PACKED + b"x", PACKED[:-1], PACKED[:-1] + b"x"])
def test_other_bytes_than_the_head_names_are_refused(data: bytes) -> None:
    with pytest.raises((Mismatch, MalformedFile), match=r"^S: "):
        list(read_snapshot([data], part_of(PACKED, 6), where="S"))


def test_a_wrong_hash_is_found_when_all_is_read() -> None:
    wrong = Part("part.gz", len(PACKED), H, 6)
    with pytest.raises(Mismatch, match="expected SHA256 0123"):
        list(read_snapshot([PACKED], wrong, where="S"))
    with pytest.raises(Mismatch, match="expected SHA256 0123"):
        read_change(PACKED, wrong, where="C")


BOMBS = {
    "one line": b"f\t" + b"a" * 50_000_000,
    "many lines": b"pushmirror-snapshot 1\n" + b"".join(b"/\t%09d\n" % number for number in range(2_000_000)),
    "many blank lines": b"pushmirror-snapshot 1\n" + b"\n" * 50_000_000,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_not_unpacked(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, sizes = compression._Stream.feed, []

    def counted(self: compression._Stream, chunk: bytes) -> Iterator[bytes]:
        for piece in feed(self, chunk):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(compression._Stream, "feed", counted)
    data = gzip.compress(text, 1)
    for read in (lambda: list(read_snapshot([data], part_of(data, 1), where="S")), lambda: change_of(data)):
        with pytest.raises(MalformedFile):
            read()
    assert sum(sizes) <= 2 * compression._BLOCK


LINES = st.sampled_from(
    [
        *("d\ta", "d\tb", "d\tc", f"f\ta\t1\t2\t{H}", "f\tb\t1\t2\t-", "f\tc\t0\t-5\t-", "f\td\t01\t2\t-"),
        *("l\ta\tb", "l\tb\t../x", "f\té\t1\t2\t-", "f\t..\t1\t2\t-", "/\ta", "/\tb", "/\ta/b", "/\t..", "/"),
        *("end\t3", "end\t5", "f\ta/b\t1\t2\t-", "f\ta\t1\t2", "x", "", f"f\te\t{2**50 + 1}\t2\t-"),
    ]
)


def outcome(text: str, entries: int) -> list[Entry] | str:
    try:
        return snapshot(text, entries)
    except MalformedFile as exc:
        return str(exc)


@settings(max_examples=300)
@given(lines=st.lists(LINES, max_size=8), block=st.sampled_from([10, 40]), entries=st.integers(0, 9))
@example(lines=[f"f\t{name}\t1\t2\t-" for name in "abccdefgh"], block=40, entries=9)
def test_both_readers_say_the_same(lines: list[str], block: int, entries: int) -> None:
    text = "".join(f"{line}\n" for line in ["pushmirror-snapshot 1", *lines, f"end\t{entries}"])
    with mock.patch.object(compression, "_BLOCK", block):
        quick = outcome(text, entries)
        with mock.patch.object(manifest_parts, "_is_ordinary", return_value=False):
            assert outcome(text, entries) == quick


@settings(max_examples=200)
@given(edits=EDITS, is_packed=st.booleans())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(
    edits: list[tuple[int, int, bytes]], is_packed: bool
) -> None:
    data = edited(PACKED, edits) if is_packed else gzip.compress(edited(SNAPSHOT.encode(), edits))
    other = edited(gzip.compress(CHANGE.encode()), edits)
    try:
        entries = unpacked(data, 6)
        read_change(other, part_of(other, 4), where="C")
    except ArchiveError:
        return
    assert [order_of(one.path) for one in entries] == sorted({order_of(one.path) for one in entries})


def test_a_path_that_climbs_is_an_error_of_its_own() -> None:
    with pytest.raises(BadPath, match=r"^S: line 6: the path 'pool/\.\./\.\.' has the component"):
        snapshot(BAD_SNAPSHOTS["a directory that climbs"], 6)
