"""The bytes of a listed file: are they the right ones, and what is in them when they are compressed.

Guaranteed: nothing unpacks to more than the caller allows, in memory either; a file that is cut off or
has something behind its end is refused. Not the business of this module: what the contents mean.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from pushmirror.errors import MalformedFile, Mismatch

#: Suffixes that `decompress` can read, the cheapest first; "" is plain.
READABLE_SUFFIXES = ("", ".gz", ".xz", ".bz2", ".lzma")
_SUFFIXES = (*READABLE_SUFFIXES[1:], ".zst", ".lz4")

_PART = 1024 * 1024  # bytes unpacked at a time
_LZMA_MEMORY = 256 * 1024 * 1024  # bytes; xz -9 needs 65 MB to unpack


def compression(path: str) -> str:
    """The compression suffix of a path, with its dot; "" for none."""
    return next((suffix for suffix in _SUFFIXES if path.endswith(suffix)), "")


def family(path: str) -> str:
    """The path without its compression suffix: the same for all variants of one file."""
    return path.removesuffix(compression(path))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decompress(data: bytes, name: str, *, size: int) -> bytes:
    """The contents of a file as its suffix says (plain, .gz, .xz, .bz2, .lzma), never more than `size` bytes.

    Raises MalformedFile when it is corrupt, cut off, or unpacks to more.
    """
    return b"".join(unpack([data], name, size=size))


def unpack(chunks: Iterable[bytes], name: str, *, size: int) -> Iterator[bytes]:
    """The contents of a file that comes in chunks, in chunks of at most 1 MB; otherwise as `decompress`."""
    suffix = compression(name)
    left = size
    try:
        for part in _unpacked(chunks, suffix, name) if suffix else chunks:
            left -= len(part)
            if left < 0:
                raise MalformedFile(f"{name}: expected {size} bytes when unpacked, found more")
            yield part
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as exc:
        raise MalformedFile(f"{name}: it cannot be unpacked: {exc}") from exc


def _unpacked(chunks: Iterable[bytes], suffix: str, name: str) -> Iterator[bytes]:
    """What is in all streams of the chunks (gzip and xz files may be concatenated)."""
    unpacker = _decompressor(suffix, name)
    for chunk in chunks:
        data = chunk
        while True:
            if unpacker.eof:
                if not data:
                    break
                unpacker = _decompressor(suffix, name)
            part = unpacker.decompress(data, _PART)
            if part:
                yield part
            if unpacker.eof:
                data = unpacker.unused_data
            else:
                data = _tail(unpacker)
                if len(part) < _PART and not data:
                    break  # it has given all that it can without more
    if not unpacker.eof:
        raise MalformedFile(f"{name}: it is cut off")


def _tail(unpacker: _Decompressor) -> bytes:
    """What zlib gives back of its input when its output is full; the others keep it to themselves."""
    return getattr(unpacker, "unconsumed_tail", b"")


def _decompressor(suffix: str, name: str) -> _Decompressor:
    if suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    if suffix == ".bz2":
        return bz2.BZ2Decompressor()
    if suffix == ".xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
    if suffix == ".lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
    raise MalformedFile(
        f"{name}: expected one of {', '.join(READABLE_SUFFIXES[1:])} or plain, found {suffix}"
    )


def check(data: bytes, *, size: int, sha256: str, where: str) -> None:
    """Raise Mismatch unless the data has the size and the SHA256 that were listed for it."""
    if len(data) != size:
        raise Mismatch(f"{where}: expected {size} bytes, found {len(data)}")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Mismatch(f"{where}: expected SHA256 {sha256}, found {found}")
