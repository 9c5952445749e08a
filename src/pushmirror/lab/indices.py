"""The indices and Release file of one suite of the lab's archive, shaped as dak writes them.

Pure: packages in, names and bytes out. Names are below the suite's directory. An index has a plain form,
which is listed in Release but not on disk, and the compressed forms that are both, as in Debian.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from pushmirror.lab.packages import ARCHITECTURES, Built

COMPONENTS = ("main", "contrib")
_FORMATS = {
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": lambda data: bz2.compress(data, 1),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """What stays the same about a suite from one update to the next."""

    codename: str  # never changes
    alias: str  # its Suite field
    by_hash: bool
    every: int  # it holds every so many-th package
    pdiffs: bool = False
    valid_for: timedelta | None = None
    home: str = ""  # its directory in dists/, if that is not its codename
    frozen: bool = False  # no update changes its packages
    version: str = ""

    @property
    def name(self) -> str:
        """Its directory in dists/."""
        return self.home or self.codename

    @property
    def links(self) -> tuple[str, ...]:
        """The symbolic links to it in dists/."""
        return tuple(name for name in (self.alias, self.codename) if name != self.name)


SUITES = (
    Suite("trixie", "stable", by_hash=True, every=2),
    Suite("sid", "unstable", by_hash=True, every=1, pdiffs=True, valid_for=timedelta(days=7)),
    Suite("wheezy", "oldoldstable", by_hash=False, every=5),
    Suite("trixie-proposed-updates", "proposed-updates", by_hash=True, every=7),
)


@dataclass(frozen=True, slots=True)
class Digest:
    """Size and hashes of a file, as Release lists them."""

    size: int  # bytes
    md5: str
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Digest:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return cls(len(data), md5, hashlib.sha256(data).hexdigest())

    def other(self) -> Digest:
        """One of the same size and with hashes that no file has."""
        return Digest(self.size, self.md5[::-1], self.sha256[::-1])


@lru_cache(maxsize=256)  # most indices of a small archive are empty, and so the same
def compressed(plain: bytes, suffix: str) -> bytes:
    """The form of an index with this suffix: "", ".gz" or ".xz"."""
    return _FORMATS[suffix](plain) if suffix else plain


def plain_indices(suite: Suite, members: Iterable[Built]) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Every index of a suite: name without suffix, plain content, the suffixes it is on disk with."""
    members = list(members)
    for component in COMPONENTS:
        mine = [built for built in members if built.package.component == component]
        for arch in (*ARCHITECTURES, "all"):
            yield from _packages(suite, component, arch, mine)
        for arch in ARCHITECTURES if component == "main" else ():
            yield from _packages(suite, f"{component}/debian-installer", arch, mine, udebs=True)
            yield f"{component}/Contents-udeb-{arch}", _contents(mine, f"udeb-{arch}"), (".gz",)
        sources = "".join(built.stanzas["source"] for built in mine)
        yield f"{component}/source/Sources", sources.encode(), (".gz", ".xz")
        yield f"{component}/source/Release", _small_release(suite, component, "source"), ("",)
        for arch in (*ARCHITECTURES, "all", "source"):
            yield f"{component}/Contents-{arch}", _contents(mine, arch), (".gz",)
        for language in ("de", "en"):
            yield f"{component}/i18n/Translation-{language}", _translation(mine, language), (".bz2",)
        yield f"{component}/dep11/Components-amd64.yml", _components(suite, component, mine), (".gz", ".xz")
        yield f"{component}/dep11/icons-64x64.tar", _contents(mine, "amd64"), (".gz",)
        yield f"{component}/cnf/Commands-amd64", _commands(suite, component, mine), (".xz",)
    if not suite.by_hash:  # as in old times
        yield "Contents-amd64", _contents(members, "amd64"), (".gz",)


def _packages(
    suite: Suite, component: str, arch: str, members: Iterable[Built], *, udebs: bool = False
) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    kind = "udeb-" if udebs else ""
    wanted = {f"{kind}{arch}", f"{kind}all"}
    entries = [stanza for built in members for key, stanza in built.stanzas.items() if key in wanted]
    yield f"{component}/binary-{arch}/Packages", "".join(entries).encode(), (".gz", ".xz")
    yield f"{component}/binary-{arch}/Release", _small_release(suite, component, arch), ("",)


