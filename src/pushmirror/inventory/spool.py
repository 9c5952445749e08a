"""Very many new files of upstream's in very little memory: packed in blocks, and in a temporary file.

Guaranteed: entries come back in the order in which they were appended, as often as one asks, and whoever
iterates holds one block. 1.5 million take about 40 MB of disk in TMPDIR. Files only, no links and
directories: no tree has so many new ones of these.
"""

from __future__ import annotations

import marshal
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator

from pushmirror.archive.paths import Entry, Kind

_BLOCK = 4096  # entries
_IN_MEMORY = 1024 * 1024  # bytes, packed: about forty thousand entries
_HEAD = struct.Struct("=Q")  # how long the block after it is


class EntrySpool:
    """Files in the order in which they were appended."""

    def __init__(self) -> None:
        self.size = 0  # bytes of all files together
        self._length = 0
        self._packed = 0  # bytes in the file
        self._open: list[tuple[bytes, int, int, str]] = []  # the block that is not in the file yet
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  as long as we live
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._length

    def append(self, entry: Entry) -> None:
        """Take one more file."""
        assert entry.kind is Kind.FILE
        path = entry.path.encode("utf-8", "surrogateescape")
        self._open.append((path, entry.size, entry.mtime, entry.sha256))
        self._length += 1
        self.size += entry.size
        if len(self._open) == _BLOCK:
            self._pack()

    def __iter__(self) -> Iterator[Entry]:
        """All files that were appended before they are reached; several may walk by turns, in one thread."""
        at = 0
        while at < self._packed:
            self._file.seek(at)
            (length,) = _HEAD.unpack(self._file.read(_HEAD.size))
            at += _HEAD.size + length
            for path, size, mtime, sha256 in marshal.loads(zlib.decompress(self._file.read(length))):  # nosec B302  # noqa: S302  ours
                yield Entry(path.decode("utf-8", "surrogateescape"), Kind.FILE, size, mtime, "", sha256)
        for path, size, mtime, sha256 in list(self._open):
            yield Entry(path.decode("utf-8", "surrogateescape"), Kind.FILE, size, mtime, "", sha256)

    def _pack(self) -> None:
        block = zlib.compress(marshal.dumps(self._open), 1)
        self._file.seek(self._packed)
        self._file.write(_HEAD.pack(len(block)) + block)
        self._packed += _HEAD.size + len(block)
        self._open = []
