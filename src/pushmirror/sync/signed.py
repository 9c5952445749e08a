"""With a keyring: signed files may be served at once; others only if every Release file is good.

    Release files (verified) ─▶ names and hashes of indices ─▶ indices ─▶ names of packages
                     └────────────── signed: may enter the tree early ──────────┘
                          any other name: with the indices, if each Release file upstream has is good;
                                          else it stays as it is here

Guaranteed: `covers` is true of a path only if a verified Release file lists it, or an index that one lists
names it (or, of very many new files, one with the same fingerprint of 64 bits). Not the business of this
module: who signed (`tree/release_signatures.py`), and whether the content of a file is what was signed
(`closures/file_checks.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping

from pushmirror.archive.index import File
from pushmirror.archive.layout import is_by_hash
from pushmirror.archive.paths import Entry
from pushmirror.archive.pathset import PathSet
from pushmirror.inventory.diff import Diff
from pushmirror.inventory.spool import EntrySpool
from pushmirror.tree.published_state import OtherNames, PublishedState
from pushmirror.tree.suites import Suites

_log = logging.getLogger(__name__)


#: Paths that indices name; each with all that they say of it, unless the paths are very many.
Indexed = Mapping[str, Collection[File]] | PathSet
LookUp = Callable[[Collection[str] | None], Indexed]  # of some paths, or of all that the indices name


class Signed:
    """The names and hashes in the Release files of a state and, once `indexed` is set, in its indices.

    `links` are upstream's.
    """

    def __init__(self, state: PublishedState, links: Mapping[str, str]) -> None:
        listed = [(suite, one) for suite in state.suites.values() for one in suite.release.files.values()]
        self._paths = {suite.path_of(one) for suite, one in listed} | state.release_files.keys()
        self._hashes = {digest for _, one in listed for digest in (one.digest, *dict(one.others).values())}
        self._suites = tuple(f"{where}/" for where, one in state.suites.items() if where and not one.is_flat)
        self._others = OtherNames(links)
        self.indexed: Indexed = {}

    def covers(self, path: str) -> bool:
        """Whether a path, without links, is named by what is signed."""
        return self.lists(path) or any(name in self.indexed for name in self.names_of(path))

    def names_of(self, path: str) -> Iterator[str]:
        """A path and its other names through links: indices may use any of these."""
        yield path
        yield from self._others.of(path)

    def lists(self, path: str) -> bool:
        """Whether a Release file names a path; a by-hash file is known by its hash, wherever it is."""
        return path in self._paths or (is_by_hash(path) and path.rpartition("/")[2] in self._hashes)

    def indexed_as(self, path: str) -> Collection[File]:
        """The records of a path in the indices, one of which is right; empty if they were not looked up."""
        if not isinstance(self.indexed, Mapping):
            return ()
        return [file for name in self.names_of(path) for file in self.indexed.get(name, ())]

    def is_beside_indices(self, path: str) -> bool:
        """Whether a path is in a suite's directory or by-hash: an index, or beside one."""
        return is_by_hash(path) or path.startswith(self._suites)


def leave_unsigned(diff: Diff, early: EntrySpool, suites: Suites, signed: Signed) -> EntrySpool:
    """Remove names that no signed file covers from the diff, because a Release file of upstream is not good.

    Links to a suite, or in the directory of one, remain: what they lead to is verified. Returns the `early`
    files that are covered.
    """
    covered, left = EntrySpool(), dict[str, Entry]()
    for entry in early:
        if signed.covers(entry.path):
            covered.append(entry)
        else:
            left[entry.path] = entry
    for some in (diff.missing, diff.changed):
        left |= {path: some.pop(path) for path in list(some) if not signed.covers(path)}
    for path in diff.links.keys() - suites.upstream.links.keys():
        if not signed.is_beside_indices(path):
            left[path] = diff.links.pop(path)
    diff.held |= left
    diff.keeps_unsigned = True
    if left:
        why = suites.faults[min(suites.faults)].reason
        _log.warning(
            "keeping %d names that no signed index covers, such as %s: %s", len(left), min(left), why
        )
    return covered
