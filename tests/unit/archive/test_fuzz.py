"""Whatever bytes come from the network, the readers return a value or raise an ArchiveError."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.archive.clearsigned import split_clearsigned, suite_text_agrees
from pushmirror.archive.contents import decompress
from pushmirror.archive.index import IndexKind, read_index
from pushmirror.archive.paths import resolve, tree_path
from pushmirror.archive.release import parse_release
from pushmirror.archive.signature import judge
from pushmirror.errors import ArchiveError

from .test_clearsigned import message
from .test_contents import PACKERS, TEXT
from .test_index import DIFF, FIRST, SECOND, SOURCE
from .test_release import GOOD
from .test_signature import GOOD as GOOD_STATUS
from .test_signature import UNKNOWN, lines

DATE = b"Date: Sat, 11 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\n"


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def index_reader(kind: IndexKind) -> Callable[[bytes], object]:
    return lambda data: read_index(kind, data, base="d", where="I")


READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "Release": (lambda data: parse_release(data, where="Release"), DATE + GOOD),
    "InRelease": (lambda data: split_clearsigned(data, where="InRelease"), message(GOOD)),
    "both": (lambda data: suite_text_agrees(data, GOOD), message(GOOD)),
    "Packages": (index_reader(IndexKind.PACKAGES), f"{FIRST}\n{SECOND}".encode()),
    "Sources": (index_reader(IndexKind.SOURCES), SOURCE.encode()),
    "Index": (index_reader(IndexKind.DIFF_INDEX), DIFF.encode()),
    "status": (lambda data: judge(text(data), where="InRelease"), lines(GOOD_STATUS, UNKNOWN).encode()),
    "path": (lambda data: tree_path(text(data), where="P"), b"pool/main/a/a_1_amd64.deb"),
    "links": (lambda data: resolve(text(data), {"a": text(data), "b": "../a"}), b"a/b/../a/c"),
}
for suffix, pack in PACKERS.items():
    READERS[suffix] = (lambda data, s=suffix: decompress(data, s, size=len(TEXT)), pack(TEXT))

EDITS = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 40),
        st.binary(max_size=4) | st.sampled_from([b"\n", b" ", b"\n\n"]),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for where, length, new in edits:
        at = where % (len(data) + 1)
        data = data[:at] + new + data[at + length :]
    return data


@pytest.mark.parametrize("name", READERS)
@given(junk=st.binary(max_size=200), edits=EDITS)
@settings(max_examples=150, deadline=None)
def test_a_reader_raises_nothing_else(name: str, junk: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    read, good = READERS[name]
    for data in (junk, edited(good, edits)):
        with suppress(ArchiveError):
            read(data)


@given(edits=EDITS)
@settings(max_examples=50, deadline=None)
def test_debians_inrelease_may_be_damaged_anywhere(
    in_release: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    with suppress(ArchiveError):
        parse_release(split_clearsigned(edited(in_release, edits), where="InRelease"), where="InRelease")
