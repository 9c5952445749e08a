"""Lists of SHA256 hashes: SHA256SUMS of an installer, and `extrafiles` at the root of Debian's archive.

`extrafiles` lists what no Release file covers (README files, doc, indices, tools), in sha256sum's format and
clear-signed. Guaranteed: a line that cannot be used is skipped alone; each path of `extrafiles` is one inside
the tree. Not the business of this module: who signed the list, and whether the files are there.
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


def parse_extrafiles(
    data: bytes, *, where: str, refused: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """The SHA256 of each path in the list; of a path that is listed twice the first counts.

    Raises MalformedFile, naming `where`, if the list is not clear-signed. `refused` gets the reason for each
    line that is skipped.
    """
    found: dict[str, str] = {}
    text = split_clearsigned(data, where=where).decode("utf-8", "surrogateescape")
    for path, sha256 in read_sums(text, where=where, itself="extrafiles", refused=refused):
        if found.setdefault(path, sha256) != sha256:
            refused(f"{where}: {path} again with another hash; using the first")
    return found
