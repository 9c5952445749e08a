"""The identity of a published state, for archives with Release files and for plain trees.

Guaranteed: two trees with the same generation serve the same state; the value does not depend on the order
in which it is computed, on the machine or on the version of Python. Not the business of this module:
which files count, and reading them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_MODULUS = 2**256


def generation(files: Mapping[str, bytes]) -> str:
    """The generation of an archive: a digest over its suites' Release, Release.gpg and InRelease files.

    `files` maps tree paths to contents. The digest is the SHA256 of the line "pushmirror generation 1\\n" and
    then, for each file in the order of its path's bytes: the path, a NUL byte, the 32 bytes of its SHA256.
    No path has a NUL and the rest has a fixed length, so no two mappings give the same bytes.
    """
    digest = hashlib.sha256(b"pushmirror generation 1\n")
    for path, content in sorted((_encoded(path), content) for path, content in files.items()):
        digest.update(path + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


class TreeDigest:
    """The generation of a plain tree, kept up to date entry by entry.

    It is the sum of the entries' SHA256 modulo 2**256: entries may come in any order, and a change costs what
    changed (remove the old entry, add the new one) instead of a pass over millions. Its limits: it tells
    states apart, it authenticates nothing (someone free to choose very many entries could, with much work,
    build two trees with the same sum), an entry must be removed exactly as it was added, and contents count
    only through size and mtime.
    """

    __slots__ = ("_sum",)

    def __init__(self) -> None:
        self._sum = 0

    def add(self, path: str, kind: str, *, size: int = 0, mtime: int = 0, target: str = "") -> None:
        """Count an entry in: `kind` is one letter (f, d, l), `mtime` in whole seconds, `target` a link's."""
        self._sum = (self._sum + _entry(path, kind, size, mtime, target)) % _MODULUS

    def remove(self, path: str, kind: str, *, size: int = 0, mtime: int = 0, target: str = "") -> None:
        """Count an entry out that was added with the same facts."""
        self._sum = (self._sum - _entry(path, kind, size, mtime, target)) % _MODULUS

    def hexdigest(self) -> str:
        """64 hexadecimal digits; of an empty tree, zeros."""
        return f"{self._sum:064x}"


def _entry(path: str, kind: str, size: int, mtime: int, target: str) -> int:
    facts = b"\0".join((_encoded(path), _encoded(kind), b"%d" % size, b"%d" % mtime, _encoded(target)))
    return int.from_bytes(hashlib.sha256(facts).digest(), "big")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
