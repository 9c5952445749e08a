import bz2
import gzip
import lzma
import sys
import tracemalloc
from collections.abc import Callable

import lz4.frame
import pytest

from pushmirror.archive.compression import check, compression, decompress, family, unpack
from pushmirror.errors import MalformedFile, Mismatch

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"Package: a\n" * 1000
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ".zst": zstd.compress,
    ".lz4": lz4.frame.compress,
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
@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize(
    "behind", [b"\0" * 512, b"garbage", b"\0\0\x1f"], ids=["padding", "garbage", "a begin"]
)
def test_what_is_behind_the_end_is_nobodys(
    suffix: str, pack: Callable[[bytes], bytes], size: int, behind: bytes
) -> None:
    packed = pack(TEXT) + behind
    chunks = (packed[start : start + size] for start in range(0, len(packed), size))
    assert b"".join(unpack(chunks, f"Packages{suffix}", size=len(TEXT))) == TEXT


@pytest.mark.parametrize("suffix", [suffix for suffix in PACKERS if suffix != ".lzma"])
@pytest.mark.parametrize("between", [b"", b"\0\0\0\0"], ids=["nothing", "padding"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_concatenated_streams_are_one_file(suffix: str, between: bytes, size: int) -> None:
    packed = between.join(map(PACKERS[suffix], (TEXT, b"", b"b")))
    chunks = (packed[start : start + size] for start in range(0, len(packed), size))
    assert b"".join(unpack(chunks, f"Packages{suffix}", size=len(TEXT) + 1)) == TEXT + b"b"


@pytest.mark.parametrize("suffix", [".zst", ".lz4"])
def test_a_frame_for_others_is_skipped(suffix: str) -> None:
    packed = b"\x50*M\x18\4\0\0\0abcd" + PACKERS[suffix](TEXT)
    assert decompress(packed, f"Packages{suffix}", size=len(TEXT)) == TEXT


@each_packer
def test_a_file_without_its_last_bytes_is_refused_unless_all_that_is_listed_came(
    suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    cut = pack(TEXT)[:-3]
    if suffix in {".gz", ".lz4"}:  # the rest is checksums
        assert decompress(cut, f"Packages{suffix}", size=len(TEXT)) == TEXT
    with pytest.raises(MalformedFile):
        decompress(cut, f"Packages{suffix}", size=len(TEXT) + 1)


@each_packer
def test_no_bytes_at_all_are_no_contents_where_none_are_expected(
    suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    assert decompress(b"", f"Packages{suffix}", size=0) == b""
    with pytest.raises(MalformedFile, match="truncated"):
        decompress(b"", f"Packages{suffix}", size=1)


@each_packer
def test_a_file_of_another_kind_is_refused(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedFile, match="cannot decompress"):
        decompress(TEXT, f"Packages{suffix}", size=len(TEXT))


@each_packer
def test_a_bomb_takes_no_memory(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    with pytest.raises(MalformedFile, match=r"found more"):
        decompress(bomb, f"Packages{suffix}", size=10)
    assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    tracemalloc.stop()


def test_a_plain_file_is_bounded_too() -> None:
    assert decompress(TEXT, "Packages", size=len(TEXT)) == TEXT
    with pytest.raises(MalformedFile, match=r"found more"):
        decompress(TEXT, "Packages", size=3)


def test_a_family_is_the_name_without_its_compression() -> None:
    assert [family(f"a/Packages{suffix}") for suffix in ("", ".gz", ".xz", ".zst")] == ["a/Packages"] * 4
    assert compression("icons-64x64.tar.gz") == ".gz"


def test_a_mismatch_names_both_sides() -> None:
    with pytest.raises(Mismatch, match=r"^P: expected 4 bytes, found 3"):
        check(b"abc", size=4, sha256="0" * 64, where="P")
    with pytest.raises(Mismatch, match=r"^P: expected SHA256 0000.*found ba7816bf"):
        check(b"abc", size=3, sha256="0" * 64, where="P")
