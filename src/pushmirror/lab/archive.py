"""A small, valid, signed archive that changes the way Debian's does; its tree is the owner's.

Guaranteed: everything but key and signatures follows from seed and clock; an update writes new files by
rename in dak's order (pool, indices, Release) and deletes last; two generations never have the same second,
so no changed file keeps both size and time. Names and hashes are right, the content of the files is random.
Not the business of this module: serving the tree, or judging a copy of it (`lab.watch`).
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from pushmirror.lab.dists import Dists, Layout, SuiteTree
from pushmirror.lab.indices import SUITES, Digest, Suite, release_text
from pushmirror.lab.packages import Built, Package, PoolFile, Tree, build, content
from pushmirror.lab.signing import LabKey, Signer
from pushmirror.system import clock

# -- files outside of dists/ and pool/ ---


_HOST = "archive.lab.example.org"
TRACE = f"project/trace/{_HOST}"

DOCUMENTS = {
    "README": "An archive of the lab. Nothing in it is of any use.\n",
    "README.html": "<p>An archive of the lab. Nothing in it is of any use.</p>\n",
    "README.mirrors.txt": "archive.lab.example.org has no mirrors that anybody should use.\n",
    "dists/README": "A directory for each suite, and links to them.\n",
    "doc/00-INDEX": "FAQ/ nothing is asked often\n",
    "doc/FAQ/index.html": "<p>None.</p>\n",
    "tools/README": "There are none.\n",
}
LINKS = {"doc/FAQ/faq.html": "index.html", "project/trace/master": _HOST}


def listings(pool: Mapping[str, PoolFile], packages: Iterable[Built]) -> dict[str, bytes]:
    """The files that each update writes again, and that no signed file names."""
    packages = list(packages)
    lines = [f"-rw-r--r-- 1 dak dak {file.size} {path}\n" for path, file in sorted(pool.items())]
    sums = [f"{file.md5}  {path}\n" for path, file in sorted(pool.items())]
    maintainers = sorted(f"{built.package.name} The Lab <lab@example.org>\n" for built in packages)
    overrides = sorted(f"{built.package.name}\toptional\tmisc\n" for built in packages)
    debs = sorted(f"./{path}\n" for path in pool if path.endswith(("_amd64.deb", "_all.deb")))
    texts = {
        "ls-lR.gz": lines,
        "indices/Maintainers.gz": maintainers,
        "indices/md5sums.gz": sums,
        "indices/override.sid.main.gz": overrides,
        "indices/files/arch-amd64.files.gz": debs,
    }
    return {path: gzip.compress("".join(text).encode(), 1, mtime=0) for path, text in texts.items()}


def trace(when: datetime, serial: int) -> bytes:
    """The trace of the archive itself."""
    return (
        f"{when:%a %b %d %H:%M:%S UTC %Y}\nUsing dak v1\nRunning on host: {_HOST}\n"
        f"Archive serial: {serial}\nDate: {when:%a, %d %b %Y %H:%M:%S +0000}\nCreator: dak v1\n"
    ).encode()


#: The default.
LAYOUT = Layout(os.environ.get("PUSHMIRROR_LAB_LAYOUT", Layout.DAK))

_PAST = timedelta(minutes=10)  # generations start this long ago: quick updates, a second each, fit before now
_INSTALLER_EVERY = 5  # generations


@dataclass(frozen=True, slots=True)
class Dinstall:
    """What one update did."""

    serial: int
    added: tuple[str, ...]  # pool files, paths below the tree
    removed: tuple[str, ...]


class LabArchive:
    """An archive in `path`, whose Release files verify with `keyring`."""

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        file_size: int,
        keep_by_hash: int,
        suites: Sequence[Suite],
        layout: Layout,
        time: Callable[[], datetime],
        key: LabKey | None = None,
    ) -> None:
        self.path = directory / "tree"
        self.keyring = directory / "keyring.gpg"
        self.generation = 0
        self.keep_by_hash = keep_by_hash
        self.layout = layout
        self._seed = seed
        self._file_size = file_size
        self._time = time
        self._when = time().replace(microsecond=0) - _PAST
        self._random = Random(seed)  # noqa: S311  a choice that can be repeated is the point
        self._tree = Tree(self.path, directory / "incoming")
        self.dists = Dists(self._tree, layout, list(suites))
        self._built: dict[int, Built] = {}
        self._next_number = 0
        self._pool: dict[str, PoolFile] = {}
        self._is_published = False
        self._key = key or LabKey.create(directory / "key")
        directory.mkdir(parents=True, exist_ok=True)
        self.keyring.write_bytes(self._key.public)

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        packages: int = 60,
        seed: int = 1,
        file_size: int = 1500,
        keep_by_hash: int = 1,
        suites: Sequence[Suite] = SUITES,
        layout: Layout = LAYOUT,
        time: Callable[[], datetime] = clock.now,
        key: LabKey | None = None,
    ) -> LabArchive:
        """Make an archive of so many source packages (about 4.8 pool files each) in `directory`.

        `file_size` is the largest size of a pool file in bytes; `keep_by_hash` is for how many generations
        by-hash files outlive their Release (dak: for 36 hours). Without a `key` it makes its own.
        """
        archive = cls(
            directory,
            seed=seed,
            file_size=file_size,
            keep_by_hash=keep_by_hash,
            suites=suites,
            layout=layout,
            time=time,
            key=key,
        )
        archive.write_documents(DOCUMENTS)
        for name, target in LINKS.items():
            archive._tree.symlink(name, target)
        archive.update(add=packages, replace=0, remove=0)
        return archive

    @property
    def serial(self) -> int:
        """The `Archive serial` of the trace."""
        return int(f"{self._when:%Y%m%d}{self.generation:02}")

    @property
    def suites(self) -> tuple[Suite, ...]:
        """The suites that it has, or will have after the next update."""
        return tuple(self.dists.planned)

    @property
    def pool_files(self) -> tuple[str, ...]:
        """The paths of all pool files, sorted."""
        return tuple(sorted(self._pool))

    def update(
        self, *, add: int = 3, replace: int = 3, remove: int = 2, installer: bool | None = None
    ) -> Dinstall:
        """One dinstall: so many packages arrive, get a new version, and leave.

        `installer` decides about a new installer version; by default every fifth generation brings one.
        """
        changing = self._random.sample(sorted(self._built), min(len(self._built), replace + remove))
        for number in changing[:replace]:
            self._add(self._built[number].package.successor())
        for number in changing[replace:]:
            del self._built[number]
        for _ in range(add):
            self._add(Package(self._next_number))
            self._next_number += 1
        self.generation += 1
        if installer is None:
            installer = self.generation % _INSTALLER_EVERY == 1
        return self._dinstall(new_installer=installer or self.generation == 1)

    def write_documents(self, texts: Mapping[str, str]) -> None:
        """Write files outside of dists and pool; the signed list `extrafiles` names these and no others."""
        for path, text in texts.items():
            self._tree.put(path, text.encode(), self._when)
        sums = "".join(f"{Digest.of(text.encode()).sha256}  {path}\n" for path, text in texts.items())
        with self._key.unlocked() as signer:
            self._tree.put("extrafiles", signer.clear(sums.encode()), self._when)

    # One dinstall

    def _add(self, package: Package) -> None:
        self._built[package.number] = build(package, self._seed, self._file_size)

    def _content(self, path: str) -> bytes:
        return content(self._seed, path, self._file_size)

    def _dinstall(self, *, new_installer: bool) -> Dinstall:
        self._when = max(self._when + timedelta(seconds=1), self._time().replace(microsecond=0) - _PAST)
        packages = sorted(self._built.values(), key=lambda built: built.package.name)
        left = self.dists.turn()
        for suite in self.dists.suites:
            suite.choose(packages)
        pool = {file.path: file for built in self._needed() for file in built.files()}
        added = sorted(pool.keys() - self._pool.keys())
        removed = sorted(self._pool.keys() - pool.keys())
        self._pool = pool
        for path in added:
            self._tree.put(path, self._content(path), self._when)
        for suite in self.dists.suites:
            suite.write_indices(self._when, self.generation, new_installer=new_installer)
        for path, data in listings(self._pool, self._built.values()).items():
            self._tree.put(path, data, self._when)
        self._publish_releases([suite for suite in self.dists.suites if suite.is_to_be_published])
        self._tree.put(TRACE, trace(self._when, self.serial), self._when)
        self._delete(left, removed)
        return Dinstall(self.serial, tuple(added), tuple(removed))

    def _needed(self) -> list[Built]:
        """Packages whose files are in the pool: the newest ones, and older ones that suites have."""
        return [*self._built.values(), *(one for suite in self.dists.suites for one in suite.members or ())]

    def _publish_releases(self, suites: Sequence[SuiteTree]) -> None:
        if self._is_published:
            self._when += timedelta(seconds=1)  # indices and Release of one dinstall may differ by this
        when = self._when

        def signed(signer: Signer, suite: SuiteTree) -> tuple[bytes, bytes, bytes]:
            text = release_text(suite.suite, suite.listed, when)
            return text, signer.clear(text), signer.detached(text)

        with self._key.unlocked() as signer, ThreadPoolExecutor() as threads:
            releases = list(threads.map(lambda suite: signed(signer, suite), suites))
        for suite, (text, inline, detached) in zip(suites, releases, strict=True):
            suite.write_release(text, inline, detached, when)
        self.dists.publish()
        self._is_published = True

    def _delete(self, suites: Sequence[SuiteTree], pool_files: Collection[str]) -> None:
        """Delete what no index or link leads to any more."""
        for suite in suites:
            suite.remove()
        for suite in self.dists.suites:
            suite.delete_obsolete(self.generation, keep_by_hash=self.keep_by_hash)
        for path in pool_files:
            self._tree.remove(path)
