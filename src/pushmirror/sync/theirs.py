"""Upstream's manifest: its head and changes, copied beside our state, and what can be read off them.

    STATE/upstream/ARCHIVE/{head,change-…,snapshot-…}      a copy of the module MODULE.manifest

Guaranteed: what is handed out was checked against the head (archive/manifest.py). Every reason why there is
nothing to hand out is an Unusable, with words for an operator: another strategy is taken then. An upstream
that has no such module is not asked at every push: it would find each time in its log.
Not the business of this module: whether the manifest tells the truth about upstream's tree.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from pushmirror.archive.entry import Entry
from pushmirror.archive.manifest import Change, Head, Part, Step, parse_head, read_change, read_snapshot
from pushmirror.config.model import Archive
from pushmirror.errors import ArchiveError, Unusable, UpstreamError
from pushmirror.sync import rsync
from pushmirror.sync.upstream import Upstream

_log = logging.getLogger(__name__)
_HEAD = "head"
_LARGE_CHANGE = "4M"  # is fetched only when it is needed
_CHUNK = 256 * 1024


class Theirs:
    """The manifest of one archive's upstream."""

    def __init__(self, archive: Archive, upstream: Upstream, directory: Path) -> None:
        """`directory` is where the copy is kept."""
        self._archive = archive
        self._upstream = upstream
        self.directory = directory
        self._refused = directory.with_name(f"{directory.name}.none")
        self._asked: Future[Head] | None = None

    @contextmanager
    def asked_ahead(self) -> Iterator[None]:
        """Ask for the head while the block asks upstream for something else; both have come at its end."""
        with ThreadPoolExecutor(1) as thread:
            self._asked = thread.submit(self._ask)
            yield

    def head(self) -> Head:
        """What upstream's manifest says of its tree now; its smaller changes come with it."""
        return self._asked.result() if self._asked else self._ask()

    def _ask(self) -> Head:
        self._require_hope()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / _HEAD).unlink(missing_ok=True)  # two of the same second and size look alike
        names = ["--include=/change-*", f"--include=/{_HEAD}", "--exclude=*", "--delete-delay"]
        try:
            self._copy([*names, "--recursive", f"--max-size={_LARGE_CHANGE}"])
        except UpstreamError as exc:
            if "nknown module" in str(exc):
                self._refused.touch()
                raise Unusable("upstream offers no manifest") from exc
            raise Unusable(f"upstream's manifest cannot be had: {exc}") from exc
        try:
            return parse_head((self.directory / _HEAD).read_bytes(), where="upstream's manifest")
        except FileNotFoundError:
            raise Unusable("upstream's manifest is not made yet") from None
        except ArchiveError as exc:
            raise Unusable(str(exc)) from exc

    def changes(self, steps: Iterable[Step]) -> Iterator[tuple[Step, Change]]:
        """What each of these steps changes."""
        for step in steps:
            try:
                data = self._part(step.part).read_bytes()
                yield step, read_change(data, step.part, where=f"upstream's manifest, {step.part.name}")
            except ArchiveError as exc:
                raise Unusable(str(exc)) from exc

    def snapshot(self, head: Head) -> Iterator[Entry]:
        """Every name of upstream's tree at `head.snapshot_state`, in manifest order."""
        file = self._part(head.snapshot)
        try:
            with file.open("rb") as content:
                chunks = iter(lambda: content.read(_CHUNK), b"")
                yield from read_snapshot(chunks, head.snapshot, where="upstream's manifest, its snapshot")
        except ArchiveError as exc:
            raise Unusable(str(exc)) from exc
        finally:
            file.unlink(missing_ok=True)  # it is large, and rarely wanted again

    def _require_hope(self) -> None:
        upstream = self._archive.upstream
        assert upstream is not None
        if not upstream.module:
            raise Unusable("upstream is no rsync daemon, which alone could offer a manifest")
        if upstream.path != upstream.module:
            raise Unusable("upstream's manifest is of its whole module, and only a part of that is mirrored")
        with suppress(FileNotFoundError):
            age_s = time.time() - self._refused.stat().st_mtime
            if 0 <= age_s < self._archive.full_every.total_seconds():
                raise Unusable("upstream offers no manifest")
            self._refused.unlink()

    def _part(self, part: Part) -> Path:
        """A file of the manifest, fetched if it is not here."""
        file = self.directory / part.name
        if not file.is_file():
            try:
                self._copy(["--files-from=-"], [part.name])
            except UpstreamError as exc:
                raise Unusable(f"upstream's manifest cannot be had: {exc}") from exc
        if not file.is_file():
            raise Unusable(f"upstream's manifest has lost its {part.name}")
        return file

    def _copy(self, options: Sequence[str], names: Sequence[str] = ()) -> None:
        """Copy files of the module, without links and what is below directories."""
        upstream = self._archive.upstream
        assert upstream is not None
        beside = self._archive.model_copy(update={"upstream": upstream.manifest})
        argv = [
            *(self._archive.rsync, "--times", "--stats", "--no-human-readable", *options),
            *(*rsync.transport_options(beside), rsync.source_of(beside), f"{self.directory}/"),
        ]
        self._upstream.copy(argv, stdin="\n".join(names).encode())
