"""Very many paths in very little memory, as 64-bit fingerprints.

`PathSet` is a sorted array (12 MB for 1.5 million paths) that can be kept in a file and used where it lies
(mmap). `Seen` grows while it is asked (16 to 32 bytes a path). Guaranteed: a path in the set is always found;
one that is not is found by mistake once in about 2**64 / len(set) questions. So a set may say "keep it" or
"look at it", never "it is safe to delete".
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b

_WIDTH = 8  # bytes of one fingerprint, in the order of the machine: a set is never sent anywhere


def fingerprint(path: str) -> int:
    """The fingerprint of a path."""
    encoded = path.encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(encoded, digest_size=_WIDTH).digest(), sys.byteorder)


class PathSet:
    """A set of paths that can be asked and counted, not listed."""

    __slots__ = ("_sorted",)

    def __init__(self, fingerprints: memoryview) -> None:
        """Of sorted 64-bit numbers; see `of` and `from_bytes`."""
        self._sorted = fingerprints

    @classmethod
    def of(cls, paths: Iterable[str]) -> PathSet:
        """The set of these paths."""
        found = array("Q", sorted(set(map(fingerprint, paths))))
        return cls(memoryview(found))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> PathSet:
        """A set from what `to_bytes` returned, which may be a mapped file. ValueError when it is cut off."""
        view = memoryview(data)
        if len(view) % _WIDTH:
            raise ValueError(f"expected a multiple of {_WIDTH} bytes, found {len(view)}")
        return cls(view.cast("Q"))

    def to_bytes(self) -> bytes:
        """The set as bytes, for this machine."""
        return self._sorted.tobytes()

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, path: str) -> bool:
        number = fingerprint(path)
        at = bisect_left(self._sorted, number)
        return at < len(self._sorted) and self._sorted[at] == number

    def fingerprints(self) -> Iterator[int]:
        """The numbers, ascending."""
        return iter(self._sorted)


class GrowingPathSet:
    """A set of paths that grows; a table of their fingerprints, half empty at least."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, path: str) -> bool:
        """Whether the path is a new one; from now on it is not."""
        return self.add_number(fingerprint(path))

    def add_number(self, number: int) -> bool:
        """The same of a fingerprint, of whatever."""
        if self._number * 2 >= len(self._table):
            self._grow()
        if self._put(number or 1):  # 0 is an empty place
            self._number += 1
            return True
        return False

    def _put(self, number: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        at = number & mask
        while found := table[at]:
            if found == number:
                return False
            at = (at + 1) & mask
        table[at] = number
        return True

    def _grow(self) -> None:
        old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
        for number in old:
            if number:
                self._put(number)
