"""Write the manifest that our sites read, from the changes in the inventory: it costs what changed.

    parts ──▶ head.next ──▶ the inventory: published ──▶ head.next becomes head ──▶ what is old leaves
    written and durable      one transaction: this        one rename
                             decides which head counts

Guaranteed: a head names only files that exist and are complete; it describes the tree as the inventory does,
and its steps add up to it. Killed at any point, the next `publish` finishes or discards what was begun. Files
that the previous head named stay for a while, as sites may be fetching them. Not the business of this module:
the format (archive/manifest.py), and whether the inventory is right.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.manifest import Head, Step, chain, last_number, parse_head, part_name, render_head
from pushmirror.archive.manifest_parts import (
    MAX_CHANGE_ENTRIES,
    MAX_DIRECTORIES,
    MAX_ENTRIES,
    Part,
    pack_snapshot,
    read_change,
    render_change,
)
from pushmirror.archive.paths import Entry, Kind
from pushmirror.errors import ArchiveError, StateError
from pushmirror.inventory.inventory import Inventory
from pushmirror.system.files import make_open_directories, sync_directory, write_atomically

_log = logging.getLogger(__name__)
HEAD = "head"
_NEXT = "head.next"  # the head that counts as soon as the inventory says so
_PART = re.compile(r"(?:snapshot|change)-[0-9a-fx]+\.gz")
_SHARE = 4  # changes since the snapshot may have so many-th of its bytes,
_LITTLE = 2**20  # or so many
_FAR = 100  # steps since the snapshot; twice as many altogether
_STAYS_S = 6 * 3600  # a file that no head names any more
_STAY = 100  # of them, at most


class ManifestWriter:
    """Writes the manifest of one archive."""

    def __init__(self, directory: Path, inventory: Inventory) -> None:
        """`directory` is what the rsync daemon serves."""
        self._directory = directory
        self._inventory = inventory

    def publish(self, generation: str) -> str:
        """Publish the current content of the tree and its generation; returns the tree's state.

        StateError if it cannot be written.
        """
        try:
            self._make_directory()
            served = self._served()
            standing = self._standing(served)
            head = self._next(standing, generation)
            if head is None:
                self._distrust()
            elif head != served:
                self._publish(head, served)
                self._tidy(head)
        except OSError as exc:
            raise StateError(
                f"the manifest for sites cannot be written to {self._directory}: {exc.strerror}",
                hint="check free disk space, and that the directory belongs to the user who runs pushmirror",
            ) from exc
        return self._inventory.state

    @property
    def generation(self) -> str:
        """The generation in the published manifest; empty if there is none."""
        head = self._read(HEAD)
        return head.generation if head else ""

    def withdraw(self) -> None:
        """Remove the manifest: sites use another strategy then."""
        served = self._read(HEAD)
        if served:
            self._let_go(served, ())
        for name in (HEAD, _NEXT):
            (self._directory / name).unlink(missing_ok=True)

    # --- What there is ------------------------------------------------------------------------------------

    def _make_directory(self) -> None:
        above = self._directory.parent.parent
        above.mkdir(mode=0o750, parents=True, exist_ok=True)
        owner = above.stat().st_uid if os.geteuid() == 0 else None  # root works for who runs the mirror
        make_open_directories(above, self._directory.parent.name, self._directory.name, owner=owner)

    def _served(self) -> Head | None:
        """The head that sites read, after finishing or undoing one that was killed."""
        begun = self._read(_NEXT)
        if begun and begun.state == self._inventory.manifest_state:
            (self._directory / _NEXT).replace(self._directory / HEAD)
            sync_directory(self._directory)
        else:
            (self._directory / _NEXT).unlink(missing_ok=True)
        return self._read(HEAD)

    def _read(self, name: str) -> Head | None:
        file = self._directory / name
        try:
            return parse_head(file.read_bytes(), where=str(file))
        except FileNotFoundError:
            return None
        except ArchiveError as exc:
            _log.warning("rebuilding the manifest for sites: %s", exc)
            return None

    def _standing(self, head: Head | None) -> Head | None:
        """The head if the next one can continue from it: it describes the last published state and its files
        exist.
        """
        if head and head.state == self._inventory.manifest_state and all(map(self._is_there, _parts(head))):
            return head
        return None

    def _is_there(self, part: Part) -> bool:
        try:
            return (self._directory / part.name).stat().st_size == part.size
        except FileNotFoundError:
            return False

    # --- What is next -------------------------------------------------------------------------------------

    def _next(self, standing: Head | None, generation: str) -> Head | None:
        """The head of the tree as it is now, its files written; None if the inventory is inconsistent."""
        tree = self._inventory
        if standing and standing.state == tree.state:
            return replace(standing, generation=generation)
        number = last_number(standing) + 1 if standing else 1
        step = self._step(standing.state, number) if standing else None
        if standing and step:
            steps = (*standing.steps, step)
            whole, whole_state = standing.snapshot, standing.snapshot_state
            head = Head(tree.state, generation, tree.files, tree.size, whole_state, whole, steps)
            if not is_far(head):
                return shortened(head)
        else:
            steps = ()
        snapshot = self._snapshot(number)
        if snapshot is None:
            return None
        return shortened(Head(tree.state, generation, tree.files, tree.size, tree.state, snapshot, steps))

    def _step(self, before: str, number: int) -> Step | None:
        """The change since the last publication; None if it is too large, or inconsistent."""
        change = self._inventory.pending_change()
        if change is None or len(change) > MAX_CHANGE_ENTRIES:
            return None
        digest = TreeDigest(before)
        for entry in change.removed:
            digest.remove(entry)
        for entry in change.added:
            digest.add(entry)
        if digest.hexdigest() != self._inventory.state:
            return None
        data = render_change(change)
        sha256 = hashlib.sha256(data).hexdigest()
        part = Part(part_name("change", number, sha256), len(data), sha256, len(change))
        try:
            read_change(data, part, where=part.name)
        except ArchiveError as exc:  # such as very long paths, very many of them
            _log.debug("this change gets no step of its own in the manifest for sites: %s", exc)
            return None
        write_atomically(self._directory / part.name, data)
        return Step(before, self._inventory.state, part)

    def _snapshot(self, number: int) -> Part | None:
        """The listing of the whole tree, written; None if it does not have the inventory's digest."""
        beside = self._directory / "snapshot.new"
        beside.unlink(missing_ok=True)
        counted = _Counted(self._inventory.entries())
        sha256, size = hashlib.sha256(), 0
        with beside.open("xb") as file:
            os.fchmod(file.fileno(), 0o644)  # whatever the umask says
            for chunk in pack_snapshot(counted):
                sha256.update(chunk)
                size += file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        is_small = counted.number <= MAX_ENTRIES and counted.directories <= MAX_DIRECTORIES
        if counted.digest.hexdigest() != self._inventory.state or not is_small:
            beside.unlink()
            return None
        name = part_name("snapshot", number, sha256.hexdigest())
        beside.replace(self._directory / name)
        return Part(name, size, sha256.hexdigest(), counted.number)

    # --- Making it so -------------------------------------------------------------------------------------

    def _publish(self, head: Head, served: Head | None) -> None:
        if served:
            self._let_go(served, _parts(head))
        write_atomically(self._directory / _NEXT, render_head(head))  # makes the parts' names durable too
        if self._inventory.manifest_state != head.state:
            self._inventory.set_manifest_state(head.state)
        (self._directory / _NEXT).replace(self._directory / HEAD)
        sync_directory(self._directory)

    def _distrust(self) -> None:
        """The inventory contradicts its own digest: start it anew, and withdraw the manifest."""
        _log.warning("inventory inconsistent; the next run rescans the tree")
        self.withdraw()
        self._inventory.clear()

    def _let_go(self, head: Head, kept: tuple[Part, ...]) -> None:
        """Set the time of files that no head names any more: they are removed some time later."""
        for part in {*_parts(head)} - {*kept}:
            try:
                os.utime(self._directory / part.name, follow_symlinks=False)
            except FileNotFoundError:
                continue

    def _tidy(self, head: Head) -> None:
        """Remove what a killed `publish` left, and what no head has named for long."""
        named = {HEAD, *(part.name for part in _parts(head))}
        others = [
            (found.st_mtime, one)
            for one in self._directory.iterdir()
            if one.name not in named and S_ISREG((found := one.lstat()).st_mode)  # no lost+found
        ]
        others.sort(reverse=True)
        oldest = time.time() - _STAYS_S
        for number, (mtime, file) in enumerate(others):
            if not _PART.fullmatch(file.name) or number >= _STAY or mtime < oldest:
                file.unlink()


