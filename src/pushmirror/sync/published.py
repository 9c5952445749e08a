"""What a tree has published: its suites' Release files, read once and parsed.

The same reading serves the tree that is served here and the copy of upstream's Release files that a run
is pinned to. Links (`dists/stable -> trixie`) are names for a suite, not suites.
"""

from __future__ import annotations

import stat
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.closure import by_hash_paths
from pushmirror.archive.generation import generation
from pushmirror.archive.release import Listed, Release, parse_release, split_clearsigned, suite_text_agrees
from pushmirror.errors import ArchiveError, Mismatch
from pushmirror.sync.parts import RELEASE_NAMES


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite as it is published."""

    directory: str  # relative to the tree: dists/trixie
    texts: Mapping[str, bytes]  # the content of Release, Release.gpg and InRelease, as far as they are there
    release: Release

    def path_of(self, listed: Listed) -> str:
        """The tree path of a file that the Release lists, under its plain name."""
        return f"{self.directory}/{listed.path}"

    def copies_of(self, listed: Listed) -> list[str]:
        """The tree paths of the same content under by-hash; empty if the suite has none."""
        if not self.release.acquire_by_hash:
            return []
        return [f"{self.directory}/{path}" for _, path in by_hash_paths(listed)]


@dataclass(frozen=True, slots=True)
class Published:
    """One published state of an archive."""

    suites: Mapping[str, Suite]  # by directory
    generation: str  # empty: there are no suites, the tree is a plain one

    def only(self, directories: Container[str]) -> Published:
        """The same state as if it had no other suites than these."""
        suites = {where: suite for where, suite in self.suites.items() if where in directories}
        return _published({where: suite.texts for where, suite in suites.items()}, suites)

    @property
    def release_files(self) -> dict[str, bytes]:
        """Every Release file's content, by tree path."""
        return {
            f"{suite.directory}/{name}": text
            for suite in self.suites.values()
            for name, text in suite.texts.items()
        }


NOTHING = Published({}, "")


def read_published(tree: Path) -> Published:
    """The published state of a tree.

    Raises MalformedFile for a Release file that cannot be parsed, and Mismatch when a suite's Release and
    InRelease are of different states.
    """
    texts = _release_files(tree)
    return _published(
        texts, {where: Suite(where, found, _release(where, found)) for where, found in texts.items()}
    )


def read_served(tree: Path) -> Published:
    """The published state of the tree that is served here, whatever has happened to it.

    A suite whose Release files are damaged, or of two states because a kill fell between their renames, is
    left out; its files still count for the generation, which then is one that nobody knows.
    """
    texts = _release_files(tree)
    suites: dict[str, Suite] = {}
    for where, found in texts.items():
        with suppress(ArchiveError):
            suites[where] = Suite(where, found, _release(where, found))
    return _published(texts, suites)


def _published(texts: Mapping[str, Mapping[str, bytes]], suites: Mapping[str, Suite]) -> Published:
    if not texts:
        return NOTHING
    files = {f"{where}/{name}": text for where, found in texts.items() for name, text in found.items()}
    return Published(dict(sorted(suites.items())), generation(files))


def _release_files(tree: Path) -> dict[str, dict[str, bytes]]:
    """Name and content of the Release files of each suite's directory."""
    texts: dict[str, dict[str, bytes]] = {}
    for directory in _suite_directories(tree):
        for name in RELEASE_NAMES:
            path = directory / name
            if _is_regular(path):
                texts.setdefault(str(directory.relative_to(tree)), {})[name] = path.read_bytes()
    return texts


def _suite_directories(tree: Path) -> list[Path]:
    """The directories where Release files of suites may be: dists/S and dists/S/T."""
    first = _directories(tree / "dists")
    return first + [below for directory in first for below in _directories(directory)]


def _directories(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if stat.S_ISDIR(path.lstat().st_mode))


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _release(directory: str, texts: Mapping[str, bytes]) -> Release:
    where = f"{directory}/InRelease"
    if "InRelease" not in texts:
        if "Release" not in texts:
            raise Mismatch(f"{directory} has a Release.gpg but neither Release nor InRelease")
        return parse_release(texts["Release"], where=f"{directory}/Release")
    if "Release" in texts and not suite_text_agrees(texts["InRelease"], texts["Release"]):
        raise Mismatch(f"{where} and {directory}/Release are of different states")
    return parse_release(split_clearsigned(texts["InRelease"], where=where), where=where)