def _small_release(suite: Suite, component: str, arch: str) -> bytes:
    by_hash = "Acquire-By-Hash: yes\n" if suite.by_hash else ""
    return (
        f"Archive: {suite.alias}\nOrigin: Lab\nLabel: Lab\n{by_hash}"
        f"Component: {component}\nArchitecture: {arch}\n"
    ).encode()


def _contents(packages: list[Built], arch: str) -> bytes:
    names = [built.package.name for built in packages if arch in built.stanzas]
    return "".join(f"usr/bin/{name} misc/{name}\n" for name in sorted(names)).encode()


def _translation(packages: list[Built], language: str) -> bytes:
    entries = (
        f"Package: {built.package.name}\nDescription-md5: {built.sources[0].md5}\n"
        f"Description-{language}: package {built.package.number} of the lab\n .\n Nothing in it.\n\n"
        for built in packages
    )
    return "".join(entries).encode()


def _components(suite: Suite, component: str, packages: list[Built]) -> bytes:
    head = f"---\nFile: DEP-11\nVersion: '1.0'\nOrigin: {suite.codename}-{component}\n"
    return (head + "".join(f"---\nID: {built.package.name}.desktop\n" for built in packages)).encode()


def _commands(suite: Suite, component: str, packages: list[Built]) -> bytes:
    head = f"suite: {suite.codename}\ncomponent: {component}\narch: amd64\n\n"
    names = (built.package for built in packages)
    return (
        head + "".join(f"name: {p.name}\nversion: {p.version}\ncommands: {p.name}\n\n" for p in names)
    ).encode()


@dataclass(frozen=True, slots=True)
class Pdiff:
    """One patch of a Packages.diff directory: from an older Packages to the next."""

    name: str
    old: Digest
    script: bytes

    @property
    def packed(self) -> bytes:
        return compressed(self.script, ".gz")


def pdiff(old: bytes, new: bytes, when: datetime) -> Pdiff:
    """A patch as apt's rred reads it; one that replaces every line is a valid, if lazy, one."""
    lines = old.count(b"\n")
    command = b"0a\n" if lines == 0 else b"1,%dc\n" % lines if new else b"1,%dd\n" % lines
    script = command + new + (b".\n" if new else b"")
    return Pdiff(f"T-{when:%Y-%m-%d-%H%M.%S}-F-{Digest.of(old).sha256[:8]}", Digest.of(old), script)


def pdiff_index(current: bytes, patches: Iterable[Pdiff]) -> bytes:
    """The Index of a Packages.diff directory."""
    patches = list(patches)
    history = "".join(f" {p.old.sha256} {p.old.size} {p.name}\n" for p in patches)
    scripts = "".join(f" {d.sha256} {d.size} {p.name}\n" for p in patches for d in [Digest.of(p.script)])
    packed = "".join(f" {d.sha256} {d.size} {p.name}.gz\n" for p in patches for d in [Digest.of(p.packed)])
    now = Digest.of(current)
    return (
        f"SHA256-Current: {now.sha256} {now.size}\nSHA256-History:\n{history}"
        f"SHA256-Patches:\n{scripts}SHA256-Download:\n{packed}"
    ).encode()


def release_text(suite: Suite, listed: Mapping[str, Digest], when: datetime) -> bytes:
    """The Release file of a suite that lists these files."""
    stamp = "%a, %d %b %Y %H:%M:%S UTC"
    head = [
        "Origin: Lab",
        "Label: Lab",
        f"Suite: {suite.alias}",
        *([f"Version: {suite.version}"] if suite.version else []),
        f"Codename: {suite.codename}",
        f"Date: {when:{stamp}}",
        *([f"Valid-Until: {when + suite.valid_for:{stamp}}"] if suite.valid_for else []),
        *(["Acquire-By-Hash: yes"] if suite.by_hash else []),
        "No-Support-for-Architecture-all: Packages",
        f"Architectures: {' '.join(('all', *ARCHITECTURES))}",
        f"Components: {' '.join(COMPONENTS)}",
        "Description: an archive of the lab",
    ]
    names = sorted(listed)
    md5 = [f" {listed[name].md5} {listed[name].size:8} {name}" for name in names]
    sha256 = [f" {listed[name].sha256} {listed[name].size:8} {name}" for name in names]
    return "\n".join([*head, "MD5Sum:", *md5, "SHA256:", *sha256, ""]).encode()
