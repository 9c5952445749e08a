"""Lists of hashes as `sha256sum` and its like write them: SHA256SUMS of an installer, `extrafiles`.

Guaranteed: a line that cannot be used costs that line only. Not the business of this module: whether the
list is signed, and whether what it names is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pushmirror.archive.paths import inside
from pushmirror.archive.signature import split_clearsigned
from pushmirror.errors import BadPath

_GNU = re.compile(r"([0-9A-Fa-f]{64})(?: [ *]|[ \t]+)(.+)")
_BSD = re.compile(r"SHA256 ?\((.+)\) ?= ?([0-9A-Fa-f]{64})")


def read_sums(
    text: str, *, where: str, itself: str, refused: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """Path and SHA256 of each line, as GNU's or BSD's tools write it.

    Blank lines, comments and the line of the list `itself`, which is of an older state, say nothing.
    `refused` gets the reason for each line that is not given, and names `where` and its number.
    """
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(" \t\r")
        if not line or line.startswith(("#", ";")):
            continue
        at = f"{where}:{number}"
        if match := _GNU.fullmatch(line):
            digest, name = match[1], match[2]
        elif match := _BSD.fullmatch(line):
            name, digest = match[1], match[2]
        else:
            refused(f"{at}: expected 'hash  path', found {line[:80]!a}")
            continue
        try:
            path = inside(name, where=at)
        except BadPath as exc:
            refused(str(exc))
            continue
        if path != itself:
            yield path, digest.lower()


# The list `extrafiles` at the root of Debian's archive: what no Release file covers, by hash, clear-signed.
#
# Its lines are sha256sum's, of README files, doc, indices, tools and more. Guaranteed: each path is one
# inside the tree. Not the business of this module: who signed the list, and which of its files are
# mirrored.


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
            refused(f"{where}: {path} again with another hash; using the first")
    return found
