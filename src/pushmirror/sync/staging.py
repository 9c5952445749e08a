"""Fetch and verify: everything a pinned state needs is in the tree or staged, before anything is published.

    early ──▶ indices ──▶ others ──▶ Release files ──▶ closure: sizes, hashes ──▶ ledger

Guaranteed when `stage` returns: publishing what is staged, in the right order, makes the pinned state the
served one, whole at every instant. Raises UpstreamMoved or Mismatch when upstream cannot give that state.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from pushmirror.archive.digests import name_of
from pushmirror.archive.index import File, kind_of
from pushmirror.archive.selection import Selection
from pushmirror.config.model import Archive
from pushmirror.errors import ArchiveError, Mismatch
from pushmirror.sync import vouch
from pushmirror.sync.indices import Indices
from pushmirror.sync.ledger import Ledger, together
from pushmirror.sync.parts import Part, is_suite_file, part_of
from pushmirror.sync.publish import Publisher
from pushmirror.sync.published import Published
from pushmirror.sync.round import Round
from pushmirror.sync.signatures import check_signatures, fingerprint
from pushmirror.sync.survey import Survey
from pushmirror.sync.upstream import Upstream, selection_rules
from pushmirror.sync.work import WorkArea
from pushmirror.system.files import link_or_copy

_log = logging.getLogger(__name__)
_TOGETHER = 20_000  # files that are looked at together


class Staging:
    """Fills the work area of one archive."""

    def __init__(
        self, archive: Archive, upstream: Upstream, area: WorkArea, publisher: Publisher, ledger: Ledger
    ) -> None:
        self._archive = archive
        self._tree = archive.path
        self._upstream = upstream
        self._progress = upstream.progress
        self._area = area
        self._publisher = publisher
        self._ledger = ledger
        self._selection = Selection(tuple(selection_rules(archive)))

    def is_mirrored(self, path: str) -> bool:
        """Whether the configuration has a file of this name mirrored, wherever it is."""
        return self._selection.wants(path)

    def contradicted(self, paths: Iterable[str], published: Published) -> set[str]:
        """Those of the paths that a state's Release files list with another content than the tree has."""
        asked = {path for path in paths if path.startswith("dists/")}
        if not asked:
            return set()
        listed = {
            path: File(path, entry.size, entry.digest)
            for suite in published.suites.values()
            for entry in suite.release.files.values()
            if (path := suite.path_of(entry)) in asked
        }
        here = [file for file in listed.values() if (self._tree / file.path).is_file()]
        return {file.path for file in self._wrong(here, ())}

    def stage(self, round_: Round) -> None:
        """Get everything else that is to be published, and its closure onto the disk."""
        self._require_signatures(round_)
        indices = Indices(
            tree=self._tree,
            area=self._area,
            survey=round_.survey,
            pinned=round_.pinned,
            base=round_.base,
        )
        indices.get(self._upstream)
        round_.staged |= indices.staged
        round_.uncovered |= indices.uncovered
        self._stage_others(round_, indices.staged)
        self._stage_release_files(round_)
        if not round_.pinned.suites:
            return
        newly_read = any(kind_of(path) is not None for path in indices.staged)
        if newly_read or round_.pinned.generation != round_.base.generation:
            self._require_closure(round_, indices)
        else:
            self._require_repairs(round_)

    def _require_signatures(self, round_: Round) -> None:
        keyrings = self._archive.keyring
        if not keyrings:
            return
        used = fingerprint(keyrings)
        trusted = self._ledger.keyrings() == used  # else also what is live has to be signed by these
        for suite in round_.pinned.suites.values():
            base = round_.base.suites.get(suite.directory)
            if not trusted or base is None or base.texts != suite.texts:
                check_signatures(suite, self._area.pin, keyrings)
        self._ledger.note_keyrings(used)

    def _stage_others(self, round_: Round, indices: Collection[str]) -> None:
        """Fetch what no Release file lists; what vanished meanwhile makes the run look again."""
        wanted = {**round_.survey.missing, **round_.survey.changed}
        others = [entry for path, entry in wanted.items() if path not in indices and not is_suite_file(path)]
        late = [entry.path for entry in others if part_of(entry.path) is Part.INDEX]
        if late:
            self._progress.step("indices", files=len(late))
            self._upstream.fetch(late, self._area)
        came = self._publisher.came(others)
        round_.staged |= came
        if len(came) < len(others):
            lost = next(entry.path for entry in others if entry.path not in came)
            _log.info("%d files changed or vanished at upstream, such as %s", len(others) - len(came), lost)
            round_.incomplete = True

    def _stage_release_files(self, round_: Round) -> None:
        """Stage the pinned Release files that differ from those in the tree."""
        live = round_.live.release_files
        for path, text in round_.pinned.release_files.items():
            if live.get(path) != text or path in round_.survey.changed:
                source = self._area.pin / path
                link_or_copy(source, self._area.new / path, mtime=int(source.stat().st_mtime))
                round_.staged.add(path)

    def _require_closure(self, round_: Round, indices: Indices) -> None:
        """Have each file that the new indices add, with its size and, if it came from upstream, its hash."""
        self._progress.step("reading indices")
        known = vouch.readable_of(round_.base, self._ledger)  # before the new ones are known too
        readable = vouch.read_closures(round_.pinned, indices, self._ledger)
        came = vouch.Came(self._area.landed(), round_.staged)
        self._progress.step("verifying", files=len(came))
        for files in together(self._ledger.additions(readable.values(), known.values()), _TOGETHER):
            added = [file for file in files if self._selection.wants(file.path)]
            self._fetch_again(round_, vouch.lacking(added, self._tree, round_.staged, self._area))
            self._require_hashes(round_, came.take(added))
        self._require_rest(round_, came, readable.values())
        self._ledger.begin(beside_a_tree=bool(round_.live.generation))
        self._remember_live(round_.live)
        self._remember(round_.pinned, indices, readable)

    def _require_repairs(self, round_: Round) -> None:
        """The indices are those we know, but files of their closure may have come anew: check these."""
        came = vouch.Came(self._area.landed(), round_.staged)
        self._require_rest(round_, came, vouch.readable_of(round_.pinned, self._ledger).values())

    def _require_rest(self, round_: Round, came: vouch.Came, closures: Iterable[str]) -> None:
        """Read what came and is named by the indices, though these do not add it.

        Upstream may send a damaged file under a name that they had before.
        """
        if left := came.rest():
            for files in together(self._ledger.named(left, closures), _TOGETHER):
                self._require_hashes(round_, came.take(files))

    def _require_hashes(self, round_: Round, files: list[File]) -> None:
        self._fetch_again(round_, self._wrong(files, round_.staged))

    def _fetch_again(self, round_: Round, files: list[File]) -> None:
        """Fetch files that are missing or wrong by their names; Mismatch if upstream has no right ones."""
        if not files:
            return
        _log.info("%d files of the closure are missing or wrong, such as %s", len(files), files[0].path)
        for file in files:
            (self._area.new / file.path).unlink(missing_ok=True)  # rsync would take it for right
        self._progress.step("fetching", files=len(files), size=_bytes_of(files))
        self._upstream.fetch((file.path for file in files), self._area)
        came = {file.path for file in files if self._area.fetched(file.path)}
        wrong = self._wrong(files, came)
        if wrong:
            raise Mismatch(
                f"upstream has {len(wrong)} files missing or not as its indices say, such as {wrong[0].path}"
                f" (expected {name_of(wrong[0].digest)} {wrong[0].digest})"
            )
        round_.staged |= came

    def _wrong(self, files: list[File], staged: Collection[str]) -> list[File]:
        """Those of the files whose content is not what the indices say."""
        places = [(file, self._area.new if file.path in staged else self._tree) for file in files]
        return vouch.wrong(places, self._progress) if places else []

    def _remember_live(self, live: Published) -> None:
        """Let the ledger know a served state that another program published: its files have a grace too."""
        if not live.suites or self._ledger.knows_generation(live.generation):
            return
        indices = Indices(tree=self._tree, area=self._area, survey=Survey(), pinned=live, base=live)
        try:
            self._remember(live, indices, vouch.read_closures(live, indices, self._ledger))
        except ArchiveError as exc:
            _log.warning("the state served until now is damaged and gets no grace period: %s", exc)

    def _remember(
        self, published: Published, indices: Indices, readable: Mapping[tuple[str, str], str]
    ) -> None:
        self._ledger.remember_generation(published.generation, indices.paths(), readable.values())


def _bytes_of(files: Iterable[File]) -> int:
    return sum(max(file.size, 0) for file in files)
