"""The published state of a tree: the suites in it, and the generation of their Release files.

A suite is a directory in which a Release file can be read, through links that stay inside the tree: at any
depth below a directory `dists`, which may be near the top (`debian/dists`) or a link itself, or a flat
repository near the top. So Debian's own layout is one (dists/trixie/InRelease is a link into zzz-dists), as
is `dists/trixie -> ../snap/17/trixie`. A suite is known by the directory without its links; other names lead
to it. Guaranteed: what cannot be read is a fault of its suite alone. Not the business of this module:
signatures, and whether the listed files exist.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from pushmirror.archive.generation import generation
from pushmirror.archive.layout import DISTS, LOST, NO_PACKAGES, RELEASE_NAMES, joined, may_have_suites
from pushmirror.archive.paths import prefixes, resolve
from pushmirror.archive.release import (
    MAX_RELEASE,
    Listed,
    Release,
    by_hash_paths,
    parse_release,
)
from pushmirror.archive.signature import split_clearsigned, suite_text_agrees
from pushmirror.errors import ArchiveError, BadPath, MalformedFile, Mismatch, NotASuite
from pushmirror.system.files import read_at_most

_DEPTH = 2  # of directories below the top in which `dists` and flat repositories are looked for
_MOST_DEEP = 8  # levels below `dists`
_MOST = 20_000  # directories that are looked at, in all


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a suite's state cannot be published."""

    reason: str
    hint: str = ""
    missing: tuple[
        str, ...
    ] = ()  # files that its indices name and upstream lacks, or has with another content
    asked_twice: bool = False  # with a pause between


@dataclass(frozen=True, slots=True)
class Suite:
    """One published suite."""

    directory: str  # without links, relative to the tree: dists/trixie; empty for a flat one at the top
    texts: Mapping[str, bytes]  # the content of Release, Release.gpg and InRelease, as far as they are there
    release: Release
    files: Mapping[str, str]  # where these are, by name: dists/trixie/InRelease, zzz-dists/trixie/InRelease
    names: tuple[str, ...] = ()  # other directory names that lead to it: dists/stable
    base: str = ""  # directory that the names in its Packages and Sources are relative to
    is_flat: bool = False  # then they may be relative to another one, as the names themselves tell
    odd: str = ""  # what is strange about its Release files, though one of them can be read

    def path_of(self, listed: Listed) -> str:
        """The tree path of a file that the Release lists, under its plain name."""
        return joined(self.directory, listed.path)

    def copies_of(self, listed: Listed) -> list[str]:
        """The tree paths of the same content under by-hash; empty if the suite has none."""
        if not self.release.acquire_by_hash:
            return []
        return [joined(self.directory, path) for _, path in by_hash_paths(listed)]

    def has(self, path: str) -> bool:
        """Whether a tree path, without links, is in this suite: below its directory, or a Release file of
        it."""
        inside = path.startswith(f"{self.directory}/") if self.directory else "/" not in path
        return inside or path in self.files.values()

    @property
    def state(self) -> str:
        """Identifies a state of the suite: SHA256 over its Release files."""
        return state_of(self.texts)

    @property
    def elsewhere(self) -> dict[str, str]:
        """Those of its Release files that are links to files outside of its directory, with these."""
        return {name: path for name, path in self.files.items() if not path.startswith(f"{self.directory}/")}


