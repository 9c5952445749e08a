"""What an archive of the lab publishes now, by name."""

from __future__ import annotations

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import RELEASE_FILES


def release_texts(archive: LabArchive) -> dict[str, str]:
    """The Release file of each suite, by codename."""
    return {
        one.suite.codename: (archive.path / one.release_directory / "Release").read_text()
        for one in archive.dists.suites
    }


def generation_files(archive: LabArchive) -> dict[str, bytes]:
    """Release, Release.gpg and InRelease of every suite, by path below the tree; no path is a link."""
    paths = [f"{one.release_directory}/{name}" for one in archive.dists.suites for name in RELEASE_FILES]
    return {path: (archive.path / path).read_bytes() for path in paths}


def pool_files_of(archive: LabArchive, codename: str) -> set[str]:
    """The paths of the pool files that a suite names."""
    return {file.path for one in archive.dists.suite(codename).members or () for file in one.files()}
