"""Which suites the lab's archive has, and by which names: dists/ from one update to the next.

A suite may get another name, and its directory moves: a link becomes a directory, or a directory a link. Such
a name is absent for a moment; dak allows no sync meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pushmirror.lab.indices import Digest, Pdiff, Suite, compressed, pdiff, pdiff_index, plain_indices
from pushmirror.lab.packages import Built, Tree

# -- one suite ---


RELEASE_FILES = ("Release", "Release.gpg", "InRelease")
DIFFED = "main/binary-amd64/Packages"  # the one index with a .diff directory
_PATCHES_KEPT = 3
_INSTALLER = "main/installer-amd64"
_INSTALLERS_KEPT = 2
_SUMS = ("SHA256SUMS", "MD5SUMS")
_IMAGES = ("netboot/mini.iso", "netboot/debian-installer/amd64/linux", "cdrom/initrd.gz")


class Layout(StrEnum):
    """Where a suite with by-hash has its files.

    `dak`, as Debian: the Release files are in zzz-dists/ (it sorts last, so rsync sends them last), with
    links to them in dists/; what they list is in by-hash/, with links, too. `simple`: files in dists/.
    """

    DAK = "dak"
    SIMPLE = "simple"


@dataclass(frozen=True, slots=True)
class _Index:
    plain: bytes
    digests: dict[str, Digest]  # suffix -> what Release lists; "" is the plain form


@dataclass(slots=True)
class SuiteTree:
    """What is on disk of a suite."""

    suite: Suite
    tree: Tree
    layout: Layout
    top: str = "dists"
    members: tuple[Built, ...] | None = None  # its packages; none: not chosen yet
    published: tuple[Suite, dict[str, Digest]] | None = None  # what its Release files were made of
    _listed: dict[str, Digest] = field(default_factory=dict)  # by name below the suite
    _indices: dict[str, _Index] = field(default_factory=dict)
    _patches: list[Pdiff] = field(default_factory=list)
    _installers: list[str] = field(default_factory=list)  # versions, newest last
    _last_listed: dict[str, int] = field(default_factory=dict)  # by-hash name -> last generation with it
    _obsolete: list[str] = field(default_factory=list)  # names to delete when Release is out

    @property
    def directory(self) -> str:
        return f"{self.top}/{self.suite.name}"

    @property
    def release_directory(self) -> str:
        """Where its Release files are files."""
        return f"zzz-{self.directory}" if self._has_links else self.directory

    @property
    def listed(self) -> dict[str, Digest]:
        """What Release lists, by name below the suite."""
        return self._listed

    @property
    def is_to_be_published(self) -> bool:
        """Whether an update writes Release: that of a frozen suite stays as long as nothing changes."""
        return not self.suite.frozen or self.published != (self.suite, self.listed)

    @property
    def _has_links(self) -> bool:
        return self.layout is Layout.DAK and self.suite.by_hash

    def turn(self, suite: Suite) -> None:
        """Take the new fields of the suite; the directory moves if its name has changed."""
        old = [self.directory, *([self.release_directory] if self._has_links else [])]
        self.suite = suite
        for before, after in zip(old, (self.directory, self.release_directory), strict=False):
            if before != after:
                (self.tree.path / before).rename(self.tree.path / after)
        if old[0] != self.directory and self._has_links:
            self._link_release_files()

    def remove(self) -> None:
        """Delete the suite."""
        for directory in {self.directory, self.release_directory}:
            shutil.rmtree(self.tree.path / directory)

    def choose(self, packages: Iterable[Built]) -> None:
        """Choose the packages of the suite, unless it is frozen."""
        if self.members is None or not self.suite.frozen:
            self.members = tuple(one for one in packages if one.package.number % self.suite.every == 0)

    def write_indices(self, when: datetime, generation: int, *, new_installer: bool) -> None:
        """Bring everything but Release up to date; indices that stay the same are left alone, as dak does."""
        self._listed = {}
        for name, plain, suffixes in plain_indices(self.suite, self.members or ()):
            if self.suite.pdiffs and name == DIFFED:
                self._write_pdiffs(plain, when)
            index = self._indices.get(name)
            if index is None or index.plain != plain:
                index = self._indices[name] = self._write_index(name, plain, suffixes, when)
            for suffix, digest in index.digests.items():
                self._listed[name + suffix] = digest
        if new_installer:
            self._write_installer(when, generation)
        self._list_installers()
        for name, digest in self._listed.items():
            self._last_listed |= dict.fromkeys(self._by_hash(name, digest), generation)

    def write_release(self, text: bytes, inline: bytes, detached: bytes, when: datetime) -> None:
        """Publish: from here on, clients use the new indices."""
        for name, data in zip(RELEASE_FILES, (text, detached, inline), strict=True):
            self.tree.put(f"{self.release_directory}/{name}", data, when)
        if self._has_links:
            self._link_release_files()
        self.published = self.suite, dict(self.listed)

    def delete_obsolete(self, generation: int, *, keep_by_hash: int) -> None:
        """Remove what the last `keep_by_hash` generations before this one did not list."""
        old = [name for name, last in self._last_listed.items() if last < generation - keep_by_hash]
        for name in (*self._obsolete, *old):
            self.tree.remove(f"{self.directory}/{name}")
            self._last_listed.pop(name, None)
        self._obsolete.clear()

    def _link_release_files(self) -> None:
        place = os.path.relpath(self.release_directory, self.directory)
        for name in RELEASE_FILES:
            self.tree.symlink(f"{self.directory}/{name}", f"{place}/{name}")

    def _by_hash(self, name: str, digest: Digest) -> tuple[str, ...]:
        kept_out = f"{_INSTALLER}/current/" if self._has_links else _INSTALLER
        if not self.suite.by_hash or name.startswith(kept_out):
            return ()
        directory = os.path.join(os.path.dirname(name), "by-hash")  # noqa: PTH118, PTH120  names, not paths
        return f"{directory}/SHA256/{digest.sha256}", f"{directory}/MD5Sum/{digest.md5}"

    def _put(self, name: str, data: bytes, when: datetime) -> Digest:
        """Write a file that Release lists."""
        digest = Digest.of(data)
        path, names = f"{self.directory}/{name}", self._by_hash(name, digest)
        by_hash = tuple(f"{self.directory}/{one}" for one in names)
        if by_hash and self._has_links:
            if not (self.tree.path / by_hash[0]).exists():
                self.tree.put(by_hash[0], data, when, links=by_hash[1:])
            self.tree.symlink(path, f"by-hash/SHA256/{digest.sha256}")
        else:
            self.tree.put(path, data, when, links=by_hash)
        return digest

    def _write_index(self, name: str, plain: bytes, suffixes: tuple[str, ...], when: datetime) -> _Index:
        digests = {suffix: self._put(name + suffix, compressed(plain, suffix), when) for suffix in suffixes}
        return _Index(plain, {"": Digest.of(plain), **digests})

    def _write_pdiffs(self, plain: bytes, when: datetime) -> None:
        known = self._indices.get(DIFFED)
        old = (
            known.plain if known else plain.partition(b"\n\n")[2]
        )  # without its first entry, so that there is a patch
        directory = f"{DIFFED}.diff"
        if old != plain:
            self._patches.append(pdiff(old, plain, when))
            patch = f"{self.directory}/{directory}/{self._patches[-1].name}.gz"
            self.tree.put(patch, self._patches[-1].packed, when)  # Release lists the Index alone
        self._obsolete += [f"{directory}/{patch.name}.gz" for patch in self._patches[:-_PATCHES_KEPT]]
        del self._patches[:-_PATCHES_KEPT]
        index = pdiff_index(plain, self._patches)
        name = f"{directory}/Index"
        known = self._indices.get(name)
        if known is None or known.plain != index:
            self._indices[name] = self._write_index(name, index, ("",), when)
        self._listed[name] = self._indices[name].digests[""]

    def _write_installer(self, when: datetime, generation: int) -> None:
        version = f"{when:%Y%m%d}+lab{generation}"
        images = f"{_INSTALLER}/{version}/images"
        sums = {"sha256": "", "md5": ""}
        for image in _IMAGES:
            seed = f"{self.suite.codename}/{version}/{image}".encode()
            data = hashlib.shake_256(seed).digest(2000)
            self.tree.put(f"{self.directory}/{images}/{image}", data, when)
            digest = Digest.of(data)
            for kind in sums:
                sums[kind] += f"{getattr(digest, kind)}  ./{image}\n"
        link = f"{self.directory}/{images}/netboot/linux"
        self.tree.symlink(link, "debian-installer/amd64/linux")
        for kind, text in sums.items():
            name = f"{images}/{kind.upper()}SUMS"
            self._indices[name] = self._write_index(name, text.encode(), ("",), when)
        self.tree.symlink(f"{self.directory}/{_INSTALLER}/current", version)
        self._installers.append(version)
        for old in self._installers[:-_INSTALLERS_KEPT]:
            self._retire_installer(f"{_INSTALLER}/{old}/images")
        del self._installers[:-_INSTALLERS_KEPT]

    def _retire_installer(self, images: str) -> None:
        sums = [f"{images}/{name}" for name in _SUMS]
        digests = {name: self._indices.pop(name).digests[""] for name in sums}
        self._obsolete += [f"{images}/{name}" for name in (*_IMAGES, "netboot/linux")]
        self._obsolete += [*sums, *(one for name in sums for one in self._by_hash(name, digests[name]))]

    def _list_installers(self) -> None:
        for version in self._installers:
            for name in _SUMS:
                digest = self._indices[f"{_INSTALLER}/{version}/images/{name}"].digests[""]
                self._listed[f"{_INSTALLER}/{version}/images/{name}"] = digest
                if version == self._installers[-1]:
                    self._listed[f"{_INSTALLER}/current/images/{name}"] = digest


@dataclass(slots=True)
class Dists:
    """What is in dists/."""

    tree: Tree
    layout: Layout
    planned: list[Suite]  # what it is to have from the next update on
    suites: list[SuiteTree] = field(default_factory=list)
    _links: dict[str, str] = field(default_factory=dict)  # name -> target
    top: str = "dists"  # the directory that updates write

    def suite(self, codename: str) -> SuiteTree:
        """One of its suites."""
        return next(one for one in self.suites if one.suite.codename == codename)

    def turn(self) -> list[SuiteTree]:
        """Begin an update: have the suites that are planned; returns those to remove at its end."""
        known = {one.suite.codename: one for one in self.suites}
        links = {link: suite.name for suite in self.planned for link in suite.links}
        for name in self._links.keys() - links.keys():
            (self.tree.path / self.top / name).unlink()
        self._links = links
        new = (SuiteTree(suite, self.tree, self.layout, self.top) for suite in self.planned)
        self.suites = [known.pop(one.suite.codename, one) for one in new]
        for one, suite in zip(self.suites, self.planned, strict=True):
            one.turn(suite)
        return list(known.values())

    def publish(self) -> None:
        """Turn the links to the suites."""
        for name, target in self._links.items():
            self.tree.symlink(f"{self.top}/{name}", target)