def is_far(head: Head) -> bool:
    """Whether the steps since the snapshot cost so much to read that another one should be made.

    The cost of a snapshot is thus spread over changes of a fair share of its bytes.
    """
    since = chain(head, head.snapshot_state) or ()
    return len(since) > _FAR or _bytes(since) > _budget(head)


def shortened(head: Head) -> Head:
    """The head without its oldest steps when there are too many; those since the snapshot always stay."""
    needed = len(chain(head, head.snapshot_state) or ())
    first, size = len(head.steps), 0
    while first:
        size += head.steps[first - 1].part.size
        count = len(head.steps) - first + 1
        if count > needed and (count > 2 * _FAR or size > 2 * _budget(head)):
            break
        first -= 1
    return replace(head, steps=head.steps[first:])


def _budget(head: Head) -> int:
    return max(_LITTLE, head.snapshot.size // _SHARE)


def _bytes(steps: tuple[Step, ...]) -> int:
    return sum(step.part.size for step in steps)


def _parts(head: Head) -> tuple[Part, ...]:
    return (head.snapshot, *(step.part for step in head.steps))


class _Counted:
    """Entries that are counted, and added to a digest, as they pass."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self.number = self.directories = 0
        self.digest = TreeDigest()

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self.number += 1
            self.directories += entry.kind is Kind.DIRECTORY
            self.digest.add(entry)
            yield entry
