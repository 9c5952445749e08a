"""pushmirror as a contender: its command line, with a configuration and a mirror of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pushmirror
from bench.mirror import Upstream
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.state.store import open_store

_TRACES = "project/trace"


class Ours:
    """pushmirror by its command line. It has the keyring: it checks what ftpsync takes on trust."""

    source = Path(pushmirror.__file__).parent.parent  # of the version to measure
    parts: Sequence[str] = ("",)

    def __init__(self, directory: Path, upstream: Upstream, *, strategy: str, grace: str) -> None:
        self.name = strategy
        self.env: Mapping[str, str] = self.environment()
        self._directory = directory
        self._kept = directory.with_name(f"{directory.name}.kept")
        self._upstream = upstream
        self._grace = grace
        self.site = self._new_site()
        self.tree: Path = self.site.tree

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """What makes a command of ours that of the version to measure."""
        return {"PYTHONPATH": str(cls.source)}

    def argv(self) -> Sequence[str]:
        return self.site.argv("sync", ARCHIVE)

    def profile_argv(self, output: Path) -> Sequence[str]:
        """The same, under Python's profiler."""
        python, *rest = self.argv()
        return [python, "-m", "cProfile", "-o", str(output), *rest]

    def wipe(self) -> None:
        shutil.rmtree(self._directory)
        self.site = self._new_site()

    def remember(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.site.state, self._kept / "state")
        shutil.copytree(self.tree / _TRACES, self._kept / "traces", symlinks=True)

    def recall(self) -> None:
        for kept, place in (("state", self.site.state), ("traces", self.tree / _TRACES)):
            shutil.rmtree(place)
            shutil.copytree(self._kept / kept, place, symlinks=True)

    def took(self) -> str:
        store = open_store(f"sqlite:///{self.site.state / 'state.sqlite'}", self.site.state)
        try:
            runs = store.runs(ARCHIVE, limit=1)
        finally:
            store.close()
        return runs[0].strategy if runs else ""

    def last_log(self) -> str:
        """What the last run has written down."""
        logs = [path for path in (self.site.state / "logs").rglob("*") if path.is_file()]
        return max(logs, key=lambda path: path.stat().st_mtime_ns).read_text() if logs else ""

    def _new_site(self) -> LabSite:
        return LabSite(
            self._directory,
            upstream=self._upstream.url,
            password=self._upstream.password,
            keyring=str(self._upstream.keyring),
            grace=self._grace,
            strategy=self.name,
        )