@dataclass(frozen=True, slots=True)
class PublishedState:
    """One published state of an archive."""

    suites: Mapping[str, Suite]  # by directory
    generation: str  # empty: there are no suites, the tree is a plain one
    faults: Mapping[str, Fault] = field(default_factory=dict)  # of suites that cannot be read, by directory
    states: Mapping[str, str] = field(default_factory=dict)  # of all suites, those with faults too
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # the same: see Suite
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the same
    links: Mapping[str, str] = field(default_factory=dict)  # on the ways to suites, with their targets
    plain: frozenset[str] = frozenset()  # Release files that belong to no suite, such as a component's
    places: Mapping[str, bool] = field(default_factory=dict)  # where links lead; True: like `dists`
    lost: Mapping[str, bool] = field(default_factory=dict)  # of these, where nothing is
    places_of_files: frozenset[str] = frozenset()  # of these, where a link of a Release file's name leads

    @property
    def directories(self) -> set[str]:
        """The directories of all suites, also of those that cannot be read."""
        return {*self.suites, *self.faults}

    def only(self, directories: Collection[str]) -> PublishedState:
        """The same state with only these suites."""
        return self.with_suites(suite for where, suite in self.suites.items() if where in directories)

    def with_suites(self, suites: Iterable[Suite]) -> PublishedState:
        """The same state with these suites in place of its own, all of which can be read."""
        chosen = {suite.directory: suite for suite in sorted(suites, key=lambda suite: suite.directory)}
        states = {where: suite.state for where, suite in chosen.items()}
        return replace(
            self, suites=chosen, faults={}, states=states, generation=_generation_of(_texts_of(chosen))
        )

    def requiring(self, directories: Collection[str]) -> PublishedState:
        """The same state; where a suite was and now a Release file is that cannot be read as one is a fault.

        An empty Release is one that upstream is about to write.
        """
        lost = {
            where: path
            for path in sorted(self.plain)
            if (where := path.rpartition("/")[0]) in directories and where not in self.directories
        }
        faults = {
            where: Fault(f"{path} is no longer a Release file of a suite", "tell upstream's operator")
            for where, path in lost.items()
        }
        files = {**self.files, **{where: {path.rpartition("/")[2]: path} for where, path in lost.items()}}
        return replace(self.with_faults(faults), files=files, plain=self.plain - {*lost.values()})

    def with_faults(self, faults: Mapping[str, Fault]) -> PublishedState:
        """The same state, in which these suites cannot be read."""
        if not faults:
            return self
        suites = {where: suite for where, suite in self.suites.items() if where not in faults}
        states = {**dict.fromkeys(faults, ""), **self.states}
        names = {**dict.fromkeys(faults, ()), **self.names}
        return replace(self, suites=suites, faults={**self.faults, **faults}, states=states, names=names)

    @property
    def release_files(self) -> dict[str, bytes]:
        """Every Release file's content, by the tree path where it is."""
        return {
            suite.files[name]: text for suite in self.suites.values() for name, text in suite.texts.items()
        }

    @property
    def release_names(self) -> set[str]:
        """Every path by which a client may ask for a Release file, links among them not resolved."""
        return {joined(suite.directory, name) for suite in self.suites.values() for name in suite.texts}


NOTHING = PublishedState({}, "")


def state_of(texts: Mapping[str, bytes]) -> str:
    """Identifies a state of a suite."""
    return generation(texts)


def read_published(tree: Path, further: Iterable[str] = ()) -> PublishedState:
    """The published state of a tree; `further` are directories where Release files are looked for, too.

    A suite that cannot be read is among the `faults`; its Release files still count for the generation.
    """
    search = _Search(tree)
    search.run(further)
    suites: dict[str, Suite] = {}
    faults: dict[str, Fault] = {}
    texts: dict[str, dict[str, bytes]] = {}
    plain: set[str] = set()
    for directory, files in sorted(search.suites().items()):
        found, unreadable = _read(tree, files)
        is_flat = directory not in search.below_dists
        base = search.below_dists.get(directory, directory)
        try:
            if unreadable:
                raise MalformedFile(unreadable)
            release, odd = _release(directory, found)
        except ArchiveError as exc:
            # The Release of a component lists nothing; and not each file of that name is a suite's.
            is_none = isinstance(exc, NotASuite) or (is_flat and "InRelease" not in found)
            is_alone = found.keys() == {"Release.gpg"} and is_flat
            if is_alone or (is_none and not found.keys() & {"InRelease", "Release.gpg"}):
                plain.update(files.values())
            else:
                texts[directory] = found
                faults[directory] = Fault(str(exc), "tell upstream's operator")
            continue
        texts[directory] = found
        names = search.other_names(directory)
        suites[directory] = Suite(directory, found, release, files, names, base, is_flat, odd)
    for directory, target in search.dangling.items():
        if directory in suites or directory not in search.below_dists:
            continue  # another form of it can be read, or it is none of ours to judge
        texts.setdefault(directory, {})
        reason = f"a Release file of {directory} is a link to {target}, which does not exist"
        faults.setdefault(directory, Fault(reason, "tell upstream's operator"))
    return PublishedState(
        suites,
        _generation_of(texts),
        faults,
        {where: state_of(found) for where, found in texts.items()},
        {where: files for where, files in search.suites().items() if where in texts},
        {where: search.other_names(where) for where in texts},
        dict(search.links),
        frozenset(plain),
        search.places,
        search.lost,
        frozenset(search.files),
    )


