"""Check and decompress listed files.

Guaranteed: nothing decompresses to more than the caller allows, in memory either; a truncated file is
refused. `blocks_of_lines` does so for a gzip file that arrives in chunks, in little memory: it yields whole
lines, and ends without an error only if the file had the expected size and SHA256. Not the business of this
module: what the contents mean.
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
            raise MalformedFile(f"{name}: expected {size} bytes after decompression, found more")
        yield part
    if left and suffix and not unpacker.is_complete:
        raise MalformedFile(f"{name}: truncated")


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
                raise MalformedFile(f"{self._name}: cannot decompress: {exc}") from exc
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


_BLOCK = 256 * 1024  # bytes that are unpacked at a time; larger blocks leave the processor's cache
MAX_LINE = 10_000  # bytes


def blocks_of_lines(
    chunks: Iterable[bytes], *, size: int, sha256: str, at_most: int, where: str
) -> Iterator[bytes]:
    """The text of a gzip file, whose bytes come in chunks, in blocks of whole lines.

    `at_most` bounds the unpacked bytes. Raises MalformedFile and Mismatch, naming `where`.
    """
    stream = _Stream(size, sha256, at_most, where)
    rest = b""
    for chunk in chunks:
        for text in stream.feed(chunk):
            cut = text.rfind(b"\n") + 1
            if cut:
                yield rest + text[:cut]
            rest = text[cut:] if cut else rest + text
            if len(rest) > MAX_LINE:
                raise MalformedFile(
                    f"{where}: expected lines of at most {MAX_LINE} bytes, found a longer one"
                )
    stream.finish()
    if rest:
        raise MalformedFile(f"{where}: expected a newline at the end; truncated")


class _Stream:
    """One gzip stream that is unpacked as it comes."""

    def __init__(self, size: int, sha256: str, at_most: int, where: str) -> None:
        self._size = size
        self._sha256 = sha256
        self._left = at_most
        self._where = where
        self._packed = 0
        self._digest = hashlib.sha256()
        self._unpacker = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What can be unpacked now, in pieces of at most a block."""
        self._packed += len(chunk)
        self._digest.update(chunk)
        if self._packed > self._size:
            raise Mismatch(f"{self._where}: expected {self._size} bytes, found more")
        todo, more = chunk, bool(chunk)
        while more:
            try:
                text = self._unpacker.decompress(todo, _BLOCK)
            except zlib.error as exc:
                raise MalformedFile(f"{self._where}: cannot decompress: {exc}") from exc
            todo = self._unpacker.unconsumed_tail
            more = bool(todo) or len(text) == _BLOCK  # then it may hold back more of what it was given
            self._left -= len(text)
            if self._left < 0:
                raise MalformedFile(f"{self._where}: decompresses to too many bytes (decompression bomb?)")
            if self._unpacker.unused_data:
                raise MalformedFile(f"{self._where}: expected one gzip stream, found data after it")
            if text:
                yield text

    def finish(self) -> None:
        """Raise unless the file was whole, and the right one."""
        if self._packed != self._size:
            raise Mismatch(f"{self._where}: expected {self._size} bytes, found {self._packed}")
        if self._digest.hexdigest() != self._sha256:
            raise Mismatch(f"{self._where}: expected SHA256 {self._sha256}, found {self._digest.hexdigest()}")
        if not self._unpacker.eof:
            raise MalformedFile(f"{self._where}: truncated")
