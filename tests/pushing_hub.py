"""A hub that publishes when a test says so, and its pushes: in this process or by the command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import tomlkit

from downstream import Downstream, DownstreamSite, SitesSshd, naming
from pushmirror.config.loader import load
from pushmirror.config.model import Config
from pushmirror.config.reload import CurrentConfig
from pushmirror.lab.services import wait_until
from pushmirror.push.decide import Send
from pushmirror.push.engine import Over, PushObserver, PushSnapshot, SilentObserver, is_quiet
from pushmirror.push.pushes import PushCoordinator
from pushmirror.state.records import Phase, SiteState
from pushmirror.state.store import Store, open_store
from pushmirror.system import clock, process

ARCHIVE = "debian"
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40  # generations
END_S = 30.0  # of a push that nothing holds up, on a busy machine


class PushingHub:
    """A hub of its own configuration and state."""

    def __init__(self, directory: Path, sshd: SitesSshd, *, archives: tuple[str, ...] = (ARCHIVE,)) -> None:
        self.directory = directory
        self.etc, self.state = directory / "etc", directory / "state"
        self.log = directory / "output.log"
        self.downstream = Downstream(directory / "sites", self.etc / "sites.d", sshd)
        self.rules: dict[str, Any] = {}  # of [push], in this process only, where they may be short
        self.tree(*archives)
        self._archives = archives
        self._hooks: dict[str, object] = {}
        self.configure(retry_for="0s")
        self.store = self.open()

    def tree(self, *archives: str) -> None:
        """Make the archives' trees."""
        for name in archives:
            (self.directory / "trees" / name / "project/trace").mkdir(parents=True)

    def hooks(self, **hooks: object) -> None:
        """Give every archive these hooks."""
        self._hooks = hooks
        self.configure(retry_for="0s")

    def configure(self, **push: object) -> None:
        """Write the configuration, with these keys of [push]."""
        trees = {name: str(self.directory / "trees" / name) for name in self._archives}
        document = {
            "mirror": {"name": "hub.lab.example.org"},
            "state": {"directory": str(self.state)},
            "push": push,
            "archives": {name: {"path": tree, "hooks": self._hooks} for name, tree in trees.items()},
        }
        (self.etc / "pushmirror.toml").write_text(tomlkit.dumps(document))

    def open(self) -> Store:
        """Its store, once more."""
        return open_store(f"sqlite:///{self.database}", self.state)

    def close(self) -> None:
        """End what it has started in the background."""
        self.store.close()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Every process with this hub's configuration in its command line."""
        return naming(self.etc)

    @property
    def database(self) -> Path:
        """The file of its store."""
        return self.state / "state.sqlite"

    # -- what there is to push ------------------------------------------------------------------------

    def site(self, name: str, push: str = "all", **keys: object) -> DownstreamSite:
        """One more site."""
        return self.downstream.add(name, push=push, **keys)

    def publish(self, generation: str = ONE, archive: str = ARCHIVE) -> None:
        """The archive serves something else from now on."""
        self.store.publish_generation(archive, generation, None, clock.now())

    def site_state(self, site: DownstreamSite, archive: str = ARCHIVE) -> SiteState:
        """Where a site is."""
        return self.store.site_states(archive).get(site.name, SiteState(archive, site.name))

    def confirmed(self) -> set[tuple[str, str, str]]:
        """Site, stage and generation of everything that is confirmed."""
        found = set()
        for one in self.store.site_states(ARCHIVE).values():
            found |= {(one.site, "stage1", one.stage1)} if one.stage1 else set()
            found |= {(one.site, "stage2", one.stage2)} if one.stage2 else set()
        return found

    # -- pushes in this process -----------------------------------------------------------------------

    def config(self) -> Config:
        """The configuration, with `rules`."""
        return self._shortened(load(self.etc))

    def _shortened(self, config: Config) -> Config:
        rules = {key: timedelta(seconds=n) if key != "quorum" else n for key, n in self.rules.items()}
        return config.model_copy(update={"push": config.push.model_copy(update=rules)})

    def pushes(self, store: Store, watch: PushObserver) -> PushCoordinator:
        """As a process of the hub has them."""
        current = CurrentConfig(load(self.etc))
        return PushCoordinator(lambda: self._shortened(current()), store, watch)

    def push(
        self, *only: str, over: Over = is_quiet, watch: PushObserver | None = None, archive: str = ARCHIVE
    ) -> bool:
        """Push to the end; False when another does it."""
        with self.pushing(*only, over=over, watch=watch, archive=archive) as push:
            pass
        return push.held

    @contextmanager
    def pushing(
        self,
        *only: str,
        over: Over = is_quiet,
        watch: PushObserver | None = None,
        archive: str = ARCHIVE,
        holding: AbstractContextManager[None] | None = None,
    ) -> Iterator[_Push]:
        """Push beside the test; the end of the block lets go of what it is `holding` and awaits its end."""
        push = _Push()

        def work() -> None:
            store = self.open()
            try:
                pushes = self.pushes(store, watch or SilentObserver())
                asyncio.run(push.carry_out(pushes.push(archive, over, only=frozenset(only))))
            finally:
                store.close()

        with ThreadPoolExecutor(1) as thread:
            try:
                with holding or nullcontext():
                    future = thread.submit(work)
                    yield push
                future.result(END_S)
            except BaseException:
                push.cancel()
                raise

    # -- pushes by the command line -------------------------------------------------------------------

    def argv(self, *words: str) -> list[str]:
        """The command line of `pushmirror WORDS`."""
        return [sys.executable, "-m", "pushmirror", "--config", str(self.etc), *words]

    def run(self, *words: str) -> process.Result:
        """Run `pushmirror WORDS` to its end."""
        return process.run(self.argv(*words), timeout_s=2 * END_S)

    def json(self, *words: str) -> Any:
        """What `pushmirror WORDS --json` prints."""
        return json.loads(self.run(*words, "--json").output)

    @contextmanager
    def running(self, *words: str) -> Iterator[process.Background]:
        """Run `pushmirror WORDS` beside the test; it is ended with the block."""
        with process.background(self.argv(*words), log=self.log) as child:
            yield child


