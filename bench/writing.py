"""Writes one suite of a large archive at one state: pool files, indices, by-hash, a signed Release.

In dak's layout the Release files are in zzz-dists/ and the indices in by-hash/, with links to them in dists/.

Stanzas are short by default (what mirrors read, and a description: about 270 bytes), as are the pool files,
noise of 100 to 600 bytes: so that a benchmark's time is not the time that bytes take. With `bodies` they are
Debian's own, about 800 bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.names import ARCHITECTURES, Binary, Source
from pushmirror.lab.dists import Layout
from pushmirror.lab.indices import Digest
from pushmirror.lab.signing import LabKey

_BROKEN = "main/binary-amd64/Packages"
_DESCRIPTION = re.compile(rb"^Description: .*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite with a pool of its own."""

    codename: str
    alias: str
    pool: str  # its directory

    def place(self, source: Source) -> str:
        """Where a source and what is built from it are."""
        return self.pool + source.directory.removeprefix("pool")


SUITES = (
    Suite("sid", "unstable", "pool"),
    *(Suite(f"suite{number}", f"alias{number}", f"pool/suite{number}") for number in range(2, 31)),
)


class Tree:
    """The directory that is written to."""

    def __init__(self, top: Path, when: datetime) -> None:
        self.top = top
        self.when = when  # of all files

    def put(self, path: str, data: bytes) -> None:
        """Write a file that is not there yet."""
        full = f"{self.top}/{path}"
        try:
            handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileNotFoundError:
            Path(full).parent.mkdir(parents=True)
            handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
        os.utime(full, (self.when.timestamp(),) * 2)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).symlink_to(target)

    def also(self, path: str, name: str) -> None:
        """Give a file a second name."""
        (self.top / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(self.top / path, self.top / name)


class SuiteWriter:
    """One suite at one state; `known` are facts of pool files that another state has, too."""

    def __init__(
        self,
        tree: Tree,
        suite: Suite,
        chosen: list[Source],
        *,
        layout: Layout,
        replaced: frozenset[str] = frozenset(),
        bodies: bool = False,
        known: Mapping[str, Digest] | None = None,
    ) -> None:
        self._tree = tree
        self._suite = suite
        self._layout = layout
        self._sources = chosen
        self._replaced = replaced  # directories of the sources that have a new version
        self._bodies = bodies
        known = known or {}
        paths = (path for source in chosen for path in self._files(source))
        self.pool = {path: known.get(path) or Digest.of(noise(path)) for path in paths}

    def write_pool(self, *, but: Mapping[str, Digest] | None = None) -> None:
        """Write the pool files, without those that another state has."""
        for path in self.pool.keys() - but.keys() if but else self.pool:
            self._tree.put(path, noise(path))

    def write_dists(self, key: LabKey, *, broken: bool = False) -> None:
        """Write the indices and what is signed; of a broken suite that lists an index as nobody has it."""
        listed: dict[str, Digest] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # compressors let go of the interpreter's lock
            for part in pool.map(self._write_index, (*ARCHITECTURES, "source")):
                listed |= part
        if broken:
            listed |= {name: listed[name].other() for name in listed if name.startswith(_BROKEN)}
        text = self._release(listed)
        with key.unlocked() as signer:
            signed = {"Release": text, "Release.gpg": signer.detached(text), "InRelease": signer.clear(text)}
        for name, data in signed.items():
            path = f"dists/{self._suite.codename}/{name}"
            if self._layout is Layout.DAK:
                self._tree.put(f"zzz-{path}", data)
                self._tree.link(path, f"../../zzz-{path}")
            else:
                self._tree.put(path, data)
        self._tree.link(f"dists/{self._suite.alias}", self._suite.codename)

    def _version(self, source: Source, version: str) -> str:
        return f"{version}+u1" if source.directory in self._replaced else version

    def _files(self, source: Source) -> Iterator[str]:
        yield from self._source_files(source)
        for binary in source.binaries:
            for arch in binary.architectures:
                yield self._deb(source, binary, arch)

    def _source_files(self, source: Source) -> list[str]:
        version = _without_epoch(self._version(source, source.version))
        stem = f"{self._suite.place(source)}/{source.name}_"
        original = _without_epoch(source.version).rpartition("-")[0] or "1"  # an update keeps it
        return [f"{stem}{version}.dsc", f"{stem}{original}.orig.tar.xz", f"{stem}{version}.debian.tar.xz"]

    def _deb(self, source: Source, binary: Binary, arch: str) -> str:
        version = _without_epoch(self._version(source, binary.version))
        return f"{self._suite.place(source)}/{binary.name}_{version}_{arch}.deb"

    def _write_index(self, arch: str) -> dict[str, Digest]:
        if arch == "source":
            name, stanzas = "main/source/Sources", [self._source_stanza(source) for source in self._sources]
        else:
            name, stanzas = f"main/binary-{arch}/Packages", self._binary_stanzas(arch)
        plain = b"".join(stanzas)
        packed = {
            f"{name}.gz": gzip.compress(plain, 1, mtime=0),
            f"{name}.xz": lzma.compress(plain, preset=0),
            f"{name.rpartition('/')[0]}/Release": self._small_release(arch),
        }
        return {name: Digest.of(plain)} | {name: self._put_index(name, data) for name, data in packed.items()}

    def _small_release(self, arch: str) -> bytes:
        return f"Archive: {self._suite.alias}\nComponent: main\nArchitecture: {arch}\n".encode()

    def _put_index(self, name: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        path = f"dists/{self._suite.codename}/{name}"
        directory = path.rpartition("/")[0]
        by_hash = f"by-hash/SHA256/{digest.sha256}"
        self._tree.put(f"{directory}/{by_hash}", data)
        self._tree.also(f"{directory}/{by_hash}", f"{directory}/by-hash/MD5Sum/{digest.md5}")
        if self._layout is Layout.DAK:
            self._tree.link(path, by_hash)
        else:
            self._tree.also(f"{directory}/{by_hash}", path)
        return digest

    def _binary_stanzas(self, arch: str) -> list[bytes]:
        return [
            self._binary_stanza(source, binary, arch if arch in binary.architectures else "all")
            for source in self._sources
            for binary in source.binaries
            if arch in binary.architectures or binary.architectures == ("all",)
        ]

    def _binary_stanza(self, source: Source, binary: Binary, arch: str) -> bytes:
        path = self._deb(source, binary, arch)
        file = self.pool[path]
        version = self._version(source, binary.version)
        tail = f"Filename: {path}\nSize: {file.size}\nSHA256: {file.sha256}\n\n"
        if not self._bodies:
            head = f"Package: {binary.name}\nVersion: {version}\nArchitecture: {arch}\n"
            found = _DESCRIPTION.search(binary.body)
            return head.encode() + (found[0] if found else b"") + tail.encode()
        body = binary.body.replace(
            b"\nVersion: %b\n" % binary.version.encode(), f"\nVersion: {version}\n".encode(), 1
        )
        body = body.replace(b"\nArchitecture: amd64\n", f"\nArchitecture: {arch}\n".encode(), 1)
        return body + f"MD5sum: {file.md5}\n{tail}".encode()

    def _source_stanza(self, source: Source) -> bytes:
        files = [(path.rpartition("/")[2], self.pool[path]) for path in self._source_files(source)]
        md5 = "".join(f" {file.md5} {file.size} {name}\n" for name, file in files)
        sha256 = "".join(f" {file.sha256} {file.size} {name}\n" for name, file in files)
        body = (
            f"Maintainer: The Lab <lab@example.org>\nStandards-Version: 4.6.2\nFormat: 3.0 (quilt)\n"
            f"Build-Depends: debhelper-compat (= 13), dh-sequence-python3, python3-all, python3-setuptools\n"
            f"Homepage: https://{source.name}.example.org/\n"
            f"Package-List:\n {source.name} deb misc optional arch=any\nPriority: optional\nSection: misc\n"
        )
        return (
            f"Package: {source.name}\nBinary: {', '.join(binary.name for binary in source.binaries)}\n"
            f"Version: {self._version(source, source.version)}\nArchitecture: any all\n"
            f"{body if self._bodies else ''}Files:\n{md5}Checksums-Sha256:\n{sha256}"
            f"Directory: {self._suite.place(source)}\n\n"
        ).encode()

    def _release(self, listed: Mapping[str, Digest]) -> bytes:
        head = (
            f"Origin: Lab\nLabel: Lab\nSuite: {self._suite.alias}\nCodename: {self._suite.codename}\n"
            f"Date: {self._tree.when:%a, %d %b %Y %H:%M:%S UTC}\nAcquire-By-Hash: yes\n"
            f"No-Support-for-Architecture-all: Packages\n"
            f"Architectures: all {' '.join(ARCHITECTURES)}\nComponents: main\n"
            f"Description: a large archive of the lab\n"
        )
        md5 = "".join(f" {file.md5} {file.size:8} {name}\n" for name, file in sorted(listed.items()))
        sha256 = "".join(f" {file.sha256} {file.size:8} {name}\n" for name, file in sorted(listed.items()))
        return f"{head}MD5Sum:\n{md5}SHA256:\n{sha256}".encode()


def noise(path: str) -> bytes:
    """What a pool file holds: the same for the same path, and nothing that could be compressed."""
    data = hashlib.shake_256(path.encode()).digest(602)
    return data[2 : 102 + int.from_bytes(data[:2], "big") % 501]


def stanzas(binary: Binary) -> int:
    """In how many Packages files it is: Debian lists what is for all architectures in each."""
    return len(ARCHITECTURES if binary.architectures == ("all",) else binary.architectures)


def _without_epoch(version: str) -> str:
    return version.rpartition(":")[2]
