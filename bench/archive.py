"""A large upstream in two states, A and an update later B, between which its one tree can be switched.

Guaranteed: names and counts of indices like Debian's (nine architectures, Packages and Sources as .gz and
.xz, by-hash, true hashes, a signed Release); see writing.py for their sizes. B keeps A's by-hash files, as
dak does for a while. The update replaces about 500 packages (files of the pool), with the sources they are
built from and all that is built from these, in the first suite; further suites are as large as that one and
not touched by it. The tree is a plain one at both states: files that differ are renamed in and out, so that
nothing is linked with another state and no competitor pays for how the tree was made.
What is left out: Contents, translations, pdiffs, installers, udebs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from random import Random

from bench.names import Source, sources
from bench.report import say
from bench.writing import SUITES, SuiteWriter, Tree, stanzas
from pushmirror.errors import Exit
from pushmirror.lab.dists import Layout
from pushmirror.lab.signing import LabKey
from pushmirror.system import locks

_FORMAT = 5  # to be raised when archives made before are of no use any more
_HOST = "archive.lab.example.org"
_UPDATE_AFTER = timedelta(hours=6)
ALL_SOURCES = 322_000  # about so many pool files are all that the real Packages has names for


class Last(StrEnum):
    """What the update does to the last of several suites."""

    SAME = "same"
    NEW = "new"  # a new Release
    BROKEN = "broken"  # a new Release that lists an index as nobody has it


@dataclass(frozen=True, slots=True)
class Shape:
    """What an archive is like."""

    files: int  # pool files of each suite, about; ALL_SOURCES at the most
    suites: int = 1
    update: int = 500  # packages that are replaced between A and B, at least
    bodies: bool = False  # stanzas as long as Debian's
    layout: Layout = Layout.DAK
    last: Last = Last.SAME

    @classmethod
    def of(cls, files: int, *, bodies: bool = False, layout: Layout = Layout.DAK) -> Shape:
        """The shape with so many pool files in all."""
        suites = -(-files // (ALL_SOURCES + 1_000))
        return cls(files // suites, suites, bodies=bodies, layout=layout)

    @property
    def name(self) -> str:
        more = [*(["bodies"] if self.bodies else []), self.layout, self.last]
        return f"archive-{self.files}x{self.suites}-{self.update}-{'-'.join(more)}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the archive has."""

    pool_files: int
    directories: int
    packages: int  # stanzas in all Packages files
    changed_sources: int
    changed_packages: int  # pool files that are built from them
    added: int  # pool files that B has and A has not
    removed: int

    def __str__(self) -> str:
        return (
            f"{self.pool_files:,} pool files in {self.directories:,} directories, {self.packages:,} stanzas; "
            f"the update: {self.changed_packages:,} packages of {self.changed_sources:,} sources, "
            f"{self.added:,} pool files come, {self.removed:,} go"
        )


