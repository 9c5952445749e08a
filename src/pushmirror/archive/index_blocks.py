"""Cut an index into blocks at borders that stay in place when something else in the index changes.

An update changes some hundred stanzas among tens of thousands. The content decides where a block ends, so a
changed stanza changes only its own block; all others are known by their SHA256 and need not be parsed again.
Guaranteed: blocks end at the ends of stanzas and together are the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pushmirror.archive.index import IndexKind
from pushmirror.errors import MalformedFile

_LARGE = 128 * 1024  # bytes; where there is no mark for so long, a block ends at the next stanza's end
_LARGEST = 64 * 1024 * 1024  # bytes of one block; nothing that anybody reads is near that
_TOGETHER = 256 * 1024  # bytes that are looked through at a time: chunks may be of a byte each

#: Chance decides where a mark is: about every 16th stanza of Packages, every second one of Sources.
_MARKS = {IndexKind.PACKAGES: b"\nSHA256: 0", IndexKind.SOURCES: b"\n 0"}
_ANY_MARK = b"\n 0"
_END = b"\n\n"  # of a stanza


def blocks(kind: IndexKind, chunks: Iterable[bytes], *, where: str) -> Iterator[bytes]:
    """The blocks of an uncompressed index that comes in chunks of any size; CRLF counts as a line's end.

    Raises MalformedFile, naming `where`, when its stanzas do not end.
    """
    mark = _MARKS.get(kind, _ANY_MARK)
    rest = bytearray()
    ending = 0  # where the end of the first block may be, once its mark is found: nothing is searched twice
    for some in _gathered(chunks):
        rest += some
        start = 0
        while ending := ending or _after_mark(rest, start, mark):
            found = _find(rest, _END, ending, len(rest))
            if found < 0:
                ending = max(ending, len(rest) - len(_END) + 1)
                break
            end = found + len(_END)
            yield bytes(rest[start:end])
            start, ending = end, 0
        del rest[:start]
        ending = max(ending - start, 0)
        if len(rest) > _LARGEST:
            raise MalformedFile(f"{where}: expected stanzas of less than {_LARGEST} bytes, found more")
    if rest:
        yield bytes(rest)


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, put together until they are worth a look, with newlines for line ends."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _TOGETHER and not chunk.endswith(b"\r"):
            yield _with_newlines(b"".join(waiting))
            waiting, size = [], 0
    yield _with_newlines(b"".join(waiting))


def _with_newlines(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def _after_mark(text: bytearray, start: int, mark: bytes) -> int:
    """From where on the block that begins at `start` may end; 0 if the text does not tell."""
    marked = _find(text, mark, start, start + _LARGE)
    if marked < 0:
        if len(text) - start < _LARGE:
            return 0
        marked = start + _LARGE - len(mark)
    return marked + len(mark) - 1


def _find(text: bytearray, what: bytes, start: int, end: int) -> int:
    return text.find(what, start, end)
