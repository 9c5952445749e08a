"""One verify of an archive, and the run that repairs what it found.

    read everything ──▶ (tree's lock) ──▶ check again what seems wrong ──▶ repair it, as a run of its own

Syncs go on while everything is read; what then seems wrong is checked again while none can run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pushmirror.archive.layout import is_content
from pushmirror.closures.store import ClosureStore
from pushmirror.config.model import Archive, Config
from pushmirror.errors import ConfigError, Exit, PushmirrorError, Stopped
from pushmirror.inventory.inventory import Inventory
from pushmirror.ownership import require_ours
from pushmirror.progress import Logged, Progress
from pushmirror.runner import Runner, logged_to
from pushmirror.state.records import Outcome, Stage
from pushmirror.system.owned_directory import state_errors
from pushmirror.verify.checkpoint import VerifyResult, directory_of
from pushmirror.verify.reader import Finding
from pushmirror.verify.repair import Repair, require_upstream
from pushmirror.verify.verifier import Verifier
from pushmirror.workspace import Workspace

if TYPE_CHECKING:
    from pushmirror.state.store import Store

_log = logging.getLogger(__name__)


class VerifyRun:
    """Verifies archives of a configuration, one at a time."""

    def __init__(self, config: Config, store: Store, progress: Progress) -> None:
        self._config = config
        self._store = store
        self._progress = progress
        self._runner = Runner(config, store, progress)

    def verify(
        self,
        name: str,
        *,
        repair: bool = False,
        rate: int = 0,
        restart: bool = False,
        each: Callable[[Finding], None] | None = None,
    ) -> VerifyResult:
        """Verify an archive's tree; `each` is then called with every finding.

        `rate` is in bytes per second, 0 for no limit. Runs go on meanwhile; a repair is a run itself.
        """
        archive = self._config.archives[name]
        if repair:
            require_upstream(archive)
            require_ours(self._config.state.directory, archive)
        if not archive.path.is_dir():
            raise ConfigError(
                f"the tree {archive.path} of archive {name} does not exist", hint="sync it first"
            )
        self._runner.require_mounted(archive)
        if not any(is_content(one.name) for one in archive.path.iterdir()):
            raise ConfigError(
                f"the tree {archive.path} of archive {name} is empty: there is nothing to verify",
                hint=f"mount the disk, or fill the tree: pushmirror sync {name}",
            )
        with self._verifier(archive) as verifier:
            verifier.read(rate=rate, restart=restart, for_repair=repair)
            if verifier.needs_another_look():
                with self._runner.tree_lock(archive):
                    self._settle(archive)
                    if verifier.look_again() and repair:
                        self._repair(archive, verifier)
            found = verifier.finish()
            if each:
                for finding in verifier.findings():
                    each(finding)
            return found

    @contextmanager
    def _verifier(self, archive: Archive) -> Iterator[Verifier]:
        def served() -> str:
            known = self._store.latest_generation(archive.name) if archive.upstream else None
            return known.digest if known else ""

        paths = self._runner.state_paths(archive)
        directory = directory_of(self._config.state.directory, archive.name)
        state = self._config.state.directory
        with state_errors(state), Inventory(paths.inventory, read_only=True) as inventory:
            verifier = Verifier(
                archive,
                directory,
                closures=ClosureStore(paths.closures),
                inventory=inventory,
                progress=Logged(self._progress),
                served=served,
            )
            with verifier.working():
                yield verifier

    def _settle(self, archive: Archive) -> None:
        """Update the inventory where a killed run left names to read again. The caller holds the lock."""
        file = self._runner.state_paths(archive).inventory
        if not file.exists():
            return
        with Inventory(file) as inventory:
            if inventory.needs_refresh:
                inventory.refresh(archive.path)

    def _repair(self, archive: Archive, verifier: Verifier) -> None:
        """A run that repairs what a verify found; the caller holds the lock."""
        self._store.recover(archive.name)
        log = self._runner.new_log(archive)
        paths, progress = self._runner.state_paths(archive), Logged(self._progress)
        work = Repair(Workspace.of(archive, self._config.mirror, paths, progress))
        run = self._store.begin_run(
            archive.name, Stage.ALL, strategy="repair", trigger="verify", log=str(log)
        )
        outcome, code, message = Outcome.SUCCEEDED, Exit.OK, ""
        try:
            with logged_to(log):
                done = work.run(verifier.problems(), verifier.generation)
                message = done.summary()
                _log.info("done: %s", message)
            verifier.repaired(done.remaining, done.repaired)
            if done.remaining:
                outcome, code = Outcome.FAILED, Exit.FAILED
        except PushmirrorError as exc:
            outcome, code, message = Outcome.FAILED, exc.exit_code, str(exc)
            raise
        except (Stopped, KeyboardInterrupt):
            outcome, code, message = (
                Outcome.INTERRUPTED,
                Exit.INTERRUPTED,
                "stopped; verify --repair continues",
            )
            raise
        except Exception as exc:
            outcome, code, message = Outcome.FAILED, Exit.SOFTWARE, f"{type(exc).__name__}: {exc}"
            raise
        finally:
            self._store.end_run(
                run.id, outcome=outcome, exit_code=code, message=message, stats=work.done.numbers()
            )
            self._runner.prune_runs(archive)
