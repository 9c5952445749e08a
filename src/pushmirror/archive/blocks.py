"""An index in blocks whose borders stay where they are when something else in it changes.

An update changes some hundred stanzas among tens of thousands. Cut where the contents say so, and not after
so many bytes, a changed stanza changes the one block it is in; all others are known from the last time by
their SHA256, and need not be read again. Guaranteed: blocks end at stanzas' ends and together are the index,
so that the files of the blocks, each read alone, are the files of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pushmirror.archive.index import IndexKind
from pushmirror.errors import MalformedFile

_LARGE = 128 * 1024  # bytes; where there is no mark for so long, a block ends at the next stanza's end
_LARGEST = 64 * 1024 * 1024  # bytes of one block; nothing that anybody reads is near that

#: Chance decides where a mark is: about every 16th stanza of Packages, every second one of Sources.
_MARKS = {IndexKind.PACKAGES: b"\nSHA256: 0", IndexKind.SOURCES: b"\n 0"}
_ANY_MARK = b"\n 0"
_END = b"\n\n"  # of a stanza


def blocks(kind: IndexKind, chunks: Iterable[bytes], *, where: str) -> Iterator[bytes]:
    """The blocks of an uncompressed index that comes in chunks of any size.

    Raises MalformedFile, naming `where`, when the index does not end in a newline or its stanzas do not end.
    """
    mark = _MARKS.get(kind, _ANY_MARK)
    rest = b""
    for chunk in chunks:
        text = rest + chunk if rest else chunk
        start = 0
        while end := _end(text, start, mark):
            yield text[start:end]
            start = end
        rest = text[start:]
        if len(rest) > _LARGEST:
            raise MalformedFile(f"{where}: expected stanzas of less than {_LARGEST} bytes, found more")
    if rest:
        if not rest.endswith(b"\n"):
            raise MalformedFile(f"{where}: expected a newline at the end, it is cut off")
        yield rest


def _end(text: bytes, start: int, mark: bytes) -> int:
    """Where the block that begins at `start` ends; 0 if the text does not tell."""
    marked = text.find(mark, start, start + _LARGE)
    if marked < 0:
        if len(text) - start < _LARGE:
            return 0
        marked = start + _LARGE - len(mark)
    found = text.find(_END, marked + len(mark) - 1)
    return found + len(_END) if found >= 0 else 0
