"""One suite's directory in the lab's archive, from one generation to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pushmirror.lab.indices import Digest, Pdiff, Suite, compressed, pdiff, pdiff_index, plain_indices
from pushmirror.lab.packages import Built
from pushmirror.lab.tree import Tree

_DIFFED = "main/binary-amd64/Packages"  # the one index with a .diff directory
_PATCHES_KEPT = 3
_INSTALLER = "main/installer-amd64"
_INSTALLERS_KEPT = 2
_IMAGES = ("netboot/mini.iso", "netboot/debian-installer/amd64/linux", "cdrom/initrd.gz")


@dataclass(frozen=True, slots=True)
class _Index:
    plain: bytes
    digests: dict[str, Digest]  # suffix -> what Release lists; "" is the plain form


@dataclass(slots=True)
class SuiteTree:
    """What is on disk of a suite."""

    suite: Suite
    tree: Tree
    listed: dict[str, Digest] = field(default_factory=dict)  # name below the suite -> what Release says
    _indices: dict[str, _Index] = field(default_factory=dict)
    _patches: list[Pdiff] = field(default_factory=list)
    _installers: list[str] = field(default_factory=list)  # versions, newest last
    _last_listed: dict[str, int] = field(default_factory=dict)  # by-hash path -> last generation with it
    _obsolete: list[str] = field(default_factory=list)  # to delete when Release is out

    def write_indices(
        self, packages: Iterable[Built], when: datetime, generation: int, *, new_installer: bool
    ) -> None:
        """Bring everything but Release up to date; indices that stay the same are left alone, as dak does."""
        self.listed = {}
        for name, plain, suffixes in plain_indices(self.suite, packages):
            if self.suite.pdiffs and name == _DIFFED:
                self._write_pdiffs(plain, when)
            index = self._indices.get(name)
            if index is None or index.plain != plain:
                index = self._indices[name] = self._write_index(name, plain, suffixes, when)
            for suffix, digest in index.digests.items():
                self.listed[name + suffix] = digest
        if new_installer:
            self._write_installer(when, generation)
        self._list_installers()
        if self.suite.by_hash:
            for name, digest in self.listed.items():
                for path in self._by_hash(name, digest):
                    self._last_listed[path] = generation

    def write_release(self, text: bytes, inline: bytes, detached: bytes, when: datetime) -> None:
        """Publish: from here on, clients use the new indices."""
        for name, data in {"Release": text, "Release.gpg": detached, "InRelease": inline}.items():
            self.tree.put(f"{self.suite.directory}/{name}", data, when)

    def delete_obsolete(self, generation: int, *, keep_by_hash: int) -> None:
        """Remove what the last `keep_by_hash` generations before this one did not list."""
        for path in self._obsolete:
            self.tree.remove(path)
        self._obsolete.clear()
        for path in [p for p, last in self._last_listed.items() if last < generation - keep_by_hash]:
            self.tree.remove(path)
            del self._last_listed[path]

    def _by_hash(self, name: str, digest: Digest) -> tuple[str, ...]:
        if not self.suite.by_hash or name.startswith(_INSTALLER):
            return ()
        directory = f"{self.suite.directory}/{name.rpartition('/')[0]}/by-hash"
        return f"{directory}/SHA256/{digest.sha256}", f"{directory}/MD5Sum/{digest.md5}"

    def _put(self, name: str, data: bytes, when: datetime) -> Digest:
        digest = Digest.of(data)
        self.tree.put(f"{self.suite.directory}/{name}", data, when, links=self._by_hash(name, digest))
        return digest

    def _write_index(self, name: str, plain: bytes, suffixes: tuple[str, ...], when: datetime) -> _Index:
        digests = {suffix: self._put(name + suffix, compressed(plain, suffix), when) for suffix in suffixes}
        return _Index(plain, {"": Digest.of(plain), **digests})

    def _write_pdiffs(self, plain: bytes, when: datetime) -> None:
        known = self._indices.get(_DIFFED)
        old = known.plain if known else plain.partition(b"\n\n")[2]  # a past, so that there is a patch
        directory = f"{_DIFFED}.diff"
        if old != plain:
            self._patches.append(pdiff(old, plain, when))
            self._put(f"{directory}/{self._patches[-1].name}.gz", self._patches[-1].packed, when)
        for patch in self._patches[:-_PATCHES_KEPT]:
            self._obsolete.append(f"{self.suite.directory}/{directory}/{patch.name}.gz")
        del self._patches[:-_PATCHES_KEPT]
        index = pdiff_index(plain, self._patches)
        name = f"{directory}/Index"
        known = self._indices.get(name)
        if known is None or known.plain != index:
            self._indices[name] = self._write_index(name, index, ("",), when)
        self.listed[name] = self._indices[name].digests[""]

    def _write_installer(self, when: datetime, generation: int) -> None:
        version = f"{when:%Y%m%d}+lab{generation}"
        images = f"{_INSTALLER}/{version}/images"
        sums = {"sha256": "", "md5": ""}
        for image in _IMAGES:
            seed = f"{self.suite.codename}/{version}/{image}".encode()
            digest = self._put(f"{images}/{image}", hashlib.shake_256(seed).digest(2000), when)
            for kind in sums:
                sums[kind] += f"{getattr(digest, kind)}  ./{image}\n"
        link = f"{self.suite.directory}/{images}/netboot/linux"
        self.tree.symlink(link, "debian-installer/amd64/linux")
        for kind, text in sums.items():
            name = f"{images}/{kind.upper()}SUMS"
            self._indices[name] = self._write_index(name, text.encode(), ("",), when)
        self.tree.symlink(f"{self.suite.directory}/{_INSTALLER}/current", version)
        self._installers.append(version)
        for old in self._installers[:-_INSTALLERS_KEPT]:
            self._retire_installer(f"{_INSTALLER}/{old}/images")
        del self._installers[:-_INSTALLERS_KEPT]

    def _retire_installer(self, images: str) -> None:
        names = [*_IMAGES, "netboot/linux", "SHA256SUMS", "MD5SUMS"]
        self._obsolete += [f"{self.suite.directory}/{images}/{name}" for name in names]
        for name in ("SHA256SUMS", "MD5SUMS"):
            del self._indices[f"{images}/{name}"]

    def _list_installers(self) -> None:
        for version in self._installers:
            for name in ("SHA256SUMS", "MD5SUMS"):
                digest = self._indices[f"{_INSTALLER}/{version}/images/{name}"].digests[""]
                self.listed[f"{_INSTALLER}/{version}/images/{name}"] = digest
                if version == self._installers[-1]:
                    self.listed[f"{_INSTALLER}/current/images/{name}"] = digest
