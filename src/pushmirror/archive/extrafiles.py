"""The list `extrafiles` at the root of Debian's archive: what no Release file covers, by hash, clear-signed.

Its lines are sha256sum's, of README files, doc, indices, tools and more. Guaranteed: each path is one inside
the tree. Not the business of this module: who signed the list, and which of its files are mirrored.
"""

from __future__ import annotations

import re

from pushmirror.archive.clearsigned import split_clearsigned
from pushmirror.archive.paths import tree_path
from pushmirror.errors import MalformedFile

_LINE = re.compile(r"([0-9A-Fa-f]{64}) [ *](.+)")


def parse_extrafiles(data: bytes, *, where: str) -> dict[str, str]:
    """The SHA256 of each path that the list names; raises MalformedFile and BadPath, naming `where`."""
    found: dict[str, str] = {}
    text = split_clearsigned(data, where=where).decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise MalformedFile(f"{where}:{number}: expected 'hash  path', found {line[:80]!r}")
        path = tree_path(match[2], where=f"{where}:{number}")
        sha256 = match[1].lower()
        if found.setdefault(path, sha256) != sha256:
            raise MalformedFile(f"{where}:{number}: {path} again, with another hash")
    return found
