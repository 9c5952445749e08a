import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest

from pushmirror.archive.contents import check, compression, decompress, family, unpack
from pushmirror.errors import MalformedFile, Mismatch

TEXT = b"Package: a\n" * 1000
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}
each_packer = pytest.mark.parametrize(("suffix", "pack"), PACKERS.items(), ids=PACKERS.keys())


@each_packer
def test_each_compression_is_read(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    assert decompress(pack(TEXT), f"Packages{suffix}", size=len(TEXT)) == TEXT


@each_packer
def test_an_empty_file_is_read(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    assert decompress(pack(b""), f"Packages{suffix}", size=0) == b""


@each_packer
def test_a_file_that_unpacks_to_more_is_refused(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedFile, match=r"found more"):
        decompress(pack(TEXT), f"Packages{suffix}", size=len(TEXT) - 1)


@each_packer
def test_a_file_that_is_cut_off_is_refused(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    for cut in (0, 1, 20, 25):
        with pytest.raises(MalformedFile):
            decompress(pack(TEXT)[:cut], f"Packages{suffix}", size=len(TEXT))


@each_packer
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_file_may_come_in_chunks(suffix: str, pack: Callable[[bytes], bytes], size: int) -> None:
    text = bytes(3_000_000) + TEXT
    packed = pack(text)
    chunks = (packed[start : start + size] for start in range(0, len(packed), size))
    parts = list(unpack(chunks, f"Packages{suffix}", size=len(text)))
    assert b"".join(parts) == text and max(map(len, parts)) <= 1024 * 1024


@each_packer
def test_garbage_behind_the_end_is_refused(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedFile):
        decompress(pack(TEXT) + b"garbage" * 9, f"Packages{suffix}", size=len(TEXT))


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_concatenated_streams_are_one_file(suffix: str) -> None:
    packed = PACKERS[suffix](TEXT) + PACKERS[suffix](b"b")
    assert decompress(packed, f"Packages{suffix}", size=len(TEXT) + 1) == TEXT + b"b"


def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    with pytest.raises(MalformedFile, match=r"found more"):
        decompress(bomb, "Packages.gz", size=10)


def test_a_plain_file_is_bounded_too() -> None:
    assert decompress(TEXT, "Packages", size=len(TEXT)) == TEXT
    with pytest.raises(MalformedFile, match=r"found more"):
        decompress(TEXT, "Packages", size=3)


def test_a_compression_that_cannot_be_read_is_named() -> None:
    with pytest.raises(MalformedFile, match=r"found \.zst"):
        decompress(b"x", "Packages.zst", size=3)


def test_a_family_is_the_name_without_its_compression() -> None:
    assert [family(f"a/Packages{suffix}") for suffix in ("", ".gz", ".xz", ".zst")] == ["a/Packages"] * 4
    assert compression("icons-64x64.tar.gz") == ".gz"


def test_a_mismatch_names_both_sides() -> None:
    with pytest.raises(Mismatch, match=r"^P: expected 4 bytes, found 3"):
        check(b"abc", size=4, sha256="0" * 64, where="P")
    with pytest.raises(Mismatch, match=r"^P: expected SHA256 0000.*found ba7816bf"):
        check(b"abc", size=3, sha256="0" * 64, where="P")
