"""The judge of a served tree: what would an apt client find at this very moment?

Independent of pushmirror.archive on purpose, so that no error of its parsers is missed; simple, and slow. One
sample reads InRelease of each suite once, as a client does, and then everything that it leads to, while the
tree may be changing:

- suite with Acquire-By-Hash: whatever InRelease X led to must be there for a client that holds X, also while
  the mirror moves on to Y. Every failure counts.
- suite without, and installer images (reached through the link `current`, never by hash): no order of renames
  makes index and InRelease change at once. A failure counts when it is still there after `SETTLE_S` with
  InRelease unchanged all the time: then the tree rests in a broken state.
- a symbolic link that leads nowhere counts, unless it was replaced while it was being looked at.

Links are followed, as a web server does: a suite is a directory below dists/, by whatever links it is reached
and however deep it lies, in which an InRelease can be read, or a Release that lists files. It is judged once,
whatever its names; if none of them leads to it any more in the end, its links have turned, and what a client
meets then is the next sample's.

Not judged: signatures, Release against InRelease, and suites or architectures that were never mirrored (a
suite that vanishes between two samples of one `Judge` is noticed, by each of its names).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.lab.listed import Wanted, families, images, patches, pool_files, read, release

SETTLE_S = 0.5
_WORK = ".~tmp~"
_NO_SUITES = {"by-hash", _WORK}  # nor is any below
_RELEASES = {"InRelease", "Release"}


@dataclass(slots=True)
class Judge:
    """Takes samples of one tree; remembers hashes of files that did not change in between."""

    tree: Path
    thorough: bool = False  # hash pool files and images too, instead of comparing sizes
    pdiffs: bool = False  # the patches that Packages.diff/Index names must be there too
    allowed: frozenset[str] = frozenset()  # paths that may be missing or wrong, as they are at upstream
    settle_s: float = SETTLE_S
    _hashes: dict[tuple[int, ...], str] = field(default_factory=dict)  # (inode, size, times) -> SHA256
    _parsed: dict[str, tuple[Wanted, ...]] = field(default_factory=dict)  # index's SHA256 -> pool files
    _seen: set[str] = field(default_factory=set)  # names of suites, and paths of InRelease files

    def sample(self) -> list[str]:
        """What is broken right now, one sentence each."""
        suites = suites_in(self.tree)
        present = {
            path
            for suite, names in suites.items()
            for name in names
            for path in (name, *([f"{name}/InRelease"] if (suite / "InRelease").exists() else []))
        }
        gone = {path.removesuffix("/InRelease") for path in self._seen - present}
        vanished = [
            f"{name}: InRelease has vanished"
            for name in sorted(gone)
            if f"{name}/InRelease" not in self.allowed
        ]
        self._seen |= present
        problems = [
            problem for suite, found in suites.items() for problem in self._judge_reachable(suite, found)
        ]
        return [*vanished, *problems, *self._dangling_links()]

    def _judge_reachable(self, suite: Path, names: Iterable[str]) -> list[str]:
        problems = self._judge_suite(suite)
        is_reached = any(_real(self.tree / name) == suite for name in names) if problems else True
        return problems if is_reached else []

    def _judge_suite(self, suite: Path) -> list[str]:
        file, text = _release_file(suite)
        if text is None:
            return [f"{self._name(suite)}: InRelease has vanished"]
        try:
            by_hash, listed = release(text.decode("utf-8", "replace"))
        except ValueError:
            return [f"{self._name(suite)}: InRelease is damaged"]
        if not listed:
            return [f"{self._name(suite)}: InRelease lists no files"]
        problems = self._check_indices(suite, by_hash, listed)
        believed = [problem for problem, firm in problems if firm]
        if len(believed) == len(problems):
            return believed
        if not _settled(file, text, self.settle_s):
            return believed
        return [problem for problem, _ in self._check_indices(suite, by_hash, listed)] or believed

    def _check_indices(
        self, suite: Path, by_hash: bool, listed: dict[str, tuple[int, str]]
    ) -> list[tuple[str, bool]]:
        """Problems of a suite, each with whether it counts at once."""
        problems: list[tuple[str, bool]] = []
        for family, names in families(listed).items():
            if not self._is_mirrored(suite, family, names, listed):
                continue
            firm = by_hash and "/installer-" not in family
            found: dict[str, Path] = {}
            for name in names:
                size, sha256 = listed[name]
                places = [suite / name]
                if by_hash:
                    places.insert(0, (suite / name).parent / "by-hash" / "SHA256" / sha256)
                place = next((p for p in places if self._sha256(p) == sha256), None)
                if place:
                    found[name] = place
                elif self._is_allowed(suite / name):
                    continue
                elif name != family or len(names) == 1 or (not by_hash and (suite / name).exists()):
                    why = f"is not there with the listed {size} bytes and SHA256 {sha256[:12]}…"
                    problems.append((f"{self._name(suite)}: {name} {why}", firm))
            for name, place in sorted(found.items())[:1]:
                problems += [
                    (f"{self._name(suite)}: {name}: {why}", firm)
                    for why in self._check_content(suite, name, listed[name][1], place)
                ]
        return problems

    def _is_mirrored(
        self, suite: Path, family: str, names: list[str], listed: dict[str, tuple[int, str]]
    ) -> bool:
        """Whether the tree has any trace of an index; a mirror may leave out architectures and kinds."""
        directory = (suite / family).parent
        own_directory = directory.name == "source" or directory.name.startswith("binary-")
        return (
            (own_directory and family.endswith(("/Packages", "/Sources")) and directory.is_dir())
            or any(os.path.lexists(suite / name) for name in names)
            or any(os.path.lexists(directory / "by-hash/SHA256" / listed[name][1]) for name in names)
        )

    def _check_content(self, suite: Path, name: str, sha256: str, place: Path) -> list[str]:
        base = name.rpartition("/")[2]
        if base.startswith(("Packages.", "Sources.")) or base in {"Packages", "Sources"}:
            return self._missing(self._pool_files(base, sha256, place))
        if base == "Index" and self.pdiffs:
            return self._missing(patches(place, self._name((suite / name).parent)))
        if base == "SHA256SUMS":
            return self._missing(images(suite / name, _real(self.tree)))
        return []

    def _pool_files(self, base: str, sha256: str, place: Path) -> tuple[Wanted, ...]:
        if sha256 not in self._parsed:
            data = read(place)
            if data is None or hashlib.sha256(data).hexdigest() != sha256:
                return (Wanted(self._name(place), -1, sha256),)  # gone between two looks
            self._parsed[sha256] = tuple(pool_files(base, data))
        return self._parsed[sha256]

    def _missing(self, wanted: Iterable[Wanted]) -> list[str]:
        problems = []
        for file in wanted:
            path = self.tree / file.path
            if file.path in self.allowed:
                continue
            size = _size(path)
            if size is None:
                problems.append(f"{file.path} is missing")
                continue
            if _WORK in file.path:
                problems.append(f"{file.path} is a work file of rsync")
            if file.size >= 0 and size != file.size:
                problems.append(f"{file.path} has {size} bytes, not {file.size}")
            elif self.thorough and self._sha256(path) != file.sha256:
                problems.append(f"{file.path} has another SHA256 than {file.sha256[:12]}…")
        return problems

    def _sha256(self, path: Path) -> str | None:
        """The hash of a file; None when there is none."""
        try:
            with path.open("rb") as file:
                about = os.fstat(file.fileno())
                key = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
                if not stat.S_ISREG(about.st_mode):
                    return None
                if key not in self._hashes:
                    self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
                return self._hashes[key]
        except OSError:
            return None

    def _dangling_links(self) -> list[str]:
        problems, waiting = list[str](), [os.path.realpath(self.tree)]
        while waiting:
            for entry in _entries(waiting.pop()):
                if entry.is_symlink():
                    problems += self._look_at_link(Path(entry.path))
                elif entry.is_dir() and entry.name != _WORK:
                    waiting.append(entry.path)
        return problems

    def _look_at_link(self, path: Path) -> list[str]:
        target = _target(path)
        if target is None or self._is_allowed(path):
            return []
        if _WORK in target:
            return [f"{self._name(path)} leads into a work directory of rsync: {target}"]
        if not self._leads_to(path) and _target(path) == target and not self._leads_to(path):
            return [f"{self._name(path)} leads nowhere: {target}"]
        return []

    def _leads_to(self, path: Path) -> bool:
        """Whether a link leads to something in the tree: what is outside of it cannot be mirrored."""
        return path.exists() and Path(os.path.realpath(path)).is_relative_to(_real(self.tree))

    def _is_allowed(self, path: Path) -> bool:
        return bool(self.allowed) and self._name(path) in self.allowed

    def _name(self, path: Path) -> str:
        return str(path.relative_to(_real(self.tree)))


def broken(
    tree: Path, *, thorough: bool = False, pdiffs: bool = False, allowed: frozenset[str] = frozenset()
) -> list[str]:
    """One sample of a tree: what is broken in it, one sentence each; empty when nothing is."""
    return Judge(tree, thorough=thorough, pdiffs=pdiffs, allowed=allowed).sample()


def suites_in(tree: Path) -> dict[Path, list[str]]:
    """Every directory that is a suite, without a link in its path, and its names below the tree.

    Of links to a directory that has been found only the one that leads there is a name, not all that are
    below it, and none leads out of the tree.
    """
    top = _real(tree)
    suites: dict[Path, list[str]] = {}
    visited: set[str] = set()
    waiting, links = [("dists", os.path.realpath(tree / "dists"))], list[tuple[str, str]]()
    while waiting or links:
        name, real = waiting.pop() if waiting else links.pop(0)
        if real in visited:
            if Path(real) in suites:
                suites[Path(real)].append(name)
            continue
        visited.add(real)
        entries = _entries(real) if Path(real).is_relative_to(top) else []
        if any(entry.name in _RELEASES for entry in entries) and _release_file(Path(real))[1]:
            suites[Path(real)] = [name]
        for entry in entries:
            if entry.is_symlink():
                if Path(entry.path).is_dir():
                    links.append((f"{name}/{entry.name}", os.path.realpath(entry.path)))
            elif entry.is_dir() and entry.name not in _NO_SUITES:
                waiting.append((f"{name}/{entry.name}", entry.path))
    return dict(sorted(suites.items()))


def _entries(directory: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:  # it has gone meanwhile
        return []


def _release_file(suite: Path) -> tuple[Path, bytes | None]:
    """The file that a client takes, and what it holds; None if this is no suite."""
    inline, plain = suite / "InRelease", suite / "Release"
    text = read(inline)
    if text is not None:
        return inline, text
    text = read(plain)
    return plain, text if text and re.search(rb"^(MD5Sum|SHA1|SHA256|SHA512):", text, re.MULTILINE) else None


def _settled(file: Path, text: bytes, settle_s: float) -> bool:
    """Whether a file stays `text` for so long."""
    until = time.monotonic() + settle_s
    while time.monotonic() < until:
        if read(file) != text:
            return False
        time.sleep(SETTLE_S / 20)
    return read(file) == text


def _size(path: Path) -> int | None:
    """Bytes; None where there is no file: no client gets anything from a directory, a pipe or a device."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _real(path: Path) -> Path:
    """Without links; also if it is not there."""
    return Path(os.path.realpath(path))


