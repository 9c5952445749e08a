"""The identity of a published state, for archives with Release files and for plain trees.

Guaranteed: two trees with the same generation serve the same state; the value does not depend on the order
in which it is computed, on the machine or on the version of Python. Not the business of this module:
which files count, and reading them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import overload

from pushmirror.archive.paths import Entry, Kind, encoded

_MODULUS = 2**256
_SHORT = 12


@overload
def short(digest: str) -> str: ...
@overload
def short(digest: str | None) -> str | None: ...
def short(digest: str | None) -> str | None:
    """The digits of a generation that people compare."""
    return digest and digest[:_SHORT]


def generation(files: Mapping[str, bytes]) -> str:
    """The generation of an archive: a digest over its suites' Release, Release.gpg and InRelease files.

    `files` maps tree paths to contents. The digest is the SHA256 of the line "pushmirror generation 1\\n" and
    then, for each file in the order of its path's bytes: the path, a NUL byte, the 32 bytes of its SHA256.
    No path has a NUL and the rest has a fixed length, so no two mappings give the same bytes.
    """
    digest = hashlib.sha256(b"pushmirror generation 1\n")
    for path, content in sorted((encoded(path), content) for path, content in files.items()):
        digest.update(path + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


class TreeDigest:
    """The state of a whole tree as one number, kept up to date entry by entry.

    It is the sum of the entries' SHA256 modulo 2**256: entries may come in any order, and a change costs what
    changed (remove the old entry, add the new one) instead of a pass over millions. Its limits: it tells
    states apart, it authenticates nothing (someone free to choose very many entries could, with much work,
    build two trees with the same sum), an entry must be removed exactly as it was added, and contents count
    only through size and mtime. What no mirror keeps does not count: times of links and directories.
    """

    __slots__ = ("_sum",)

    def __init__(self, hexdigest: str = "0") -> None:
        """Of an empty tree, or going on from an earlier `hexdigest()`."""
        self._sum = int(hexdigest, 16)

    def add(self, entry: Entry) -> None:
        """Count an entry in."""
        self._sum = (self._sum + _number_of(entry)) % _MODULUS

    def remove(self, entry: Entry) -> None:
        """Count an entry out that was added with the same facts."""
        self._sum = (self._sum - _number_of(entry)) % _MODULUS

    def merge(self, other: TreeDigest) -> None:
        """Count all entries in that another one counts, and this one does not yet."""
        self._sum = (self._sum + other._sum) % _MODULUS

    def hexdigest(self) -> str:
        """64 hexadecimal digits; of an empty tree, zeros."""
        return f"{self._sum:064x}"


_LETTERS = {Kind.FILE: b"f", Kind.LINK: b"l", Kind.DIRECTORY: b"d"}


def _number_of(entry: Entry) -> int:
    """The SHA256 of `PATH NUL letter NUL size NUL mtime NUL target`, as a number."""
    kind, size, mtime, target = entry.facts
    facts = b"%b\0%b\0%d\0%d\0%b" % (encoded(entry.path), _LETTERS[kind], size, mtime, encoded(target))
    return int.from_bytes(hashlib.sha256(facts).digest(), "big")
