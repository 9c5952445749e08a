"""The lines of a packed file that somebody else made: as they come, in little memory, and never too many.

Guaranteed: what comes out is whole lines of one gzip stream; neither a line nor all of them together are
longer than allowed; when they have come to their end without an error, the file had the size and the SHA256
that it should have. Not the business of this module: what the lines say.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator

from pushmirror.errors import MalformedFile, Mismatch

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
        raise MalformedFile(f"{where}: expected a newline at the end, it is cut off")


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
                raise MalformedFile(f"{self._where}: it cannot be unpacked: {exc}") from exc
            todo = self._unpacker.unconsumed_tail
            more = bool(todo) or len(text) == _BLOCK  # then it may hold back more of what it was given
            self._left -= len(text)
            if self._left < 0:
                raise MalformedFile(f"{self._where}: expected fewer bytes when unpacked, found a bomb")
            if self._unpacker.unused_data:
                raise MalformedFile(f"{self._where}: expected one gzip stream, found something behind it")
            if text:
                yield text

    def finish(self) -> None:
        """Raise unless the file was whole, and the right one."""
        if self._packed != self._size:
            raise Mismatch(f"{self._where}: expected {self._size} bytes, found {self._packed}")
        if self._digest.hexdigest() != self._sha256:
            raise Mismatch(f"{self._where}: expected SHA256 {self._sha256}, found {self._digest.hexdigest()}")
        if not self._unpacker.eof:
            raise MalformedFile(f"{self._where}: it is cut off")
