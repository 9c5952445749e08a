"""Very many paths in very little room: a sorted array of 64-bit fingerprints, 12 MB for 1.5 million.

Guaranteed: a path that is in the set is always found; one that is not is found in error once in about
2**64 / len(set) questions. So a set may say "keep it" or "look at it", never "it is safe to delete".
The bytes of a set can be kept in a file and used where they lie (mmap), without reading them.
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
