"""Which of very many paths were seen before, in 16 to 32 bytes each.

As in archive/pathset.py, one path in about 2**64 / number is taken for another: what is asked here must not
be the last to look.
"""

from __future__ import annotations

from array import array

from pushmirror.archive.pathset import fingerprint


class Seen:
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
