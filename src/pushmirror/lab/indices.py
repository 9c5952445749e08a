"""The indices and Release file of one suite of the lab's archive, shaped as dak writes them.

Pure: packages in, names and bytes out. Names are below the suite's directory. An index has a plain form,
which is listed in Release but not on disk, and the compressed forms that are both, as in Debian.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pushmirror.lab.packages import ARCHITECTURES, Built

COMPONENTS = ("main", "contrib")
_FORMATS = {
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=0),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """What stays the same about a suite."""

    codename: str  # its directory in dists/
    alias: str  # the symbolic link to it, and its Suite field
    by_hash: bool
    every: int  # it holds every so many-th package
    pdiffs: bool = False
    valid_for: timedelta | None = None

    @property
    def directory(self) -> str:
        return f"dists/{self.codename}"


SUITES = (
    Suite("trixie", "stable", by_hash=True, every=2),
    Suite("sid", "unstable", by_hash=True, every=1, pdiffs=True, valid_for=timedelta(days=7)),
    Suite("wheezy", "oldoldstable", by_hash=False, every=5),
)


@dataclass(frozen=True, slots=True)
class Digest:
    """What Release says about a file."""

    size: int  # bytes
    md5: str
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Digest:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return cls(len(data), md5, hashlib.sha256(data).hexdigest())


def compressed(plain: bytes, suffix: str) -> bytes:
    """The form of an index with this suffix: "", ".gz" or ".xz"."""
    return _FORMATS[suffix](plain) if suffix else plain


def plain_indices(suite: Suite, packages: Iterable[Built]) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Every index of a suite: name without suffix, plain content, the suffixes it is on disk with."""
    members = [built for built in packages if built.package.number % suite.every == 0]
    for component in COMPONENTS:
        mine = [built for built in members if built.package.component == component]
        for arch in (*ARCHITECTURES, "all"):
            entries = [
                stanza for built in mine for key, stanza in built.stanzas.items() if key in {arch, "all"}
            ]
            yield f"{component}/binary-{arch}/Packages", "".join(entries).encode(), (".gz", ".xz")
            yield f"{component}/binary-{arch}/Release", _small_release(suite, component, arch), ("",)
            yield f"{component}/Contents-{arch}", _contents(mine, arch), (".gz",)
        sources = "".join(built.stanzas["source"] for built in mine)
        yield f"{component}/source/Sources", sources.encode(), (".gz", ".xz")
        yield f"{component}/source/Release", _small_release(suite, component, "source"), ("",)
        yield f"{component}/Contents-source", _contents(mine, "source"), (".gz",)
        yield f"{component}/i18n/Translation-en", _translation(mine), (".xz",)
        yield f"{component}/dep11/Components-amd64.yml", _components(suite, component, mine), (".gz", ".xz")
        yield f"{component}/cnf/Commands-amd64", _commands(suite, component, mine), (".xz",)


def _small_release(suite: Suite, component: str, arch: str) -> bytes:
    by_hash = "Acquire-By-Hash: yes\n" if suite.by_hash else ""
    return (
        f"Archive: {suite.alias}\nOrigin: Lab\nLabel: Lab\n{by_hash}"
        f"Component: {component}\nArchitecture: {arch}\n"
    ).encode()


def _contents(packages: list[Built], arch: str) -> bytes:
    names = [built.package.name for built in packages if arch in built.stanzas]
    return "".join(f"usr/bin/{name} misc/{name}\n" for name in sorted(names)).encode()


def _translation(packages: list[Built]) -> bytes:
    entries = (
        f"Package: {built.package.name}\nDescription-md5: {built.sources[0].md5}\n"
        f"Description-en: package {built.package.number} of the lab\n .\n Nothing in it.\n\n"
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


def release_text(
    suite: Suite, listed: Mapping[str, Digest], when: datetime, *, valid_until: datetime | None = None
) -> bytes:
    """The Release file of a suite that lists these files."""
    if valid_until is None and suite.valid_for:
        valid_until = when + suite.valid_for
    stamp = "%a, %d %b %Y %H:%M:%S UTC"
    head = [
        "Origin: Lab",
        "Label: Lab",
        f"Suite: {suite.alias}",
        f"Codename: {suite.codename}",
        f"Date: {when:{stamp}}",
        *([f"Valid-Until: {valid_until:{stamp}}"] if valid_until else []),
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
