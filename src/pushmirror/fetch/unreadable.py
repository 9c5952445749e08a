"""Names that upstream could not read: parsed from rsync's error lines.

Guaranteed: an error line counts only if it comes from upstream and names one of its paths; every other one is
left to the caller, who has to treat the transfer as failed. A local error never counts: it names no module
and no path of upstream's. The texts are those of rsync 3.0.9 to 3.5.0 (flist.c, sender.c), such as

    rsync: [sender] opendir "/private" (in debian) failed: Permission denied (13)     "[sender] " since 3.2
    file has vanished: "pool/a" (in debian)                           without chroot there is no "/"
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from pushmirror.config.model import Archive
from pushmirror.fetch.rsync_command import FAREWELL, unescape

_SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True)
class Unseen:
    """Tree paths whose current state at upstream is unknown."""

    files: frozenset[str] = frozenset()
    directories: frozenset[str] = frozenset()  # nothing is known of what is below them, either

    def __bool__(self) -> bool:
        return bool(self.files or self.directories)

    def __or__(self, other: Unseen) -> Unseen:
        return Unseen(self.files | other.files, self.directories | other.directories)

    def covers(self, path: str) -> bool:
        """Whether a tree path is one of them, or below one."""
        if path in self.files or path in self.directories:
            return True
        return bool(self.directories) and any(above in self.directories for above in _above(path))


def _above(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


_NAME = rb'"(?P<name>.*)"(?P<module> \(in [^"]*\))?'
_RSYNC = rb"rsync: (?:\[sender\] )?"
_FILE, _DIRECTORY, _EITHER = (True, False), (False, True), (True, True)
_COMPLAINTS = tuple(
    (re.compile(pattern + rb"\Z"), kind)
    for pattern, kind in (
        (_RSYNC + rb"send_files failed to open " + _NAME + rb": (?P<reason>.+)", _FILE),
        (_RSYNC + rb"read errors mapping " + _NAME + rb": (?P<reason>.+)", _FILE),
        (_RSYNC + rb"opendir " + _NAME + rb" failed: (?P<reason>.+)", _DIRECTORY),
        (_RSYNC + rb"readdir\(" + _NAME + rb"\): (?P<reason>.+)", _DIRECTORY),
        (_RSYNC + rb"change_dir " + _NAME + rb" failed: (?P<reason>.+)", _DIRECTORY),
        (_RSYNC + rb"readlink_stat\(" + _NAME + rb"\) failed: (?P<reason>.+)", _EITHER),
        (_RSYNC + rb"link_stat " + _NAME + rb" failed: (?P<reason>.+)", _EITHER),
        (rb"(?P<reason>file has vanished): " + _NAME, _FILE),
        (rb"(?P<reason>directory has vanished): " + _NAME, _DIRECTORY),
        (rb"skipping symlink with (?P<reason>0-length value): " + _NAME, _FILE),
    )
)
_GONE = (b"No such file or directory", b"has vanished")
_NO_COMPLAINT = re.compile(  # they go along with the others, or tell of what rsync has put right itself
    rb"rsync (?:error: some files/attrs were not transferred|error: some files could not be transferred"
    rb"|warning: some files vanished).*|IO error encountered -- skipping file deletion"
    rb"|rsync: (?:\[[Rr]eceiver\] )?read error: Connection reset by peer \(104\)"  # after all was said
    rb"|WARNING: .* failed verification -- update .* \(will try again\)\.|\s*|.*" + FAREWELL.encode() + rb".*"
)


@dataclass(slots=True)
class Complaints:
    """The error lines of one rsync; each is handed to `take`."""

    top: str  # the path of upstream's tree as complaints have it, without slashes around it; see `of`
    is_daemon: bool
    unreadable: set[str] = field(default_factory=set)  # files
    unreadable_directories: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)  # files
    vanished_directories: set[str] = field(default_factory=set)
    others: int = 0  # that are not about a name of upstream's

    @classmethod
    def of(cls, archive: Archive) -> Self:
        """A reader of complaints of an archive's upstream: of a daemon they have paths below the module."""
        upstream = archive.upstream
        assert upstream is not None
        below = upstream.path.partition("/")[2] if upstream.module else upstream.path
        return cls(below.strip("/"), bool(upstream.module))

    def take(self, line: bytes) -> None:
        """Look at one line."""
        for pattern, (is_file, is_directory) in _COMPLAINTS:
            if (found := pattern.match(line)) and (path := self._path(found)):
                is_gone = any(word in found["reason"] for word in _GONE)
                files = self.vanished if is_gone else self.unreadable
                directories = self.vanished_directories if is_gone else self.unreadable_directories
                if is_file:
                    files.add(path)
                if is_directory:
                    directories.add(path)
                return
        if not _NO_COMPLAINT.fullmatch(line):
            self.others += 1

    @property
    def unseen(self) -> Unseen:
        """All of these names."""
        directories = self.unreadable_directories | self.vanished_directories
        return Unseen(frozenset(self.unreadable | self.vanished), frozenset(directories))

    def _path(self, found: re.Match[bytes]) -> str:
        """The tree path of a complaint's name; empty for one that is not of upstream's tree, or its top."""
        if self.is_daemon and not found["module"]:
            return ""
        name = unescape(found["name"]).strip("/")
        if self.top:
            return name.removeprefix(f"{self.top}/") if name.startswith(f"{self.top}/") else ""
        return "" if name == "." else name


def shown(names: Iterable[str]) -> str:
    """The first few of the names, each safe to print, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ascii(name) for name in ordered[:_SHOWN]) + more