def _generation_of(texts: Mapping[str, Mapping[str, bytes]]) -> str:
    files = {joined(where, name): text for where, found in texts.items() for name, text in found.items()}
    return generation(files) if files else ""


def _texts_of(suites: Mapping[str, Suite]) -> dict[str, Mapping[str, bytes]]:
    return {where: suite.texts for where, suite in suites.items()}


def _read(tree: Path, files: Mapping[str, str]) -> tuple[dict[str, bytes], str]:
    """The content of Release files; and why one cannot be read, if so."""
    found: dict[str, bytes] = {}
    unreadable = ""
    for name in RELEASE_NAMES:
        if name in files:
            try:
                found[name] = read_at_most(tree / files[name], MAX_RELEASE, where=files[name])
            except OSError as exc:
                unreadable = f"{files[name]} cannot be read: {exc.strerror}"
            except MalformedFile as exc:
                unreadable = str(exc)
    return found, unreadable


def _release(directory: str, texts: Mapping[str, bytes]) -> tuple[Release, str]:
    """A suite's Release as apt reads it, InRelease first; and what is strange about the other files."""
    where = joined(directory, "InRelease")
    if "InRelease" not in texts:
        if "Release" not in texts:
            raise Mismatch(f"{directory} has a Release.gpg but neither Release nor InRelease")
        return parse_release(texts["Release"], where=joined(directory, "Release")), ""
    release = parse_release(split_clearsigned(texts["InRelease"], where=where), where=where)
    if "Release" in texts and not suite_text_agrees(texts["InRelease"], texts["Release"]):
        return release, f"{where} and {joined(directory, 'Release')} are of different states"
    return release, ""


