"""What the lab's archive holds: source packages, their files in the pool, and their index entries.

Everything follows from (seed, number, version): the same package has the same bytes on every machine. The
files are noise of the right names and sizes, no real .deb. Pure values; `lab.archive` writes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path

ARCHITECTURES = ("amd64", "arm64")
_WORDS = (
    *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"),
    *("kilo", "libmike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "libuniform"),
    *("victor", "whiskey", "xray", "yankee", "zulu", "g++"),
)


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a source package."""

    number: int  # its place in the order of arrival; decides name, component and kind
    upstream: int = 0
    revision: int = 1

    @property
    def name(self) -> str:
        again, word = divmod(self.number, len(_WORDS))
        return f"{_WORDS[word]}{again or ''}"

    @property
    def component(self) -> str:
        return "contrib" if self.number % 10 == 9 else "main"

    @property
    def binary_architectures(self) -> tuple[str, ...]:
        return ("all",) if self.number % 3 == 2 else ARCHITECTURES

    @property
    def has_udeb(self) -> bool:
        """Whether a part of it is for the installer alone."""
        return self.component == "main" and self.number % 8 == 0

    @property
    def version(self) -> str:
        """The version as in the indices, some with an epoch, `+` or `~`, as the real ones."""
        return f"{'1:' if self.number % 7 == 3 else ''}{self.file_version}"

    @property
    def file_version(self) -> str:
        suffix = "~deb13u1" if self.number % 6 == 2 else ""
        return f"{self._upstream_version}-{self.revision}{suffix}"

    @property
    def _upstream_version(self) -> str:
        return f"1.{self.upstream}{'+dfsg' if self.number % 4 == 1 else ''}"

    @property
    def directory(self) -> str:
        prefix = self.name[:4] if self.name.startswith("lib") else self.name[0]
        return f"pool/{self.component}/{prefix}/{self.name}"

    @property
    def orig_name(self) -> str:
        return f"{self.name}_{self._upstream_version}.orig.tar.xz"

    def successor(self) -> Package:
        """The next version: mostly a new Debian revision, which keeps the .orig.tar.xz."""
        if (self.number + self.revision) % 4 == 0:
            return replace(self, upstream=self.upstream + 1, revision=1)
        return replace(self, revision=self.revision + 1)


@dataclass(frozen=True, slots=True)
class PoolFile:
    """A file in the pool."""

    path: str  # below the tree
    size: int  # bytes
    md5: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Built:
    """A package with its files and its index entries."""

    package: Package
    sources: tuple[PoolFile, ...]
    binaries: tuple[tuple[str, PoolFile], ...]  # architecture (of a udeb: udeb-ARCHITECTURE), file
    stanzas: dict[str, str]  # the same, or "source" -> entry in Packages or Sources, with its blank line

    def files(self) -> Iterator[PoolFile]:
        yield from self.sources
        for _, file in self.binaries:
            yield file


def content(seed: int, path: str, largest: int) -> bytes:
    """The bytes of the pool file `path`: noise of 100 to `largest` bytes."""
    noise = hashlib.shake_256(f"{seed}:{path}".encode())
    size = 100 + int.from_bytes(noise.digest(4), "big") % max(1, largest - 99)
    return noise.digest(size)


def build(package: Package, seed: int, largest: int) -> Built:
    """The files and index entries of a package."""

    def file(name: str) -> PoolFile:
        path = f"{package.directory}/{name}"
        data = content(seed, path, largest)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return PoolFile(path, len(data), md5, hashlib.sha256(data).hexdigest())

    stem = f"{package.name}_{package.file_version}"
    sources = (file(f"{stem}.dsc"), file(package.orig_name), file(f"{stem}.debian.tar.xz"))
    binaries = [(arch, file(f"{stem}_{arch}.deb")) for arch in package.binary_architectures]
    for arch in package.binary_architectures if package.has_udeb else ():
        udeb = f"{package.name}-udeb_{package.file_version}_{arch}.udeb"
        binaries.append((f"udeb-{arch}", file(udeb)))
    stanzas = {key: _binary_stanza(package, key, deb) for key, deb in binaries}
    stanzas["source"] = _source_stanza(package, sources)
    return Built(package, sources, tuple(binaries), stanzas)


def _binary_stanza(package: Package, key: str, deb: PoolFile) -> str:
    is_udeb, arch = key.startswith("udeb-"), key.removeprefix("udeb-")
    return (
        f"Package: {package.name}{'-udeb' if is_udeb else ''}\nVersion: {package.version}\n"
        f"Installed-Size: 12\nMaintainer: The Lab <lab@example.org>\nArchitecture: {arch}\n"
        f"Description: package {package.number} of the lab\n"
        f"Section: {'debian-installer' if is_udeb else 'misc'}\nPriority: optional\n"
        f"Filename: {deb.path}\nSize: {deb.size}\n"
        f"MD5sum: {deb.md5}\nSHA256: {deb.sha256}\n\n"
    )


def _source_stanza(package: Package, sources: tuple[PoolFile, ...]) -> str:
    def listing(digest: str) -> str:
        return "".join(
            f" {getattr(file, digest)} {file.size} {file.path.rpartition('/')[2]}\n" for file in sources
        )

    return (
        f"Package: {package.name}\nBinary: {package.name}\nVersion: {package.version}\n"
        f"Maintainer: The Lab <lab@example.org>\nArchitecture: {' '.join(package.binary_architectures)}\n"
        f"Format: 3.0 (quilt)\nFiles:\n{listing('md5')}Checksums-Sha256:\n{listing('sha256')}"
        f"Directory: {package.directory}\nPriority: optional\nSection: misc\n\n"
    )


# -- writing as dak does: each file beside the tree, then renamed ---


class Tree:
    """A directory that is served while it is written.

    New files carry the time of the generation that brought them, not of the moment: two generations within
    one second would otherwise leave files of equal size and time, which rsync takes for equal files.
    """

    def __init__(self, path: Path, incoming: Path) -> None:
        self.path = path
        self._incoming = incoming  # on the same file system, so that a rename is one step
        self._numbers = count()
        path.mkdir(parents=True)
        incoming.mkdir(parents=True)

    def put(self, name: str, data: bytes, when: datetime, *, links: tuple[str, ...] = ()) -> None:
        """Make the file `name`, first under the further names `links` that do not exist yet."""
        beside = self._incoming / str(next(self._numbers))
        beside.write_bytes(data)
        beside.chmod(0o644)
        os.utime(beside, (when.timestamp(), when.timestamp()))
        for link in links:
            with suppress(FileExistsError):
                os.link(beside, self._ready(link))
        beside.replace(self._ready(name))

    def symlink(self, name: str, target: str) -> None:
        """Make or turn the symbolic link `name`."""
        path = self._ready(name)
        if path.is_symlink() and str(path.readlink()) == target:
            return
        beside = self._incoming / str(next(self._numbers))
        beside.symlink_to(target)
        beside.replace(path)

    def resolve(self, name: str) -> str:
        """The name of the file that a name leads to."""
        return str((self.path / name).resolve().relative_to(self.path.resolve()))

    def remove(self, name: str) -> None:
        """Delete a file, and the directories that it leaves empty."""
        path = self.path / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self.path:
                return
            try:
                parent.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # there is something in it
                return

    def _ready(self, name: str) -> Path:
        path = self.path / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        return path
