"""Lists of hashes as `sha256sum` and its like write them: SHA256SUMS of an installer, `extrafiles`.

Guaranteed: a line that cannot be used costs that line only. Not the business of this module: whether the
list is signed, and whether what it names is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pushmirror.archive.paths import inside
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