class OtherNames:
    """Other names of a path, through links to directories above it."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self._directories: dict[str, list[str]] = {}  # with the links that lead to them
        for link in links:
            with suppress(BadPath):
                self._directories.setdefault(resolve(link, links, follow_last=True), []).append(link)

    def of(self, path: str) -> Iterator[str]:
        """The other names of a path."""
        if self._directories:
            for above in prefixes(path):
                for link in self._directories.get(above, ()) if above != path else ():
                    yield f"{link}{path[len(above) :]}"


class TreeLinks(Mapping[str, str]):
    """The links of a tree, each looked at when it is first asked for.

    What `known` has of a path counts instead: a target, or none where it is to be no link.
    """

    def __init__(self, tree: Path, known: Mapping[str, str | None] = MappingProxyType({})) -> None:
        self._tree = os.fspath(tree)
        self._asked: dict[str, str | None] = dict(known)

    def __getitem__(self, path: str) -> str:
        if path not in self._asked:
            self._asked[path] = None
            with suppress(OSError):
                self._asked[path] = os.readlink(f"{self._tree}/{path}")  # noqa: PTH115  text, as it is
        target = self._asked[path]
        if target is None:
            raise KeyError(path)
        return target

    def __iter__(self) -> Iterator[str]:
        return (path for path, target in self._asked.items() if target is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _may_be_repository(path: str, name: str) -> bool:
    return may_have_suites(name) and path not in NO_PACKAGES


class _Search:
    """Looks for Release files in a tree, without reading more of it than has to be."""

    def __init__(self, tree: Path) -> None:
        self._tree = os.fspath(tree)
        self.links = TreeLinks(tree)
        self._found: dict[str, dict[str, str]] = {}  # directory -> name -> path of the file
        self._seen: set[tuple[str, bool]] = set()
        self.names: dict[str, set[str]] = {}  # of each directory: those by which it was reached
        self.below_dists: dict[str, str] = {}  # directories that are, with what is above that `dists`
        self.places: dict[str, bool] = {}
        self.lost: dict[str, bool] = {}
        self.files: set[str] = set()
        self.dangling: dict[
            str, str
        ] = {}  # directories where a Release file is a link to nothing: its target

    def run(self, further: Iterable[str]) -> None:
        """Look everywhere."""
        self._look("", _DEPTH)
        for directory in further:
            self._look(directory, 0)

    def suites(self) -> dict[str, dict[str, str]]:
        """The Release files that were found, by directory.

        A directory outside of `dists` that only holds the files which others' links lead to is no suite.
        """
        referred = {
            path
            for directory, files in self._found.items()
            for name, path in files.items()
            if path != joined(directory, name)
        }
        return {
            directory: files
            for directory, files in self._found.items()
            if directory in self.below_dists or not referred.issuperset(files.values())
        }

    def other_names(self, directory: str) -> tuple[str, ...]:
        """The names of a directory that have links in them."""
        return tuple(sorted(self.names[directory] - {directory}))

    def _look(self, name: str, depth: int) -> None:
        """A directory that may be a flat repository, or have `dists` in it."""
        for entry in self._enter(name, is_dists=False):
            below = joined(name, entry.name)
            if entry.name == DISTS:
                self._dists(below, above=name, depth=_MOST_DEEP, is_top=True)
            elif depth and entry.is_dir(follow_symlinks=False) and _may_be_repository(below, entry.name):
                self._look(below, depth - 1)

    def _dists(self, name: str, *, above: str, depth: int, is_top: bool = False) -> None:
        """A directory below `dists`, or that itself; `above` is what the names in its indices start at."""
        for entry in self._enter(name, is_dists=is_top, above=above):
            is_way = entry.is_dir(follow_symlinks=False) or entry.is_symlink()
            is_hidden = entry.name.startswith(".") or entry.name == LOST
            if depth and is_way and (not is_hidden if is_top else may_have_suites(entry.name)):
                self._dists(joined(name, entry.name), above=above, depth=depth - 1)

    def _enter(self, name: str, *, is_dists: bool, above: str | None = None) -> list[os.DirEntry[str]]:
        """Note the Release files of a directory by one of its names; its entries, unless they are known."""
        real = self._resolved(name)
        if real is None:
            return []
        if real != name:
            self.places[real] = is_dists
        try:
            with os.scandir(f"{self._tree}/{real}") as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            self.lost[real] = is_dists
            return []
        except OSError:  # no directory, or not one for us
            return []
        self.names.setdefault(real, set()).add(name)
        if above is not None:
            self.below_dists.setdefault(real, above)
        is_new = (real, above is not None) not in self._seen and len(self._seen) < _MOST
        self._seen.add((real, above is not None))
        if not is_new:
            return []
        for entry in entries:
            if entry.name in RELEASE_NAMES:
                self._note(real, entry.name)
        return entries

    def _note(self, directory: str, name: str) -> None:
        path = joined(directory, name)
        real = self._resolved(path)
        if real is None:
            return
        if real != path:
            self.places[real] = False
            self.files.add(real)
        if os.path.isfile(f"{self._tree}/{real}"):  # noqa: PTH113  names
            self._found.setdefault(directory, {})[name] = real
        elif not os.path.lexists(f"{self._tree}/{real}"):
            self.lost[real] = False
            self.dangling[directory] = real

    def _resolved(self, name: str) -> str | None:
        """A name without its links; None where they lead out of the tree or in circles."""
        try:
            return resolve(name, self.links, follow_last=True)
        except BadPath:
            return None
