"""The bytes of a listed file: are they the right ones, and what is in them when they are compressed.

Guaranteed: nothing unpacks to more than the caller allows, in memory either; a file that is cut off is
refused. Not the business of this module: what the contents mean.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import sys
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import Protocol

from pushmirror.errors import MalformedFile, Mismatch

#: Suffixes that `decompress` can read, the cheapest first; "" is plain.
READABLE_SUFFIXES = ("", ".lz4", ".zst", ".gz", ".xz", ".bz2", ".lzma")

_PART = 1024 * 1024  # bytes unpacked at a time
_MEMORY = 256 * 1024 * 1024  # bytes; xz -9 needs 65 MB to unpack, zstd --ultra --long=27 128 MB
_SKIPPED = tuple(
    bytes([0x50 + number]) + b"*M\x18" for number in range(16)
)  # frames of zstd and lz4 for others
_BEGINNINGS: dict[str, tuple[bytes, ...]] = {  # of one more stream behind the first; .lzma has no such thing
    ".gz": (b"\x1f\x8b",),
    ".xz": (b"\xfd7zXZ\0",),
    ".bz2": (b"BZh",),
    ".zst": (b"\x28\xb5\x2f\xfd", *_SKIPPED),
    ".lz4": (b"\x04\x22\x4d\x18", *_SKIPPED),
    ".lzma": (),
}


def compression(path: str) -> str:
    """The compression suffix of a path, with its dot; "" for none."""
    return next((suffix for suffix in _BEGINNINGS if path.endswith(suffix)), "")


def family(path: str) -> str:
    """The path without its compression suffix: the same for all variants of one file."""
    return path.removesuffix(compression(path))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decompress(data: bytes, name: str, *, size: int) -> bytes:
    """The contents of a file as its suffix says (see READABLE_SUFFIXES), never more than `size` bytes.

    Raises MalformedFile when it is corrupt, cut off, or unpacks to more.
    """
    return b"".join(unpack([data], name, size=size))


def unpack(chunks: Iterable[bytes], name: str, *, size: int) -> Iterator[bytes]:
    """The contents of a file that comes in chunks, in chunks of at most 1 MB; otherwise as `decompress`.

    A file of no bytes at all is one of no contents, where no contents are expected.
    """
    suffix = compression(name)
    left = size
    unpacker = _Unpacker(suffix, name)
    for part in unpacker.parts(chunks) if suffix else chunks:
        left -= len(part)
        if left < 0:
            raise MalformedFile(f"{name}: expected {size} bytes when unpacked, found more")
        yield part
    if left and suffix and not unpacker.is_complete:
        raise MalformedFile(f"{name}: it is cut off")


class _Unpacker:
    """What is in all streams of a file: they may be concatenated, as `pigz`, `pxz` and append-only tools do.

    What follows the last one is padding of some medium or garbage, and nobody's: apt takes no notice either.
    """

    def __init__(self, suffix: str, name: str) -> None:
        self._suffix = suffix
        self._name = name
        self._beginnings = _BEGINNINGS.get(suffix, ())
        self._enough = max(map(len, self._beginnings), default=1)  # bytes, to know one
        self.is_complete = False  # a stream has ended, and no other one begun

    def parts(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The contents, in parts; ends early where only garbage follows."""
        stream: _Decompressor | None = _decompressor(self._suffix, self._name)
        waiting = b""  # the begin of what may be one more stream
        for chunk in chunks:
            data = waiting + chunk
            while data:
                if stream is None:
                    data = data.lstrip(b"\0")
                    if data and not self._may_begin(data):
                        return
                    if len(data) < self._enough:
                        break
                    stream, self.is_complete = _decompressor(self._suffix, self._name), False
                data = yield from self._all_of(stream, data)
                if stream.eof:
                    stream, self.is_complete = None, True
            waiting = data

    def _may_begin(self, data: bytes) -> bool:
        return any(data.startswith(one) or one.startswith(data) for one in self._beginnings)

    def _all_of(self, stream: _Decompressor, data: bytes) -> Generator[bytes, None, bytes]:
        """What a stream gives of the data; returns what is behind its end."""
        while True:
            try:
                part = stream.decompress(data, _PART)
            except Exception as exc:  # five libraries, each with errors of its own
                raise MalformedFile(f"{self._name}: it cannot be unpacked: {exc}") from exc
            if part:
                yield part
            if stream.eof:
                return stream.unused_data or b""
            data = _tail(stream)
            if len(part) < _PART and not data:
                return b""  # it has given all that it can without more


def _tail(stream: _Decompressor) -> bytes:
    """What zlib gives back of its input when its output is full; the others keep it to themselves."""
    return getattr(stream, "unconsumed_tail", b"")


def _decompressor(suffix: str, name: str) -> _Decompressor:
    if suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    if suffix == ".bz2":
        return bz2.BZ2Decompressor()
    if suffix == ".xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    if suffix == ".lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)
    if suffix == ".zst":
        return _zstd()
    if suffix == ".lz4":
        return _lz4()
    raise MalformedFile(f"{name}: expected one of {', '.join(_BEGINNINGS)} or plain")


def _lz4() -> _Decompressor:
    from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

    made: _Decompressor = LZ4FrameDecompressor()
    return made


def _zstd() -> _Decompressor:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    limit = _MEMORY.bit_length() - 2  # a window of 128 MB
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: limit})


def check(data: bytes, *, size: int, sha256: str, where: str) -> None:
    """Raise Mismatch unless the data has the size and the SHA256 that were listed for it."""
    if len(data) != size:
        raise Mismatch(f"{where}: expected {size} bytes, found {len(data)}")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Mismatch(f"{where}: expected SHA256 {sha256}, found {found}")
