"""Blocks of an index: together they are the index, and a change stays where it happens."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.archive import index_blocks as module
from pushmirror.archive.index import File, IndexKind, read_index
from pushmirror.archive.index_blocks import blocks
from pushmirror.errors import MalformedFile

SHA = "0123456789abcdef" * 4


def packages(*names: str) -> bytes:
    stanzas = (
        f"Package: p\nFilename: pool/{name}\nSize: 1\nSHA256: {number % 16:x}{SHA[1:]}\n\n"
        for number, name in enumerate(names)
    )
    return "".join(stanzas).encode()


def sources(*names: str) -> bytes:
    stanzas = (
        f"Package: s\nDirectory: pool/{name}\nChecksums-Sha256:\n {number % 16:x}{SHA[1:]} 1 a.dsc\n\n"
        for number, name in enumerate(names)
    )
    return "".join(stanzas).encode()


def cut(text: bytes, size: int, kind: IndexKind = IndexKind.PACKAGES) -> list[bytes]:
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    return list(blocks(kind, chunks, where="Packages"))


Make = tuple[IndexKind, Callable[..., bytes]]


def files(kind: IndexKind, text: bytes) -> list[File]:
    return read_index(kind, text, base="", where="Packages")


names = st.lists(st.text("abc", min_size=1, max_size=3), max_size=60)
KINDS: list[Make] = [(IndexKind.PACKAGES, packages), (IndexKind.SOURCES, sources)]
kinds = st.sampled_from(KINDS)


@given(names, st.integers(1, 5000), kinds)
def test_blocks_refer_to_what_the_whole_index_does(chosen: list[str], size: int, how: Make) -> None:
    kind, text = how[0], how[1](*chosen)
    found = cut(text, size, kind)
    assert b"".join(found) == text
    assert [file for block in found for file in files(kind, block)] == files(kind, text)


@given(names, names, kinds)
def test_what_two_indices_differ_in_is_what_their_blocks_differ_in(
    old: list[str], new: list[str], how: Make
) -> None:
    kind, make = how
    one, other = Counter(cut(make(*old), 100, kind)), Counter(cut(make(*new), 100, kind))
    removed = Counter(file for block in (one - other).elements() for file in files(kind, block))
    added = Counter(file for block in (other - one).elements() for file in files(kind, block))
    whole_old, whole_new = Counter(files(kind, make(*old))), Counter(files(kind, make(*new)))
    assert (added - removed, removed - added) == (whole_new - whole_old, whole_old - whole_new)


@given(names, st.integers(1, 300))
def test_borders_do_not_depend_on_how_an_index_comes(chosen: list[str], size: int) -> None:
    text = packages(*chosen)
    assert cut(text, size) == cut(text, len(text) or 1)


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_a_changed_stanza_changes_one_block(kind: IndexKind, make: Callable[..., bytes]) -> None:
    numbers = [str(number) for number in range(1000)]
    old = cut(make(*numbers), 4096, kind)
    new = cut(make(*numbers[:500], "changed", *numbers[501:]), 4096, kind)
    assert len(old) > 50
    assert len(set(new) - set(old)) == 1


def test_a_text_without_marks_is_cut_all_the_same() -> None:
    text = b"Package: p\nFilename: pool/a\n\n" * 20_000
    found = cut(text, 10_000)
    assert len(found) > 3 and b"".join(found) == text
    assert all(block.endswith(b"\n\n") for block in found)


@pytest.mark.parametrize("stanza", [b"Package: p\n\n", b"Package: p\n"])
def test_tiny_chunks_are_searched_about_once(monkeypatch: pytest.MonkeyPatch, stanza: bytes) -> None:
    searched = 0

    def find(text: bytearray, what: bytes, start: int, end: int) -> int:
        nonlocal searched
        found = text.find(what, start, end)
        searched += (found if found >= 0 else min(end, len(text))) - start
        return found

    monkeypatch.setattr(module, "_find", find)
    text = stanza * 100_000
    assert b"".join(cut(text, 10)) == text
    assert searched < 3 * len(text)


@pytest.mark.parametrize("size", [1, 7, 300_000])
def test_line_ends_of_another_system_change_no_border(size: int) -> None:
    text = packages(*("abc" * 3000))
    assert cut(text.replace(b"\n", b"\r\n"), size) == cut(text, size)


@given(names, st.integers(1, 300))
def test_an_index_may_end_without_a_newline(chosen: list[str], size: int) -> None:
    text = packages(*chosen).rstrip(b"\n")
    found = cut(text, size)
    assert b"".join(found) == text
    assert [file for block in found for file in files(IndexKind.PACKAGES, block)] == files(
        IndexKind.PACKAGES, text
    )


def test_a_stanza_without_an_end_is_refused() -> None:
    with pytest.raises(MalformedFile, match="stanzas of less than"):
        list(blocks(IndexKind.PACKAGES, [b"x" * 32 * 1024 * 1024] * 3, where="Packages"))
