"""A large upstream in two states, A and an update later B, between which its one tree can be switched.

Guaranteed: names and sizes of indices like Debian's (nine architectures, Packages and Sources as .gz and
.xz, by-hash, true hashes, a signed Release); pool files are noise of 100 to 600 bytes. B keeps A's by-hash
files, as dak does for a while. The tree is a plain one at both states: files that differ are renamed in and
out, so that nothing is linked with another state and no competitor pays for how the tree was made.
What is left out: Contents, translations, pdiffs, installers, more than one suite.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from bench.names import ARCHITECTURES, Binary, Source, sources
from bench.report import say
from pushmirror.lab.indices import Digest
from pushmirror.lab.signing import LabKey

_LAYOUT = 1  # to be raised when archives made before are of no use any more
_SUITE = "dists/sid"
_HOST = "archive.lab.example.org"
_UPDATE_AFTER = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the archive has."""

    pool_files: int
    directories: int
    packages: int  # stanzas in all Packages files
    changed_sources: int
    added: int  # pool files that B has and A has not
    removed: int


class BigArchive:
    """An archive in `path`, whose Release verifies with `keyring`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "tree"
        self.keyring = directory / "keyring.gpg"
        self._record = directory / "archive.json"
        record = json.loads(self._record.read_text())
        self.facts = Facts(**record["facts"])
        self._only: Mapping[str, list[str]] = record["only"]  # state -> paths that only it has this way
        self.state: str = record["state"]

    @classmethod
    def at(cls, directory: Path, *, files: int, update: int = 500) -> BigArchive:
        """The archive of about so many pool files below `directory`, made if it is not there yet.

        `update` says how many sources the step from A to B replaces, with everything built from them.
        """
        place = directory / f"archive-{files}-{update}-{_LAYOUT}"
        try:
            archive = cls(place)
        except FileNotFoundError:
            archive = None
        if archive is None or archive.state not in {"A", "B"}:  # a switch was interrupted
            shutil.rmtree(place, ignore_errors=True)
            _create(place, files, update)
            archive = cls(place)
        archive.switch("A")
        return archive

    def switch(self, state: str) -> None:
        """Turn the tree to state "A" or "B"."""
        if state == self.state:
            return
        old, self.state = self.state, "between"
        self._remember()
        _move(self._only[old], self.path, self.directory / old)
        _move(self._only[state], self.directory / state, self.path)
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


def _create(place: Path, files: int, update: int) -> None:
    say(f"making an archive of about {files} pool files in {place}")
    chosen = sources(files)
    replaced = frozenset(
        source.directory
        for source in Random(3).sample(chosen, min(update, len(chosen)))  # noqa: S311
    )
    when = datetime.now(UTC).replace(microsecond=0) - 2 * _UPDATE_AFTER
    key = LabKey.create(place / "key")
    (place / "keyring.gpg").write_bytes(key.public)
    a = _Writer(place / "tree", when, chosen, frozenset())
    a.write_pool(a.pool)
    a.write_dists(key)
    b = _Writer(place / "B", when + _UPDATE_AFTER, chosen, replaced)
    b.write_pool(b.pool.keys() - a.pool.keys())
    b.write_dists(key)
    own = {path: os.lstat(place / "B" / path) for path in _walk(place / "B")}
    same = {path for path in own if _same(place / "tree" / path, place / "B" / path)}
    for path in same:
        (place / "B" / path).unlink()
    only_b = sorted(own.keys() - same)
    only_a = sorted(
        [
            *(a.pool.keys() - b.pool.keys()),
            *(path for path in only_b if os.path.lexists(place / "tree" / path)),
        ]
    )
    facts = {
        "pool_files": len(a.pool),
        "directories": len(chosen),
        "packages": sum(_stanzas(binary) for source in chosen for binary in source.binaries),
        "changed_sources": len(replaced),
        "added": len(b.pool.keys() - a.pool.keys()),
        "removed": len(a.pool.keys() - b.pool.keys()),
    }
    record = {"facts": facts, "only": {"A": only_a, "B": only_b}, "state": "A"}
    (place / "archive.json").write_text(json.dumps(record))
    say(f"made it: {facts}")


class _Writer:
    """Writes one state below `top`."""

    def __init__(self, top: Path, when: datetime, chosen: list[Source], replaced: frozenset[str]) -> None:
        self.top = top
        self._when = when
        self._sources = chosen
        self._replaced = replaced
        self.pool = {path: Digest.of(_noise(path)) for source in chosen for path in self._files(source)}

    def write_pool(self, paths: Mapping[str, Digest] | set[str]) -> None:
        for path in sorted(paths):
            self._put(path, _noise(path))

    def write_dists(self, key: LabKey) -> None:
        listed: dict[str, Digest] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # compressors let go of the interpreter's lock
            for part in pool.map(self._write_index, (*ARCHITECTURES, "source")):
                listed |= part
        text = self._release(listed)
        with key.unlocked() as signer:
            releases = {
                "Release": text,
                "Release.gpg": signer.detached(text),
                "InRelease": signer.clear(text),
            }
        for name, data in releases.items():
            self._put(f"{_SUITE}/{name}", data)
        self._symlink("dists/unstable", "sid")
        trace = f"{self._when:%a %b %d %H:%M:%S UTC %Y}\nArchive serial: {self._when:%Y%m%d%H}\n"
        self._put(f"project/trace/{_HOST}", trace.encode())
        self._symlink("project/trace/master", _HOST)

    def _version(self, source: Source, version: str) -> str:
        return f"{version}+u1" if source.directory in self._replaced else version

    def _files(self, source: Source) -> Iterator[str]:
        yield from self._source_files(source)
        for binary in source.binaries:
            for arch in binary.architectures:
                yield self._deb(source, binary, arch)

    def _source_files(self, source: Source) -> list[str]:
        version = _without_epoch(self._version(source, source.version))
        stem = f"{source.directory}/{source.name}_"
        original = _without_epoch(source.version).rpartition("-")[0] or "1"  # an update keeps it
        return [f"{stem}{version}.dsc", f"{stem}{original}.orig.tar.xz", f"{stem}{version}.debian.tar.xz"]

    def _deb(self, source: Source, binary: Binary, arch: str) -> str:
        version = _without_epoch(self._version(source, binary.version))
        return f"{source.directory}/{binary.name}_{version}_{arch}.deb"

    def _write_index(self, arch: str) -> dict[str, Digest]:
        if arch == "source":
            name, stanzas = "main/source/Sources", [self._source_stanza(source) for source in self._sources]
        else:
            name, stanzas = f"main/binary-{arch}/Packages", self._binary_stanzas(arch)
        plain = b"".join(stanzas)
        small = f"Archive: unstable\nComponent: main\nArchitecture: {arch}\n".encode()
        return {
            name: Digest.of(plain),
            f"{name}.gz": self._put_index(f"{name}.gz", gzip.compress(plain, 1, mtime=0)),
            f"{name}.xz": self._put_index(f"{name}.xz", lzma.compress(plain, preset=0)),
            f"{name.rpartition('/')[0]}/Release": self._put_index(
                f"{name.rpartition('/')[0]}/Release", small
            ),
        }

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
        body = binary.body.replace(
            b"\nVersion: %b\n" % binary.version.encode(), f"\nVersion: {version}\n".encode(), 1
        )
        body = body.replace(b"\nArchitecture: amd64\n", f"\nArchitecture: {arch}\n".encode(), 1)
        tail = f"Filename: {path}\nSize: {file.size}\nMD5sum: {file.md5}\nSHA256: {file.sha256}\n\n"
        return body + tail.encode()

    def _source_stanza(self, source: Source) -> bytes:
        files = [(path.rpartition("/")[2], self.pool[path]) for path in self._source_files(source)]
        md5 = "".join(f" {file.md5} {file.size} {name}\n" for name, file in files)
        sha256 = "".join(f" {file.sha256} {file.size} {name}\n" for name, file in files)
        return (
            f"Package: {source.name}\nBinary: {', '.join(binary.name for binary in source.binaries)}\n"
            f"Version: {self._version(source, source.version)}\nMaintainer: The Lab <lab@example.org>\n"
            f"Build-Depends: debhelper-compat (= 13), dh-sequence-python3, python3-all, python3-setuptools\n"
            f"Architecture: any all\nStandards-Version: 4.6.2\nFormat: 3.0 (quilt)\nFiles:\n{md5}"
            f"Checksums-Sha256:\n{sha256}Homepage: https://{source.name}.example.org/\n"
            f"Package-List:\n {source.name} deb misc optional arch=any\n"
            f"Directory: {source.directory}\nPriority: optional\nSection: misc\n\n"
        ).encode()

    def _release(self, listed: Mapping[str, Digest]) -> bytes:
        head = (
            f"Origin: Lab\nLabel: Lab\nSuite: unstable\nCodename: sid\n"
            f"Date: {self._when:%a, %d %b %Y %H:%M:%S UTC}\nAcquire-By-Hash: yes\n"
            f"No-Support-for-Architecture-all: Packages\n"
            f"Architectures: all {' '.join(ARCHITECTURES)}\nComponents: main\n"
            f"Description: a large archive of the lab\n"
        )
        md5 = "".join(f" {file.md5} {file.size:8} {name}\n" for name, file in sorted(listed.items()))
        sha256 = "".join(f" {file.sha256} {file.size:8} {name}\n" for name, file in sorted(listed.items()))
        return f"{head}MD5Sum:\n{md5}SHA256:\n{sha256}".encode()

    def _put_index(self, name: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        path = f"{_SUITE}/{name}"
        self._put(path, data)
        by_hash = self.top / _SUITE / name.rpartition("/")[0] / "by-hash"
        for kind, value in (("SHA256", digest.sha256), ("MD5Sum", digest.md5)):
            (by_hash / kind).mkdir(parents=True, exist_ok=True)
            os.link(self.top / path, by_hash / kind / value)
        return digest

    def _put(self, path: str, data: bytes) -> None:
        full = f"{self.top}/{path}"
        try:
            handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileNotFoundError:
            Path(full).parent.mkdir(parents=True)
            handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.utime(full, (self._when.timestamp(),) * 2)

    def _symlink(self, path: str, target: str) -> None:
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).symlink_to(target)


def _noise(path: str) -> bytes:
    start = hashlib.shake_256(path.encode())
    return start.digest(100 + int.from_bytes(start.digest(2), "big") % 501)


def _stanzas(binary: Binary) -> int:
    """In how many Packages files it is: Debian lists what is for all architectures in each."""
    return len(ARCHITECTURES if binary.architectures == ("all",) else binary.architectures)


def _without_epoch(version: str) -> str:
    return version.rpartition(":")[2]


def _walk(top: Path) -> Iterator[str]:
    for directory, _, files in os.walk(top):
        for name in files:
            yield str(Path(directory, name).relative_to(top))


def _same(one: Path, other: Path) -> bool:
    """Whether B has a file just as A has it: what does not change keeps its time too."""
    if not os.path.lexists(one):
        return False
    if one.is_symlink():
        return one.readlink() == other.readlink()
    return one.read_bytes() == other.read_bytes()