class BigArchive:
    """An archive in `path`, whose Release files verify with `keyring`."""

    def __init__(self, directory: Path, shape: Shape) -> None:
        self.directory = directory
        self.shape = shape
        self.path = directory / "tree"
        self.keyring = directory / "keyring.gpg"
        self._record = directory / "archive.json"
        record = json.loads(self._record.read_text())
        self.facts = Facts(**record["facts"])
        self.suites: Sequence[str] = record["suites"]
        self.only: Mapping[str, list[str]] = record["only"]  # state -> paths that only it has this way
        self.state: str = record["state"]

    @property
    def held(self) -> str:
        """The suite that mirrors cannot publish at B; empty where there is none."""
        return self.suites[-1] if self.shape.last is Last.BROKEN else ""

    @property
    def exit_codes(self) -> Collection[int]:
        """What a mirror of it may end with."""
        return {Exit.OK, Exit.HELD} if self.held else {Exit.OK}

    @classmethod
    def at(cls, directory: Path, shape: Shape) -> BigArchive:
        """The archive of this shape below `directory`, made if it is not there yet, at state A."""
        place = directory / f"{shape.name}-{_FORMAT}"
        if (place / "archive.json").exists():
            archive = cls(place, shape)
            with archive.in_use():
                archive = cls(place, shape)
                if archive.state in {"A", "B"}:
                    archive.switch("A")
                    return archive
        shutil.rmtree(place, ignore_errors=True)  # a switch was interrupted, or there is none
        unfinished = place.with_name(f"{place.name}.{os.getpid()}")
        _create(unfinished, shape)
        unfinished.rename(place)
        return cls(place, shape)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other benchmarks from switching it meanwhile; PushmirrorError if one of them is at work."""
        with locks.locked(self.directory, patience_s=0):
            yield

    def switch(self, state: str) -> None:
        """Turn the tree to state "A" or "B"."""
        if state == self.state:
            return
        old, self.state = self.state, "between"
        self._remember()
        _move(self.only[old], self.path, self.directory / old)
        _move(self.only[state], self.directory / state, self.path)
        self.state = state
        self._remember()

    def _remember(self) -> None:
        record = json.loads(self._record.read_text())
        self._record.write_text(json.dumps({**record, "state": self.state}))


def _move(paths: list[str], source: Path, target: Path) -> None:
    for path in paths:
        try:
            (source / path).rename(target / path)
        except FileNotFoundError:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).rename(target / path)


# -- making one --------------------------------------------------------------------------------------------


def _create(place: Path, shape: Shape) -> None:
    say(f"making {place}")
    chosen = sources(shape.files)
    replaced = _replaced(chosen, shape.update)
    when = datetime.now(UTC).replace(microsecond=0) - 2 * _UPDATE_AFTER
    key = LabKey.create(place / "key")
    (place / "keyring.gpg").write_bytes(key.public)
    a, b = Tree(place / "tree", when), Tree(place / "B", when + _UPDATE_AFTER)
    facts, gone = _write(a, b, chosen, replaced=replaced, shape=shape, key=key)
    only_b = _own(place)
    record = {
        "facts": asdict(facts),
        "suites": [suite.codename for suite in SUITES[: shape.suites]],
        "only": {
            "A": sorted([*gone, *(path for path in only_b if os.path.lexists(a.top / path))]),
            "B": only_b,
        },
        "state": "A",
    }
    (place / "archive.json").write_text(json.dumps(record))
    say(f"made it: {facts}")


def _replaced(chosen: list[Source], packages: int) -> list[Source]:
    """Sources with so many packages, the same on every call."""
    found, count = [], 0
    for source in Random(3).sample(chosen, len(chosen)):  # noqa: S311
        if count >= packages:
            break
        found.append(source)
        count += source.packages
    return found


def _write(
    a: Tree, b: Tree, chosen: list[Source], *, replaced: list[Source], shape: Shape, key: LabKey
) -> tuple[Facts, list[str]]:
    """Write both states, B without A's pool files; the facts, and the pool files that B has not."""
    first, *further = SUITES[: shape.suites]
    old = SuiteWriter(a, first, chosen, bodies=shape.bodies, layout=shape.layout)
    old.write_pool()
    old.write_dists(key)
    directories = frozenset(source.directory for source in replaced)
    new = SuiteWriter(
        b, first, chosen, layout=shape.layout, replaced=directories, bodies=shape.bodies, known=old.pool
    )
    new.write_pool(but=old.pool)
    new.write_dists(key)
    for suite in further:
        other = SuiteWriter(a, suite, chosen, bodies=shape.bodies, layout=shape.layout)
        other.write_pool()
        other.write_dists(key)
        if shape.last is not Last.SAME and suite is further[-1]:
            later = SuiteWriter(b, suite, chosen, layout=shape.layout, bodies=shape.bodies, known=other.pool)
            later.write_dists(key, broken=shape.last is Last.BROKEN)
    for tree in (a, b):
        trace = f"{tree.when:%a %b %d %H:%M:%S UTC %Y}\nArchive serial: {tree.when:%Y%m%d%H}\n"
        tree.put(f"project/trace/{_HOST}", trace.encode())
        tree.link("project/trace/master", _HOST)
    gone = sorted(old.pool.keys() - new.pool.keys())
    facts = Facts(
        pool_files=len(old.pool) * shape.suites,
        directories=len(chosen) * shape.suites,
        packages=sum(stanzas(binary) for source in chosen for binary in source.binaries) * shape.suites,
        changed_sources=len(replaced),
        changed_packages=sum(source.packages for source in replaced),
        added=len(new.pool.keys() - old.pool.keys()),
        removed=len(gone),
    )
    return facts, gone


def _own(place: Path) -> list[str]:
    """What B has not just as A has it; the rest is taken away from it."""
    own = []
    for path in _walk(place / "B"):
        if _same(place / "tree" / path, place / "B" / path):
            (place / "B" / path).unlink()
        else:
            own.append(path)
    return sorted(own)


def _walk(top: Path) -> Iterator[str]:
    for directory, _, files in os.walk(top):
        for name in files:
            yield str(Path(directory, name).relative_to(top))


def _same(one: Path, other: Path) -> bool:
    """Whether both hold the same: what does not change keeps its time, too."""
    if not os.path.lexists(one):
        return False
    if one.is_symlink():
        return one.readlink() == other.readlink()
    return one.read_bytes() == other.read_bytes()
