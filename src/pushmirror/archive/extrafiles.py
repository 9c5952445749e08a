"""The list `extrafiles` at the root of Debian's archive: what no Release file covers, by hash, clear-signed.

Its lines are sha256sum's, of README files, doc, indices, tools and more. Guaranteed: each path is one inside
the tree. Not the business of this module: who signed the list, and which of its files are mirrored.
"""

from __future__ import annotations

from collections.abc import Callable

from pushmirror.archive.clearsigned import split_clearsigned
from pushmirror.archive.sums import read_sums


def parse_extrafiles(
    data: bytes, *, where: str, refused: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """The SHA256 of each path that the list names; of a path that is there twice the first counts.

    Raises MalformedFile, naming `where`, for what is not clear-signed. `refused` gets the reason for each
    line that is not given.
    """
    found: dict[str, str] = {}
    text = split_clearsigned(data, where=where).decode("utf-8", "surrogateescape")
    for path, sha256 in read_sums(text, where=where, itself="extrafiles", refused=refused):
        if found.setdefault(path, sha256) != sha256:
            refused(f"{where}: {path} again, with another hash; the first counts")
    return found
