"""The archive's owner: a real pushmirror, whose rsync daemon all contenders read, as one and the same site.

Its modules are those that its configuration makes, so the manifest's is among them. Nothing is refused that a
contender asks for, and the number of system calls can be had (`traced`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.archive import BigArchive
from bench.meter import Cost, Serving, measure
from bench.mirror import Upstream
from bench.ours import Ours
from pushmirror.access import daemon_files, site_files
from pushmirror.access.credentials import Login
from pushmirror.config import loader
from pushmirror.lab.processes import descendants
from pushmirror.lab.services import HOST, Service, listens, wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process

_SITE = "site1.example.com"
_TOTAL = re.compile(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", re.MULTILINE)


class Hub(Service):
    """The owner's daemon, while it runs; `stock` is its `pushmirror sync` after the archive has changed."""

    greeting = b"@RSYNCD:"

    def __init__(self, directory: Path, archive: BigArchive) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        super().__init__(directory)
        self.archive = archive
        self._mirror = LabSite(directory / "hub", name="hub.lab.example.org", tree=archive.path)
        self._mirror.state.mkdir()
        self._login: Login | None = None
        self._before: list[str] = []  # of the daemon's command line
        self._kept = directory / "kept"
        self._in_use = ExitStack()

    def __enter__(self) -> Self:
        self._in_use.enter_context(self.archive.in_use())
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, exc, trace)
        self._in_use.close()

    @property
    def upstream(self) -> Upstream:
        """What a contender is told."""
        assert self._login is not None
        return Upstream(
            HOST, self.port, ARCHIVE, self._login.user, self._login.password, self.archive.keyring
        )

    @property
    def serving(self) -> Serving:
        """What is to be measured of the daemon."""
        pids = [pid for pid in self._family_pids() if listens(pid, self.port)]
        return Serving(pids[0], self._mirror.state / "rsyncd" / "transfers.log")

    def switch(self, state: str) -> Cost | None:
        """Turn the archive to a state, and take stock of B as an owner does who has updated it."""
        if state == self.archive.state:
            return None
        self.archive.switch(state)
        if state == "A":
            self._recall()
            return None
        return self.stock()

    def first_stock(self) -> Cost:
        """Take stock of a tree that nothing is known of, at state A, and keep what is known then."""
        cost = self.stock()
        _copy(self._mirror.state, self._kept)
        return cost

    def stock(self) -> Cost:
        """`pushmirror sync` of the owner."""
        argv = self._mirror.argv("sync", ARCHIVE, "--no-push")
        log = self.directory / "stock.log"
        return measure(argv, env=Ours.environment(), log=log, exit_codes=self.archive.exit_codes)

    @contextmanager
    def traced(self) -> Iterator[list[int]]:
        """Run the daemon under strace; the list has the number of its system calls after the block."""
        counted = self.directory / "strace"
        counted.unlink(missing_ok=True)
        total: list[int] = []
        self.stop()
        self._before = ["strace", "-f", "-c", "-o", str(counted)]
        try:
            self.start()
            idle = self._calls(counted)  # from its start to its end, with nobody there
            self.start()
            yield total
            total.append(self._calls(counted) - idle)
        finally:
            self.stop()
            self._before = []
            self.start()

    def _calls(self, counted: Path) -> int:
        """End the daemon, and read how many calls it made."""
        os.kill(self.serving.pid, signal.SIGTERM)  # strace ends with it, and writes what it has counted
        wait_until(lambda: bool(_TOTAL.search(_text(counted))))
        self.stop()
        found = _TOTAL.search(_text(counted))
        assert found, f"strace said: {_text(counted)[-500:]}"
        return int(found[1])

    def _argv(self) -> list[str]:
        serve: Mapping[str, object] = {"host": HOST, "rsync": f"{HOST}:{self.port}", "refuse_options": []}
        self._mirror.configure_section("serve", **serve)
        config = loader.load(self._mirror.etc)
        if self._login is None:
            keys = {"host": HOST, "user": "archvsync", "push": "none", "archives": [ARCHIVE]}
            _, self._login = site_files.add(config, _SITE, keys)
        daemon_files.update(config)
        return [*self._before, *daemon_files.rsync_argv(config)]

    def _family(self, child: process.Background) -> Iterable[int]:
        return [child.pid, *descendants(child.pid)]  # under strace it is a child that listens

    def _family_pids(self) -> Sequence[int]:
        return [self.pid, *descendants(self.pid)] if self.pid else []

    def _recall(self) -> None:
        _copy(self._kept, self._mirror.state)


def _copy(state: Path, to: Path) -> None:
    """Make one state directory the other; the daemon's files in it stay, for it runs.

    A database may change within a second, and keep its size: hence no look at times (-I).
    """
    process.run(["rsync", "-aI", "--delete", "--exclude=/rsyncd", f"{state}/", f"{to}/"]).check()


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