class Looks:
    """A watch that remembers what it was told."""

    def __init__(self) -> None:
        self.goal: str | None = None
        self._phases: Mapping[str, Phase] = {}
        self._sends: list[dict[str, str]] = []  # of each look: what is due, by name of the site
        self._looks_before: dict[str, int] = {}  # the last answer to a stage

    def on_decision(self, view: PushSnapshot) -> None:
        self._phases = view.decision.phases
        self.goal = view.goal.published
        self._sends.append({send.site.name: str(send.stage) for send in view.decision.sends})

    def on_answer(self, send: Send, site_state: SiteState, seconds: float) -> None:  # noqa: ARG002 - its
        self._looks_before[str(send.stage)] = len(self._sends)

    def wait_for(self, more: int) -> None:
        """Wait for so many looks more: with nothing to hear, each of them takes news from the store."""
        until = len(self._sends) + more
        assert wait_until(lambda: len(self._sends) >= until)

    def phase(self, site: str) -> Phase | None:
        """What a site does now."""
        return self._phases.get(site)

    def after_the_last(self, stage: str) -> dict[str, str]:
        """What was due at the first look after the last answer to a stage."""
        return self._sends[self._looks_before[stage]]


class _Push:
    """A push in another thread."""

    def __init__(self) -> None:
        self.held = False  # whether it was ours, once it is over
        self._task: asyncio.Task[bool] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def carry_out(self, work: Any) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        async with asyncio.timeout(END_S):
            with suppress(asyncio.CancelledError):
                self.held = await self._task

    @property
    def is_over(self) -> bool:
        return self._task is not None and self._task.done()

    def cancel(self) -> None:
        """End it as a signal does."""
        if self._loop is None or self._task is None:
            return
        with suppress(RuntimeError):  # it is over
            self._loop.call_soon_threadsafe(self._task.cancel)


def has_open(pid: int, file: Path) -> bool:
    """Whether a process has a file open."""
    with suppress(OSError):
        return any(link.readlink() == file for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def ended(child: process.Background) -> int:
    """How a command that runs beside the test ends."""
    assert wait_until(lambda: child.poll() is not None, limit_s=END_S), "it did not end"
    code = child.poll()
    assert code is not None
    return code
