"""The hash of a file by which it is known: the digits of the strongest one that somebody listed.

Its length tells which kind it is, so one field is enough; "" is a file of which no hash is known. Not the
business of this module: hashing (system/files.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The hashes as Release sections and by-hash directories name them, and the number of their digits.
HASHES: Mapping[str, int] = MappingProxyType({"MD5Sum": 32, "SHA1": 40, "SHA256": 64, "SHA512": 128})
_NAMES = {digits: name for name, digits in HASHES.items()}


def name_of(digest: str) -> str:
    """The kind of a hash, as `HASHES` names it."""
    return _NAMES.get(len(digest), "hash")


def as_sha256(digest: str) -> str:
    """The digest where it is a SHA256, as inventories and manifests want it; "" for any other."""
    return digest if len(digest) == HASHES["SHA256"] else ""