def _target(path: Path) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115  the text as it is, `./` and all
    except OSError:
        return None


# -- comparing two trees ---


#: What differs between a tree and its mirror by right: traces and flags of each mirror, and work files.
OWN = re.compile(
    r"project/trace/(?!master$).*|Archive-Update-(in-Progress|Required)-.*|(.*/)?\.~tmp~(/.*)?|(.*/)?\.pushmirror.*"
)


def same_tree(
    one: Path, other: Path, *, ignore: re.Pattern[str] = OWN, held: Collection[str] = ()
) -> list[str]:
    """The differences of two trees: names, types, targets of links, contents, times of files (seconds).

    `ignore` matches paths below the trees that are left out. So are suites that are `held` at a former state
    in one of them (names in dists/), and pool files that only one tree has then.
    """
    ours, theirs = dict(_entries_below(one, ignore)), dict(_entries_below(other, ignore))
    if held:
        for paths, others in ((ours, theirs.keys()), (theirs, ours.keys())):
            for path in [path for path in paths if _is_of_held(path, held, path not in others)]:
                del paths[path]
    problems = [f"{path} is only in {one}" for path in sorted(ours.keys() - theirs.keys())]
    problems += [f"{path} is only in {other}" for path in sorted(theirs.keys() - ours.keys())]
    for path in sorted(ours.keys() & theirs.keys()):
        why = _difference(one / path, ours[path], other / path, theirs[path])
        if why:
            problems.append(f"{path}: {why}")
    return problems


def _is_of_held(path: str, held: Collection[str], is_alone: bool) -> bool:
    top, _, rest = path.partition("/")
    return (top in {"dists", "zzz-dists"} and rest.partition("/")[0] in held) or (top == "pool" and is_alone)


def _entries_below(tree: Path, ignore: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
    for directory, names, files in os.walk(tree):
        for name in (*names, *files):
            path = Path(directory, name)
            inside = str(path.relative_to(tree))
            if not ignore.fullmatch(inside):
                yield inside, path.lstat()


def _difference(one: Path, ours: os.stat_result, other: Path, theirs: os.stat_result) -> str:
    if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
        return "of another type"
    if stat.S_ISLNK(ours.st_mode):
        targets = one.readlink(), other.readlink()
        return "" if targets[0] == targets[1] else f"leads to {targets[0]}, to {targets[1]}"
    if not stat.S_ISREG(ours.st_mode):
        return ""
    if ours.st_size != theirs.st_size or one.read_bytes() != other.read_bytes():
        return f"other content ({ours.st_size} and {theirs.st_size} bytes)"
    times = int(ours.st_mtime), int(theirs.st_mtime)
    return "" if times[0] == times[1] else f"other time ({times[0]} and {times[1]})"
