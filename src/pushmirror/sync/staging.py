"""Fetch and verify: everything a pinned state needs is in the tree or staged before anything is published.

    early ──▶ indices ──▶ closure: sizes, hashes ──▶ others ──▶ Release files ──▶ closure store
                 └── a fault of a suite: it is held back, all others go on ──┘

Guaranteed when `stage` returns: publishing what is staged, in the right order, makes the attempt's target the
served state, complete at every instant but for files that upstream itself lacks, and these are named.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from pushmirror.archive.index import File, kind_of
from pushmirror.archive.layout import ZZZ_DISTS, is_component, is_searched, is_suite_file
from pushmirror.archive.paths import Entry, resolve
from pushmirror.archive.pathset import fingerprint
from pushmirror.archive.publishing_order import PublishStep, publish_step
from pushmirror.closures import file_checks
from pushmirror.closures.file_checks import Readable
from pushmirror.closures.indices import Indices
from pushmirror.config.model import Policy
from pushmirror.errors import BadPath
from pushmirror.inventory.diff import Diff
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.signed import Indexed, LookUp
from pushmirror.system import clock
from pushmirror.system.batched import batched
from pushmirror.system.files import mtime_of
from pushmirror.tree.publish import Publisher
from pushmirror.tree.published_state import Fault, PublishedState
from pushmirror.tree.suites import INCOMPLETE_AFTER, Suites
from pushmirror.workspace import Workspace

_log = logging.getLogger(__name__)
_TOGETHER = 20_000  # files that are looked at together


class Staging:
    """Fills the work area of one archive."""

    def __init__(self, workspace: Workspace, publisher: Publisher) -> None:
        self._workspace = workspace
        self._archive = workspace.archive
        self._tree = workspace.tree
        self._upstream = workspace.upstream
        self._progress = workspace.progress
        self._area = workspace.area
        self._closures = workspace.closures
        self._publisher = publisher

    def stage(self, attempt: Attempt) -> None:
        """Fetch everything else that is to be published, and check its closure."""
        indices = attempt.indices or self._get_indices(attempt)
        self._stage_others(attempt, indices.staged)
        if attempt.pinned.suites:
            newly_read = any(kind_of(path) is not None for path in indices.staged)
            is_new = attempt.pinned.generation != attempt.base.generation
            if newly_read or is_new or self._leaves_out_more(attempt):
                self._require_closure(attempt, indices)
            else:
                self._require_repairs(attempt)
        self._stage_release_files(attempt)

    def indexed(self, attempt: Attempt) -> LookUp:
        """Fetch and read the indices of the pinned state; returns a function that looks up what they name.

        Indices that cannot be fetched or read name nothing; `stage` reports the fault.
        """
        attempt.indices = indices = self._get_indices(attempt)
        self._progress.step("reading indices")
        readable, _ = file_checks.read_closures(attempt.pinned, indices, self._closures)

        def look_up(paths: Collection[str] | None) -> Indexed:
            if paths is None:
                return self._closures.paths(readable.values())
            found: dict[str, list[File]] = {}
            for file in self._records({*paths}, readable.values()):
                found.setdefault(file.path, []).append(file)
            return found

        return look_up

    def _leaves_out_more(self, attempt: Attempt) -> bool:
        """Whether the configuration leaves out indices that the served state refers to."""
        left_out = {path for path in attempt.diff.extras if not self._workspace.selection.wants(path)}
        return bool(left_out) and not left_out.isdisjoint(self._closures.names_of(attempt.base.generation))

    def _get_indices(self, attempt: Attempt) -> Indices:
        """Stage the indices; suites whose indices cannot be fetched are held back."""
        indices = self._indices(attempt)
        faults = indices.get(self._upstream, attempt.live)
        attempt.staged |= indices.staged
        attempt.uncovered |= indices.uncovered
        attempt.dropped |= {where: path for where, path in indices.dropped.items() if where not in faults}
        return self._hold_back(attempt, faults, indices)

    def _hold_back(self, attempt: Attempt, faults: dict[str, Fault], indices: Indices) -> Indices:
        """Hold the suites with faults back; returns the indices without theirs."""
        for directory, fault in faults.items():
            attempt.hold(directory, fault)
        return indices.holding(attempt.suites, faults)

    def _indices(self, attempt: Attempt) -> Indices:
        return Indices(
            tree=self._tree,
            area=self._area,
            diff=attempt.diff,
            suites=attempt.suites,
            base=attempt.base,
            wants=self._workspace.selection.wants,
        )

    def _stage_others(self, attempt: Attempt, indices: Collection[str]) -> None:
        """Fetch what no Release file lists; a file that vanished meanwhile causes another attempt.

        A Release file that appeared after upstream's state was pinned is left for the next attempt.
        """
        diff, upstream = attempt.diff, attempt.suites.upstream
        wanted = {**diff.missing, **diff.changed}
        pinned = {path for files in upstream.files.values() for path in files.values()}
        others = [
            entry
            for path, entry in wanted.items()
            if path not in indices
            and path not in diff.refused
            and path not in pinned
            and (path in upstream.plain or not is_suite_file(path) or self._may_publish_unsigned(path))
        ]
        others += self._orphaned_release_files(attempt, wanted.keys() - pinned)
        late = [
            entry.path
            for entry in others
            if publish_step(entry.path) in {PublishStep.INDEX, PublishStep.RELEASE}
        ]
        if late:
            self._progress.step("indices", files=len(late))
            self._upstream.fetch(late, self._area)
        came = self._publisher.came(others)
        attempt.staged |= came
        attempt.lost |= {entry.path for entry in others if entry.path not in came}

    def _may_publish_unsigned(self, path: str) -> bool:
        """Whether a Release file of no known suite is published: with a keyring it is not."""
        directory = path.rpartition("/")[0]
        if is_searched(path) or directory in self._archive.release_directories:
            return False  # it was not there when upstream's state was pinned: for the next attempt
        if self._archive.keyring and not (path.endswith("/Release") and is_component(directory)):
            _log.warning(
                "skipping %s, as no signature covers it; add its directory to release_directories", path
            )
            return False
        return True

    def _orphaned_release_files(self, attempt: Attempt, wanted: Iterable[str]) -> list[Entry]:
        """Release files in zzz-dists that no link leads to: those of a removed suite."""
        if self._archive.keyring:
            return []  # nobody checks their signatures
        there = {path for path in wanted if ZZZ_DISTS in path.split("/")}
        there = {path for path in there if (self._area.pin / path).is_file()}
        links = attempt.diff.upstream_links
        for link in links if there else ():
            with suppress(BadPath):
                there.discard(resolve(link, links, follow_last=True))
        return [entry for path in sorted(there) if (entry := attempt.diff.wanted(path))]

    def _stage_release_files(self, attempt: Attempt) -> None:
        """Stage the pinned Release files that differ from those in the tree."""
        live = attempt.live.release_files
        for directory, suite in attempt.pinned.suites.items():
            if directory in attempt.suites.faults:
                continue
            for name, text in suite.texts.items():
                path = suite.files[name]
                if live.get(path) != text or path in attempt.diff.changed:
                    source = self._area.pin / path
                    self._area.take(source, path, mtime=mtime_of(source.stat()))
                    attempt.staged.add(path)

    # -- closure --------------------------------------------------------------------------------------

    def _require_closure(self, attempt: Attempt, indices: Indices) -> None:
        """Check each file that the new indices add: its size and, if it came from upstream, its hash."""
        self._progress.step("reading indices")
        known = file_checks.readable_of(attempt.base, self._closures)  # before the new ones are known too
        readable, faults = file_checks.read_closures(attempt.pinned, indices, self._closures)
        if faults:
            indices = self._hold_back(attempt, faults, indices)
            readable, _ = file_checks.read_closures(attempt.pinned, indices, self._closures)
        came = file_checks.NewFiles(self._area.landed(), attempt.staged)
        self._progress.step("verifying", files=len(came))
        closures = readable.values()
        bad: list[File] = []
        for files in batched(self._closures.additions(closures, known.values()), _TOGETHER):
            added = [file for file in files if self._workspace.named.wants(file.path)]
            doubtful = came.take(added)
            doubtful += [file for file in added if file.path in attempt.asked_again]  # unknown to `came`
            if known:  # else the tree may have been another program's: its images are believed
                doubtful += file_checks.of_no_size(added, self._tree, attempt.staged)
            lacking = file_checks.lacking(added, self._tree, attempt.staged, self._area)
            bad += self._fetch_again(attempt, lacking, closures)
            bad += self._require_hashes(attempt, doubtful, closures)
        bad += self._require_rest(attempt, came, closures)
        bad += self._fetch_missing_again(attempt, closures)
        while self._hold_incomplete(attempt, bad, readable):  # each pass holds one more suite back
            held = [key for (directory, _), key in readable.items() if directory in attempt.suites.faults]
            self._closures.remember_held(held)
            indices = self._hold_back(attempt, attempt.suites.faults, indices)
            readable, _ = file_checks.read_closures(attempt.pinned, indices, self._closures)
            bad = []
        self._closures.begin(beside_a_tree=bool(attempt.live.generation))
        self._remember_live(attempt.live)
        self._remember(attempt.pinned, indices, readable)

    def _require_repairs(self, attempt: Attempt) -> None:
        """Check files that were fetched again, although the indices are those that are served."""
        came = file_checks.NewFiles(self._area.landed(), attempt.staged)
        readable = file_checks.readable_of(attempt.pinned, self._closures)
        closures = readable.values()
        bad = self._require_rest(attempt, came, closures)
        bad += self._fetch_missing_again(attempt, closures)
        while self._hold_incomplete(attempt, bad, readable):
            readable = file_checks.readable_of(attempt.pinned, self._closures)
            bad = []

    def _require_rest(
        self, attempt: Attempt, came: file_checks.NewFiles, closures: Collection[str]
    ) -> list[File]:
        """Check the arrived files that the new indices do not add: upstream may have sent a damaged one."""
        bad: list[File] = []
        if left := came.rest():
            for files in batched(self._closures.named(left, closures), _TOGETHER):
                bad += self._require_hashes(attempt, came.take(files), closures)
        return bad

    def _fetch_missing_again(self, attempt: Attempt, closures: Collection[str]) -> list[File]:
        """Fetch again what upstream lacked at earlier runs; returns what it still lacks."""
        before = {path for paths in self._closures.missing().values() for path in paths}
        if not before:
            return []
        files = [
            file
            for file in self._closures.named(set(map(fingerprint, before)), closures)
            if file.path in before and self._workspace.named.wants(file.path)
        ]
        lacking = file_checks.lacking(files, self._tree, attempt.staged, self._area)
        here = [file for file in files if file not in set(lacking)]
        return self._fetch_again(attempt, [*lacking, *self._mismatching(here, attempt.staged)], closures)

    def _require_hashes(self, attempt: Attempt, files: list[File], closures: Collection[str]) -> list[File]:
        return self._fetch_again(attempt, self._mismatching(files, attempt.staged), closures)

    def _fetch_again(self, attempt: Attempt, files: list[File], closures: Collection[str]) -> list[File]:
        """Fetch missing or wrong files by name; returns those without a right copy.

        If upstream's copy is damaged and ours is right, ours stays. Files that indices disagree about are
        returned, too: `_unresolved` decides about them.
        """
        if not files:
            return []
        if unasked := self._unasked(attempt, files, closures):
            _log.info("%d files of the closure are missing or wrong: %s …", len(unasked), next(iter(unasked)))
            for path in unasked:
                self._area.drop(path)  # rsync would take it for right
            size = sum(max(size, 0) for size in unasked.values())
            self._progress.step("fetching", files=len(unasked), size=size)
            self._upstream.fetch(unasked, self._area)
        attempt.asked_again.update(file.path for file in files)
        came = {file.path for file in files if self._area.fetched(file.path)}
        bad = self._mismatching(files, came)
        wrong = {file.path for file in bad}
        right = {file.path for file in set(files).difference(bad)}
        disputed = wrong & (attempt.staged | right)  # another index may say what it is
        attempt.staged |= came - wrong
        attempt.staged -= wrong
        attempt.damaged |= wrong & came
        nowhere = self._mismatching(bad, ())
        if kept := sorted((wrong & came) - {file.path for file in nowhere}):
            _log.warning("%d files are damaged upstream, such as %s; ours kept", len(kept), kept[0])
        return [*nowhere, *(file for file in bad if file.path in disputed)]

    def _unasked(self, attempt: Attempt, files: list[File], closures: Collection[str]) -> dict[str, int]:
        """The files that were not fetched again yet, with their sizes.

        A staged copy that matches another index is what upstream has: it is not fetched again.
        """
        unasked = {file.path: file.size for file in files if file.path not in attempt.asked_again}
        waiting = {path for path in unasked if path in attempt.staged and self._area.fetched(path)}
        if waiting:
            said = self._records(waiting, closures)
            for file in said.difference(self._mismatching(list(said), waiting)):
                unasked.pop(file.path, None)
        return unasked

    def _records(self, paths: set[str], closures: Collection[str]) -> set[File]:
        """All records of some paths in the indices."""
        found = self._closures.named(set(map(fingerprint, paths)), closures)
        return {file for file in found if file.path in paths}

    def _unresolved(self, attempt: Attempt, bad: list[File], closures: Collection[str]) -> set[File]:
        """The records of these files that neither our copy nor upstream's matches.

        Indices may disagree about a file. Our copy stays if it matches one of them; else upstream's is
        published if it matches one. Every other record of the file is unresolved.
        """
        if not bad:
            return set()
        said = self._records({file.path for file in bad}, closures)
        paths = {file.path for file in said}
        came = {path for path in paths if self._area.fetched(path)}
        here = said.difference(self._mismatching(list(said), ()))
        ours = {file.path for file in here}
        there = said.difference(self._mismatching([file for file in said if file.path in came], came))
        theirs = {file.path for file in there if file.path in came} - ours
        attempt.staged -= paths - theirs
        attempt.staged |= theirs
        attempt.damaged -= ours | theirs
        return {
            file
            for file in said
            if not (file in here if file.path in ours else file in there and file.path in theirs)
        }

    def _needed_by_held_suites(self, attempt: Attempt, readable: Readable) -> dict[str, str]:
        """Files that would be replaced although a suite that is held back refers to them: path to suite.

        The clients of that suite still ask for the present content.
        """
        if not attempt.suites.faults:
            return {}
        replaced = {path for path in attempt.staged if os.path.lexists(self._tree / path)}
        found: dict[str, str] = {}
        for directory in attempt.suites.faults if replaced else ():
            keys = [key for (where, _), key in readable.items() if where == directory]
            named = list(self._records(replaced, keys))
            found |= {file.path: directory for file in self._mismatching(named, attempt.staged)}
        return found

    def _hold_incomplete(self, attempt: Attempt, bad: list[File], readable: Readable) -> bool:
        """Decide about each suite with missing or wrong files; returns whether one is held back for them.

        A suite that is published anyway gets what upstream has: no file, or a wrong one.
        """
        closures = readable.values()
        contested = self._needed_by_held_suites(attempt, readable)
        of_these = self._records(set(contested), closures) if contested else set()
        unsettled = self._unresolved(attempt, [*bad, *of_these], closures)
        paths = {file.path for file in unsettled}
        prints = set(map(fingerprint, paths))
        is_any_held = False
        for directory in attempt.pinned.suites if unsettled else ():
            if directory in attempt.suites.faults:
                continue
            keys = [key for (where, _), key in readable.items() if where == directory]
            named = {file for file in self._closures.named(prints, keys) if file.path in paths}
            right = {file.path for file in named - unsettled}  # where its own indices disagree, one is
            lost = sorted({file.path for file in named & unsettled} - right)
            if fault := self._fault_for(attempt, directory, lost, contested):
                is_any_held = True
                attempt.hold(directory, fault)
            elif lost:
                before = attempt.suites.missing.get(directory, ())
                attempt.suites.missing[directory] = tuple(sorted({*before, *lost}))
                attempt.staged |= attempt.damaged & {*lost}
        return is_any_held

    def _fault_for(
        self, attempt: Attempt, directory: str, lost: list[str], contested: Mapping[str, str]
    ) -> Fault | None:
        """The fault of a suite with missing or wrong files; None if it may lack them."""
        if waits := next((path for path in lost if path in contested), None):
            held = contested[waits] or "the archive"
            reason = f"upstream's {waits} differs from what {held} refers to, which is held back"
            return Fault(reason, f"updated together with {held}")
        if not lost:
            return None
        words = "1 file" if len(lost) == 1 else f"{len(lost)} files"
        reason = f"{words} named by upstream's indices are missing or different upstream, such as {lost[0]}"
        if self._may_lack(attempt, directory, lost):
            _log.warning("publishing %s anyway: %s", directory or "the archive", reason)
            return None
        return Fault(reason, self._when_incomplete(), tuple(lost))

    def _may_lack(self, attempt: Attempt, directory: str, lost: list[str]) -> bool:
        """Whether a suite is published although upstream lacks some of its files.

        It is if upstream has lacked them for long enough, over all states: with a push every few minutes a
        file that is lost for ever would hold the suite for ever.
        """
        if self._archive.incomplete is Policy.HOLD:
            return False
        if directory not in attempt.live.suites:
            return True  # there is nothing better here
        if not self._closures.missing().get(directory, set()) >= {*lost}:
            return False
        if self._workspace.suite_memory.is_served(directory):
            return True  # what is served lacks them already
        since = self._workspace.suite_memory.incomplete_since(directory)
        return since is not None and clock.now() - since >= INCOMPLETE_AFTER

    def _when_incomplete(self) -> str:
        if self._archive.incomplete is Policy.HOLD:
            return 'tell upstream\'s operator; to publish anyway, set `incomplete = "publish"`'
        minutes = int(INCOMPLETE_AFTER.total_seconds() // 60)
        return f"a run after {minutes} minutes publishes anyway, if upstream still lacks them"

    def _mismatching(self, files: list[File], staged: Collection[str]) -> list[File]:
        """Those of the files whose content is not what the indices say."""
        places = [
            (file, self._area.at(file.path) if file.path in staged else self._tree / file.path)
            for file in files
        ]
        return file_checks.mismatching(places, self._progress) if places else []

    def _remember_live(self, live: PublishedState) -> None:
        """Store the closure of a state that another program published: its files get a grace, too."""
        if not live.suites or self._closures.knows_generation(live.generation):
            return
        suites = Suites(live, live)
        indices = Indices(tree=self._tree, area=self._area, diff=Diff(), suites=suites, base=live)
        readable, faults = file_checks.read_closures(live, indices, self._closures)
        for directory, fault in faults.items():
            _log.warning("no grace period for the previous state of %s: %s", directory, fault.reason)
        self._remember(live, indices, readable)

    def _remember(self, published: PublishedState, indices: Indices, readable: Readable) -> None:
        self._closures.remember_generation(published.generation, indices.paths(), readable.values())
