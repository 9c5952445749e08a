"""The hash of a file by which it is known: the digits of the strongest one that somebody listed.

Its length tells which kind it is, so one field is enough; "" is a file of which no hash is known. Not the
business of this module: hashing (system/files.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

_Digest = TypeVar("_Digest", str, bytes)

#: The hashes as Release sections and by-hash directories name them, and the number of their digits.
HASHES: Mapping[str, int] = MappingProxyType({"MD5Sum": 32, "SHA1": 40, "SHA256": 64, "SHA512": 128})
_NAMES = {digits: name for name, digits in HASHES.items()}


_BY_STRENGTH = (64, 128, 40, 32)  # a SHA256 before a SHA512: it is what everybody lists, and strong enough


def strongest(digests: Iterable[_Digest]) -> set[_Digest]:
    """Those of some hashes of one file that are of the strongest kind among them."""
    by_length: dict[int, set[_Digest]] = {}
    for digest in digests:
        by_length.setdefault(len(digest), set()).add(digest)
    return next((by_length[length] for length in _BY_STRENGTH if length in by_length), set())


def name_of(digest: str) -> str:
    """The kind of a hash, as `HASHES` names it."""
    return _NAMES.get(len(digest), "hash")


def as_sha256(digest: str) -> str:
    """The digest where it is a SHA256, as inventories and manifests want it; "" for any other."""
    return digest if len(digest) == HASHES["SHA256"] else ""
