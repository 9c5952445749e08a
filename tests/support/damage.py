"""Faults of an archive of the lab: lost and damaged files, wrong and missing signatures, broken suites."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import DIFFED, RELEASE_FILES, SuiteTree
from pushmirror.lab.indices import Digest
from pushmirror.lab.signing import LabKey

# -- files: a link is followed, so that the file that it leads to is changed ---


def spoil_file(archive: LabArchive, path: str | None = None) -> str:
    """Change one byte of a file (default: a pool file), keeping size and time; returns its path."""
    path = _path(archive, path)
    data = bytearray((archive.path / path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    when = datetime.fromtimestamp((archive.path / path).stat().st_mtime, archive._when.tzinfo)
    archive._tree.put(path, bytes(data), when)
    return path


def truncate_file(archive: LabArchive, path: str | None = None) -> str:
    """Cut a file (default: a pool file) to half its size; returns its path."""
    path = _path(archive, path)
    data = (archive.path / path).read_bytes()
    archive._tree.put(path, data[: len(data) // 2], archive._when)
    return path


def lose_file(archive: LabArchive, path: str | None = None) -> str:
    """Delete a file (default: a pool file) that the indices still name; returns its path."""
    path = _path(archive, path)
    archive._tree.remove(path)
    return path


def restore_file(archive: LabArchive, path: str) -> None:
    """Write a pool file again as it was, with a new time."""
    archive._tree.put(path, archive._content(path), archive._time().replace(microsecond=0))


def rebuild_file(archive: LabArchive) -> str:
    """Give a pool file other content of the same size under the same name; returns its path.

    A real archive never does that. The next update's indices name the new content.
    """
    path = _some_pool_file(archive)
    old = archive._pool[path]
    data = bytes(byte ^ 0xFF for byte in archive._content(path))
    digest = Digest.of(data)
    new = replace(old, md5=digest.md5, sha256=digest.sha256)
    for number, built in archive._built.items():
        archive._built[number] = replace(
            built,
            binaries=tuple((key, new if file == old else file) for key, file in built.binaries),
            stanzas={
                key: text.replace(old.md5, new.md5).replace(old.sha256, new.sha256)
                for key, text in built.stanzas.items()
            },
        )
    archive._tree.put(path, data, archive._when + timedelta(seconds=1))
    return path


def _path(archive: LabArchive, path: str | None) -> str:
    return archive._tree.resolve(path or _some_pool_file(archive))


def _some_pool_file(archive: LabArchive) -> str:
    return archive._random.choice([path for path in archive.pool_files if path.endswith("_amd64.deb")])


# -- Release files and signatures ---


def publish_again(archive: LabArchive) -> None:
    """Publish the same state with a new date."""
    archive._publish_releases(archive.dists.suites)


def sign_with(archive: LabArchive, key: LabKey) -> None:
    """Publish the same state, signed by another key; `archive.keyring` does not change."""
    archive._key = key
    publish_again(archive)


def expire(archive: LabArchive) -> None:
    """Publish the same state with a Valid-Until in the past."""
    for one in archive.dists.suites:
        one.suite = replace(one.suite, valid_for=-timedelta(days=1))
    publish_again(archive)


def spoil_signature(archive: LabArchive, codename: str = "sid") -> None:
    """Change signed words of a suite's InRelease and Release."""
    for name in ("InRelease", "Release"):
        path = f"{archive.dists.suite(codename).release_directory}/{name}"
        text = (archive.path / path).read_bytes().replace(b"archive of the lab", b"archive of the cat")
        archive._tree.put(path, text, archive._when)


def drop_release_files(archive: LabArchive, *names: str) -> None:
    """Delete these Release files (default: all) of every suite, until they are published again."""
    for suite in archive.dists.suites:
        suite.published = None
        for directory in {suite.directory, suite.release_directory}:
            for name in names or RELEASE_FILES:
                (archive.path / directory / name).unlink(missing_ok=True)


# -- suites ---


class BrokenSuite(SuiteTree):
    """A suite whose Release lists hashes that no form of an index has."""

    __slots__ = ()

    @property
    def listed(self) -> dict[str, Digest]:
        forms = {DIFFED, f"{DIFFED}.gz", f"{DIFFED}.xz"}
        return {name: digest.other() if name in forms else digest for name, digest in self._listed.items()}


def break_suite(archive: LabArchive, codename: str) -> None:
    """Publish a suite as a `BrokenSuite`; every update does so until it is mended."""
    archive._publish_releases([set_broken(archive, codename, True)])


def mend_suite(archive: LabArchive, codename: str) -> None:
    """Publish a suite with the right hashes again."""
    archive._publish_releases([set_broken(archive, codename, False)])


def set_broken(archive: LabArchive, codename: str, is_broken: bool) -> SuiteTree:
    """Break or mend a suite without publishing it: the next update does that."""
    kind = BrokenSuite if is_broken else SuiteTree
    suites = archive.dists.suites
    old = archive.dists.suite(codename)
    new = kind(*(getattr(old, field.name) for field in fields(old)))
    suites[suites.index(old)] = new
    return new
