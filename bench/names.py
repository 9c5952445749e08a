"""Real names for a large archive: Debian 12's own main/binary-amd64/Packages, taken apart by source.

Only what cannot be had without Debian's whole archive is invented: the other architectures, the sources'
files, and the versions that an update brings.
"""

from __future__ import annotations

import lzma
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

REAL_PACKAGES = Path(__file__).parent.parent / "tests/data/archive/bookworm-main-amd64.Packages.xz"
ARCHITECTURES = ("amd64", "arm64", "armel", "armhf", "i386", "mips64el", "mipsel", "ppc64el", "s390x")
_ELSEWHERE = 0.61  # of the sources are built on each architecture but amd64: 9.5 files per directory in all
_FIELDS = re.compile(
    rb"^Package: (.+)\n(?:.*\n)*?Version: (.+)\n(?:.*\n)*?Architecture: (.+)\n", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Binary:
    """One entry of the real index."""

    name: str
    version: str
    body: bytes  # the stanza up to its Filename line
    architectures: tuple[str, ...]  # ("all",) or those it is built on


@dataclass(frozen=True, slots=True)
class Source:
    """A directory of the pool."""

    directory: str
    binaries: tuple[Binary, ...]

    @property
    def name(self) -> str:
        return self.directory.rpartition("/")[2]

    @property
    def version(self) -> str:
        return self.binaries[0].version

    @property
    def packages(self) -> int:
        """How many files in the pool are built from it."""
        return sum(len(binary.architectures) for binary in self.binaries)

    @property
    def files(self) -> int:
        """How many files it has in the pool, its three source files included."""
        return 3 + self.packages


def sources(files: int) -> list[Source]:
    """Enough sources for so many pool files (or all, which is about 320,000), the same on every call."""
    found = _all_sources()
    Random(1).shuffle(found)  # noqa: S311  a choice that can be repeated is the point
    count = total = 0
    while total < files and count < len(found):
        total += found[count].files
        count += 1
    return sorted(found[:count], key=lambda source: source.directory)


def _all_sources() -> list[Source]:
    by_directory: dict[str, list[tuple[str, str, bytes, bool]]] = defaultdict(list)
    for stanza in lzma.decompress(REAL_PACKAGES.read_bytes()).split(b"\n\n"):
        body, found, tail = stanza.partition(b"Filename: ")
        if found:
            fields = _FIELDS.match(body)
            assert fields, body[:80]
            name, version, arch = (value.decode() for value in fields.groups())
            directory = tail.partition(b"\n")[0].decode().rpartition("/")[0]
            by_directory[directory].append((name, version, body.strip(b"\n") + b"\n", arch == "all"))
    random = Random(2)  # noqa: S311
    made = []
    for directory, entries in sorted(by_directory.items()):
        built = (ARCHITECTURES[0], *(arch for arch in ARCHITECTURES[1:] if random.random() < _ELSEWHERE))
        binaries = (Binary(n, v, body, ("all",) if all_ else built) for n, v, body, all_ in entries)
        made.append(Source(directory, tuple(binaries)))
    return made
