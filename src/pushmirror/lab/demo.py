"""The story of the lab: an archive changes, its hub pushes, and a site follows without ever being broken.

Told from the top by `tell`. Guaranteed: a verdict without problems means that every step was checked against
what upstream has and what gpgv says, not against what pushmirror says of itself. Not the business of this
module: how the story looks (`lab.narrator`).
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from time import monotonic
from typing import Protocol

from pushmirror.archive.trace import archive_serial
from pushmirror.config.toml import load
from pushmirror.errors import PushmirrorError
from pushmirror.hub import Hub, Wish
from pushmirror.lab.compare import OWN
from pushmirror.lab.indices import SUITES
from pushmirror.lab.network import Answer, Network
from pushmirror.lab.packages import ARCHITECTURES
from pushmirror.lab.site import ARCHIVE
from pushmirror.lab.watch import Watcher, broken, same_tree
from pushmirror.state.records import Request, Stage
from pushmirror.state.sql import open_store
from pushmirror.status.summary import Level
from pushmirror.sync.progress import Progress
from pushmirror.sync.published import read_published
from pushmirror.system import process

_SHORT = 12  # digits of a generation that people compare
_SHOWN = 3  # problems of one kind
_GPGV_S = 60.0


class Narrator(Protocol):
    """Hears the story."""

    def title(self, words: str) -> None:
        """A step begins."""

    def fact(self, name: str, words: str, *, good: bool | None = None) -> None:
        """Something that is so; `good` says whether it was checked, and how that went."""

    def working(self, name: str, words: str) -> AbstractContextManager[object]:
        """Something takes a while, until the end of the block."""

    def progress(self) -> AbstractContextManager[Progress]:
        """A run of the site that can be followed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One machine at the end."""

    name: str
    generation: str
    archive_serial: str
    files: int
    last_run: str
    seconds: float  # it took
    state: str


@dataclass(slots=True)
class Verdict:
    """How it went; without problems everything was verified."""

    problems: list[str] = field(default_factory=list)
    pushes: list[Answer] = field(default_factory=list)
    samples: int = 0  # of the served tree during the pushes; those of an empty tree would prove little
    broken: int = 0  # among them and those of the first sync
    signatures: int = 0  # good ones
    files: int = 0  # equal to upstream's
    machines: tuple[Standing, ...] = ()  # hub, site
    seconds: float = 0.0


def tell(made: Network, narrator: Narrator, *, changes: int) -> Verdict:
    """The whole story, once the network stands."""
    return _Story(made, narrator, Verdict()).tell(changes)


def describe_archive(made: Network, narrator: Narrator) -> None:
    """What was made, in numbers."""
    size = sum(path.lstat().st_size for path in _files(made.archive.path))
    pool = f"{len(made.archive.pool_files):,} in the pool"
    narrator.fact("files", f"{len(_files(made.archive.path)):,}, {pool}; {size / 1e6:.1f} MB")
    narrator.fact("suites", ", ".join(f"{suite.codename} ({suite.alias})" for suite in SUITES))
    narrator.fact("for", ", ".join((*ARCHITECTURES, "all", "source")))
    narrator.fact("signed", f"by a key made for it; generation {_generation(made.archive.path)}")


@dataclass(slots=True)
class _Story:
    made: Network
    narrator: Narrator
    verdict: Verdict

    def tell(self, changes: int) -> Verdict:
        started = monotonic()
        with _watching(self.made.site.tree) as watcher:
            self.first_sync()
            before = watcher.samples
            took = self.change_and_push(changes)
            self.let_grace_end()
            self.ask_watcher(watcher, before)
        self.verify()
        self.verdict.machines = self.hub_now(took), self.site_now()
        self.verdict.seconds = round(monotonic() - started, 1)
        return self.verdict

    def first_sync(self) -> None:
        self.narrator.title("The site fetches all of it for the first time")
        self.narrator.fact("from", self.made.url)
        with self.narrator.progress() as progress:
            answer = _sync_here(self.made, progress)
        good = answer.exit_code == 0
        self.narrator.fact("site", answer.message, good=good)
        if not good:
            self.problem(f"the first sync failed ({answer.exit_code}): {answer.message}")

    def change_and_push(self, changes: int) -> float:
        """Returns how long the last change took, in seconds."""
        self.narrator.title("The archive changes, and the hub pushes the site by ssh")
        took = 0.0
        for number in range(1, changes + 1):
            started = monotonic()
            with self.narrator.working("change", f"{number} of {changes}"):
                did = self.made.archive.update()
            took = monotonic() - started
            what = f"{len(did.added)} package files arrive, {len(did.removed)} go"
            self.narrator.fact("change", f"{number} of {changes}: {what}; archive serial {did.serial}")
            for stage in (Stage.STAGE1, Stage.STAGE2):
                self.push(stage)
            self.require_current()
        return took

    def let_grace_end(self) -> None:
        kept = self.made.site.json("history")[0]["stats"]["kept_for_grace"]
        self.narrator.title("What upstream has removed goes here too, once its grace is over")
        self.narrator.fact("site", f"{kept} files are kept 36 h for clients with older indices: now 0 h")
        # The guard against mass deletion would rightly stop this in a tree as small as ours.
        self.made.site.configure(grace="0s", delete={"max_share": 1.0})
        self.push(Stage.ALL)

    def push(self, stage: Stage) -> None:
        words = f"sync:archive:{ARCHIVE} sync:{stage}"
        with self.narrator.working("hub", words):
            answer = self.made.push(words)
        self.verdict.pushes.append(answer)
        self.narrator.fact("hub", f"{words}  {answer.seconds:.1f} s")
        good = answer.exit_code == 0
        for line in answer.lines:
            self.narrator.fact("site", line.removeprefix(f"{ARCHIVE} {stage}: "), good=good)
        if not good:
            self.problem(f"push {words} ended with {answer.exit_code}: {' / '.join(answer.lines)}")

    def require_current(self) -> None:
        ours, theirs = _generation(self.made.archive.path), _generation(self.made.site.tree)
        if ours != theirs:
            self.problem(f"after a push the site has generation {theirs or 'none'}, the hub has {ours}")

    def ask_watcher(self, watcher: Watcher, before: int) -> None:
        self.narrator.title("All the time a client has been looking at the served tree")
        self.verdict.samples, self.verdict.broken = watcher.samples - before, watcher.broken
        counted = f"{self.verdict.samples:,} samples during the pushes, and all through the first sync"
        self.narrator.fact("looked", counted)
        seen = f"{self.verdict.broken} samples in which a file was missing or wrong"
        self.narrator.fact("broken", seen, good=not self.verdict.broken)
        self.problems("the served tree was broken", watcher.messages)
        if not self.verdict.samples:
            self.problem("nobody looked at the served tree during the pushes")

    def verify(self) -> None:
        self.narrator.title("Everything is compared with upstream and verified")
        with self.narrator.working("tree", "comparing byte for byte"):
            differences = same_tree(self.made.archive.path, self.made.site.tree)
            self.verdict.files = len(_files(self.made.site.tree))
        found = f"{self.verdict.files:,} files" if not differences else f"{len(differences)} differences"
        self.narrator.fact("tree", f"{found}, byte for byte as upstream's", good=not differences)
        self.problems("the trees differ", differences)
        with self.narrator.working("indices", "hashing all that they name"):
            wrong = broken(self.made.site.tree, thorough=True)
        self.narrator.fact("indices", "all files that they name have their size and SHA256", good=not wrong)
        self.problems("the served tree is broken", wrong)
        self.check_signatures()

    def check_signatures(self) -> None:
        with self.narrator.working("gpgv", "checking the signatures"):
            results = list(_gpgv(self.made.site.tree, self.made.archive.keyring))
        bad = [why for why in results if why]
        self.verdict.signatures = len(results) - len(bad)
        words = f"{self.verdict.signatures} of {len(results)} signatures are good"
        self.narrator.fact("gpgv", words, good=bool(results) and not bad)
        self.problems("gpgv", bad or ([] if results else ["there is nothing signed"]))

    def hub_now(self, took: float) -> Standing:
        tree = self.made.archive.path
        serial, files = str(self.made.archive.serial), len(_files(tree))
        return Standing("hub", _generation(tree), serial, files, "change", round(took, 1), "signed")

    def site_now(self) -> Standing:
        site = self.made.site
        run, health = site.json("history")[0], site.json("status")[0]
        trace = site.tree / "project" / "trace" / site.name
        serial = archive_serial(trace.read_text()) if trace.exists() else None
        spent = run["stats"].get("seconds_stage1", 0) + run["stats"].get("seconds_stage2", 0)
        last = f"{run['stage']}, {run['trigger']}"
        files = len(_files(site.tree))
        if health["level"] != Level.OK:
            self.problem(f"the site's status is {health['level']}: {'; '.join(health['attention'])}")
        return Standing(
            "site", _generation(site.tree), serial or "", files, last, round(spent, 1), health["level"]
        )

    def problem(self, words: str) -> None:
        self.verdict.problems.append(words)

    def problems(self, what: str, found: Sequence[str]) -> None:
        self.verdict.problems += [f"{what}: {one}" for one in found[:_SHOWN]]
        if len(found) > _SHOWN:
            self.problem(f"{what}: {len(found) - _SHOWN} more")


def _sync_here(made: Network, progress: Progress) -> Request:
    """A sync in this process, so that it can be followed."""
    logging.getLogger("pushmirror").addHandler(logging.NullHandler())  # its log is in the site's files
    config = load(made.site.etc)
    store = open_store(config.state.database_url, config.state.directory)
    try:
        return Hub(config, store, progress).serve(Wish(ARCHIVE, Stage.ALL, trigger="manual"))
    finally:
        store.close()


def _gpgv(tree: Path, keyring: Path) -> Iterator[str]:
    """For each signed file its error, empty where the signature is good."""
    for suite in SUITES:
        directory = tree / suite.directory
        for files in (["InRelease"], ["Release.gpg", "Release"]):
            argv = ["gpgv", "--keyring", str(keyring), *(str(directory / name) for name in files)]
            result = process.run(argv, timeout_s=_GPGV_S)
            yield "" if result.exit_code == 0 else f"{suite.directory}/{files[0]}: {result.last_words()}"


def _files(tree: Path) -> list[Path]:
    """All but directories, and but what each mirror has of its own."""
    found = (Path(directory, name) for directory, _, names in os.walk(tree) for name in names)
    return [path for path in found if not OWN.fullmatch(str(path.relative_to(tree)))]


def _generation(tree: Path) -> str:
    return read_published(tree).generation[:_SHORT]


@contextmanager
def _watching(tree: Path) -> Iterator[Watcher]:
    with ExitStack() as stack:
        with _deaf_child():
            watcher = stack.enter_context(Watcher(tree))
        try:
            yield watcher
        except BaseException:
            with suppress(PushmirrorError):  # what ended us may have ended the watcher too
                stack.close()
            raise


@contextmanager
def _deaf_child() -> Iterator[None]:
    """Children that Python starts here do not hear Ctrl-C: it is for us, who end them in good order."""
    resource_tracker.ensure_running()  # it would take our mask away when it is started
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
