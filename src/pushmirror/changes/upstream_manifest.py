"""Upstream's manifest: a local copy of its head and parts, and reading them.

    STATE/upstream/ARCHIVE/{head,change-…,snapshot-…}      of the module MODULE.manifest
                           none                            the upstream that offers no such module

Guaranteed: what is returned was checked against the head (archive/manifest.py); nothing is fetched that the
head does not name, and nothing larger than it says. If there is nothing to return, Unusable says why: another
strategy is used then. An upstream without such a module is not asked at every push, which would fill its log.
Not the business of this module: whether the manifest matches upstream's tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.archive.manifest import MAX_HEAD, Head, Step, next_changes, parse_head
from pushmirror.archive.manifest_parts import Change, Part, read_change, read_snapshot
from pushmirror.archive.paths import Entry
from pushmirror.config.model import Archive
from pushmirror.errors import ArchiveError, UnknownModule, Unusable, UpstreamError
from pushmirror.fetch.upstream import Upstream
from pushmirror.system import clock
from pushmirror.system.process import CancelToken

_HEAD, _NONE = "head", "none"
_CHUNK = 256 * 1024
_OTHERS = ("change-*", "snapshot-*")


class UpstreamManifest:
    """The manifest of one archive's upstream, for one attempt of a run."""

    def __init__(
        self, archive: Archive, upstream: Upstream, directory: Path, *, is_asked_for: bool = False
    ) -> None:
        """`directory` has the copy. `is_asked_for`: upstream is asked even if it had no manifest lately."""
        self._archive = archive
        self._upstream = upstream
        self._directory = directory
        self._is_asked_for = is_asked_for
        self._head: Future[Head] | None = None

    @contextmanager
    def asked_ahead(self) -> Iterator[None]:
        """Fetch the head in a thread while the block asks upstream for something else."""
        with CancelToken() as stop, ThreadPoolExecutor(1) as thread:
            self._head = thread.submit(self._fetch_head, stop)
            try:
                yield
            except BaseException:
                stop.set()
                raise

    def head(self) -> Head:
        """The head of upstream's manifest."""
        return self._head.result() if self._head else self._fetch_head(None)

    def changes(self, head: Head, steps: Iterable[Step]) -> Iterator[tuple[Step, Change]]:
        """What each of these steps of the head changes."""
        self._prune(head)
        steps = list(steps)
        self._fetch_missing([step.part for step in steps])
        for step in steps:
            file = self._part(step.part)
            where = f"upstream's manifest, {step.part.name}"
            with self._discarded_if_wrong(file):
                yield step, read_change(file.read_bytes(), step.part, where=where)

    def snapshot(self, head: Head) -> Iterator[Entry]:
        """Every name of upstream's tree at `head.snapshot_state`, in manifest order."""
        file = self._part(head.snapshot)
        with self._discarded_if_wrong(file), file.open("rb") as content:
            chunks = iter(lambda: content.read(_CHUNK), b"")
            yield from read_snapshot(chunks, head.snapshot, where="upstream's manifest, its snapshot")
        file.unlink(missing_ok=True)  # it is large, and rarely wanted again

    def _fetch_head(self, stop: CancelToken | None) -> Head:
        self._require_manifest_possible()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            patterns = [_HEAD, *self._next_changes()]
            (self._directory / _HEAD).unlink(missing_ok=True)  # two of one second and size look alike
            self._copy(patterns, MAX_HEAD, stop)
            return parse_head((self._directory / _HEAD).read_bytes(), where="upstream's manifest")
        except UnknownModule as exc:
            (self._directory / _NONE).write_text(str(self._archive.upstream))
            raise Unusable("upstream offers no manifest") from exc
        except UpstreamError as exc:
            raise Unusable(f"upstream's manifest cannot be fetched: {exc}") from exc
        except FileNotFoundError:
            raise Unusable("upstream has not made its manifest yet") from None
        except ArchiveError as exc:
            raise Unusable(str(exc)) from exc
        except OSError as exc:
            raise Unusable(f"{exc.filename or self._directory} cannot be written: {exc.strerror}") from exc

    def _next_changes(self) -> list[str]:
        """Patterns of the changes that follow the last head: one login brings them with the next one."""
        with suppress(OSError, ArchiveError):
            return next_changes(parse_head((self._directory / _HEAD).read_bytes(), where="the last head"))
        return []

    def _require_manifest_possible(self) -> None:
        upstream = self._archive.upstream
        assert upstream is not None
        if not upstream.module:
            raise Unusable("upstream is not an rsync daemon, and only a daemon offers a manifest")
        if upstream.path != upstream.module:
            raise Unusable("upstream's manifest covers its whole module, and only a part is mirrored")
        refused = self._directory / _NONE
        with suppress(OSError):
            asked_at = datetime.fromtimestamp(refused.stat().st_mtime, UTC)
            is_recent = timedelta() <= clock.now() - asked_at < self._archive.full_every
            if is_recent and not self._is_asked_for and refused.read_text() == str(upstream):
                raise Unusable(f"upstream offered no manifest when asked at {asked_at:%Y-%m-%d %H:%M} UTC")
            refused.unlink()

    def _part(self, part: Part) -> Path:
        """A file that the head names, fetched if it is not here with its size."""
        self._fetch_missing([part])
        if not self._has(part):  # of several, only the first may come
            raise Unusable(f"upstream's manifest lacks its {part.name}")
        return self._directory / part.name

    def _fetch_missing(self, parts: Iterable[Part]) -> None:
        """Fetch those of the parts that are not here with their size."""
        try:
            if missing := [part for part in parts if not self._has(part)]:
                for part in missing:
                    (self._directory / part.name).unlink(missing_ok=True)
                self._copy([part.name for part in missing], max(part.size for part in missing))
        except UpstreamError as exc:
            raise Unusable(f"upstream's manifest cannot be fetched: {exc}") from exc
        except OSError as exc:
            raise Unusable(f"cannot write {exc.filename or self._directory}: {exc.strerror}") from exc

    def _has(self, part: Part) -> bool:
        file = self._directory / part.name
        try:
            found = file.lstat()
        except FileNotFoundError:
            return False
        return found.st_size == part.size and file.is_file() and not file.is_symlink()

    @contextmanager
    def _discarded_if_wrong(self, file: Path) -> Iterator[None]:
        """Remove a copy that does not match the head, so that it is fetched again, and raise Unusable."""
        try:
            yield
        except ArchiveError as exc:
            file.unlink(missing_ok=True)
            raise Unusable(str(exc)) from exc

    def _prune(self, head: Head) -> None:
        """Remove copies of parts that the head no longer names."""
        named = {step.part.name for step in head.steps}
        for pattern in _OTHERS:
            for file in self._directory.glob(pattern):
                if file.name not in named:
                    file.unlink(missing_ok=True)

    def _copy(self, patterns: Sequence[str], size: int, stop: CancelToken | None = None) -> None:
        """Copy files of the module, of at most `size` bytes each; no link is followed or created."""
        upstream = self._archive.upstream
        assert upstream is not None
        beside = self._archive.model_copy(update={"upstream": upstream.manifest})
        self._upstream.copy_from(beside, patterns, self._directory, largest=size, stop=stop)
