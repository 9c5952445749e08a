"""What faults meet: an archive that never rests, a site for each strategy, and those who look at their trees.

    archive (its owner keeps a manifest) ──▶ rsync daemon ──▶ a site by full, by index, by manifest
       ▲ changes                                                 │ tree
       └ `changing`                         the watcher, and apt over HTTP, all the time

Counted as broken: whatever the watcher finds (lab.judge), and whatever apt cannot read. A client that asks
for plain names meets another state when a suite changes between two of its requests; that counts when it
happens again and again while InRelease stays as it is.
"""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Self

from acceptance.processes import alive
from faults.campaign import Trial
from field.apt import Apt, Source, judging
from forked import ForkedSite, serving
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit, ProgramFailed
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import Judge, broken, same_tree
from pushmirror.lab.listed import read
from pushmirror.lab.services import wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.lab.watch import Watcher
from pushmirror.system import process
from support.churn import Churn
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon
from upstreams import OwnedArchive

EACH = (Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST)
LONGEST_S = 120.0  # of one run; an idle machine needs two
GONE_S = 10.0  # for what a run had started, after its end
_EVERY_S = 1.5  # an update of the archive
_ATTEMPTS = 3  # of apt, by plain names
_REST_S, _PAUSE_S = 0.3, 0.1  # between two looks by apt, by the judge
_GRACE = "36h"
_IMAGES = "/SHA256SUMS: "  # in what the judge says of an installer's
_WAYS = ("no", "yes", "force")  # of apt's by-hash
#: What an apt that asks by hash reads, and one that asks for plain names: these change in one instant only
#: where the suite has no by-hash.
_WITH, _WITHOUT = ("trixie", "sid"), ("wheezy",)


@dataclass(frozen=True, slots=True)
class Excuse:
    """What upstream lacks itself while it is wrong: who follows it may lack the same."""

    tree: Path  # of the site that does
    lacks: set[str] = field(default_factory=set)  # sentences of the judge

    def note(self, upstream: Path) -> None:
        """Look at upstream."""
        self.lacks.update(Judge(upstream).sample())


@dataclass(slots=True)
class Excuses:
    """The one that counts now."""

    now: Excuse | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    what: str
    problems: Sequence[str]
    excuse: Excuse | None
    is_apt: bool

    def unexcused(self) -> Sequence[str]:
        """An excuse may have been completed since."""
        if self.excuse is None:
            return self.problems
        if self.is_apt:  # which does not tell what it lacks in the judge's words, and reads no images
            lacks = [problem for problem in self.excuse.lacks if _IMAGES not in problem]
            return [] if lacks else self.problems
        return [problem for problem in self.problems if problem not in self.excuse.lacks]


class _Looking(ABC):
    """Looks at trees in a thread, from entry to exit of its block; what was seen is counted then."""

    def __init__(self, trial: Trial, excuses: Excuses) -> None:
        self._trial = trial
        self._excuses = excuses
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self._looks: list[_Look] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()
        for look in self._looks:
            self._trial.require_unbroken(look.unexcused(), look.what)

    @abstractmethod
    def _look_on(self) -> None:
        """Look until it is enough."""


class Onlooker(_Looking):
    """The judge in a thread of ours, where upstream may be wrong: only it knows of excuses."""

    def __init__(self, trial: Trial, trees: Sequence[Path], excuses: Excuses) -> None:
        super().__init__(trial, excuses)
        self._judges = [Judge(tree) for tree in trees]

    def _look_on(self) -> None:
        for judge in cycle(self._judges):
            if self._enough.wait(_PAUSE_S):
                return
            excused = _Excused(self._excuses, judge.tree)
            self._looks.append(_Look(str(judge.tree), judge.sample(), excused.during(), is_apt=False))


class _Excused:
    """Which excuse there is for a look at a tree that begins now."""

    def __init__(self, excuses: Excuses, tree: Path) -> None:
        self._excuses = excuses
        self._tree = tree
        self._first = self._mine()

    def during(self) -> Excuse | None:
        return self._first or self._mine()

    def _mine(self) -> Excuse | None:
        now = self._excuses.now
        return now if now and now.tree == self._tree else None


class Clients(_Looking):
    """Apt, at one tree after the other, in each way of asking."""

    def __init__(
        self, trial: Trial, apt: Apt, keyring: Path, trees: Sequence[Path], excuses: Excuses
    ) -> None:
        super().__init__(trial, excuses)
        self._apt = apt
        self._keyring = keyring
        self._trees = trees
        self._random = Random(trial.seed)
        self._apt_is_free = threading.Lock()
        self._died = ""
        self.during = ""  # what is being done to whom

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._died:
            self._trial.wrong("internal", f"the campaign's apt: {self._died}")

    def at_rest(self, tree: Path, by_hash: str) -> None:
        """Nothing changes: whoever asks in this way finds all there is, in every suite."""
        suites = _WITH if by_hash == "force" else (*_WITH, *_WITHOUT)
        problem = self._read([(tree, f"{suite} main contrib") for suite in suites], by_hash)
        self._trial.require_unbroken(
            [problem] if problem else [], f"apt by-hash={by_hash} at rest, {tree.parent.name}"
        )

    def _look_on(self) -> None:
        try:
            while not self._enough.wait(_REST_S):
                tree = self._random.choice(self._trees)
                by_hash = self._random.choice(_WAYS)
                suite = self._random.choice(_WITHOUT if by_hash == "no" else _WITH)
                excused = _Excused(self._excuses, tree)
                problem = self._look(tree, suite, by_hash)
                what = f"apt by-hash={by_hash} at {suite}, {tree.parent.name}, during {self.during}"
                self._looks.append(_Look(what, [problem] if problem else [], excused.during(), is_apt=True))
        except Exception as exc:  # noqa: BLE001  told at the end of the block
            self._died = repr(exc)

    def _look(self, tree: Path, suite: str, by_hash: str) -> str:
        release, problem = tree / "dists" / suite / "InRelease", ""
        before = read(release)
        for _ in range(_ATTEMPTS if by_hash == "no" else 1):
            problem = self._read([(tree, f"{suite} main")], by_hash, packages=["?true"])
            if not problem or (by_hash == "no" and read(release) != before):
                return ""
        return problem

    def _read(self, sources: Sequence[Source], by_hash: str, *, packages: Sequence[str] = ()) -> str:
        """What went wrong; there is one root for apt."""
        with self._apt_is_free:
            return self._apt.reads(
                *sources, packages=packages, keyring=self._keyring, by_hash=by_hash
            ).problem


@dataclass
class Loaded:
    """All of it, for as long as its block lasts."""

    trial: Trial
    archive: OwnedArchive
    daemon: RsyncDaemon
    sites: dict[Strategy, LabSite]
    clients: Clients
    looking: ExitStack  # the watcher and apt; closed before the grace is
    excuses: Excuses

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The archive changes until the end of the block."""
        with Churn(self.archive, every_s=_EVERY_S):
            yield

    def attacked(self, site: LabSite, process_: process.Background, what: str, *, words: int) -> int | None:
        """Wait for the end of a process to which something was done; its exit code, None where it hung.

        `words` is where its output begins.
        """
        if not wait_until(lambda: process_.poll() is not None, limit_s=LONGEST_S):
            self.trial.wrong("hangs", f"{what}: no end in {LONGEST_S:.0f} s")
            process_.stop()
            return None
        code = process_.poll()
        assert code is not None
        output = (site.directory / "output.log").read_bytes()[words:].decode(errors="replace")
        self.trial.ended(code, output, what)
        return code

    def ran(self, site: LabSite, what: str) -> int | None:
        """Run a site's sync to its end; its exit code, None if it had none."""
        ended = _ended(self.trial, site, what)
        return None if ended is None else ended.exit_code

    def said(self, site: LabSite) -> int:
        """How long the output of a site's processes is."""
        log = site.directory / "output.log"
        return log.stat().st_size if log.exists() else 0

    def none_left(self, pids: Sequence[int], what: str) -> None:
        """What a run had started is to be gone soon after its end."""
        if not wait_until(lambda: not alive(pids), limit_s=GONE_S):
            self.trial.wrong("leaks", f"{what}: {len(alive(pids))} processes are left")

    def recovers(self, strategy: Strategy, what: str) -> None:
        """A run that nobody disturbs ends well, and what is served is upstream's state, all of it."""
        site = self.sites[strategy]
        recovers(self.trial, self.archive, site, f"{what}, the run after it")

    def end(self) -> None:
        """Upstream rests and the grace is over: the trees are the same, and nothing is left beside them.

        Nobody looks on any more, for who reads an older state has no grace now.
        """
        self.looking.close()
        for (strategy, site), by_hash in zip(self.sites.items(), cycle(_WAYS), strict=False):
            site.configure(grace="0s")
            words = ["--strategy", "full"] if strategy is Strategy.INDEX else []  # what no list names
            ended = site.sync("--allow-mass-delete", *words)
            self.trial.ended(ended.exit_code, ended.errors, f"the last run by {strategy.value}")
            differences = same_tree(self.archive.path, site.tree)
            differences += broken(site.tree, thorough=True)
            differences += [
                f"{path.name} is left behind"
                for path in site.tree.iterdir()
                if path.name.startswith((".", "Archive-Update"))
            ]
            self.trial.require_unbroken(differences, f"at the end, by {strategy.value}")
            self.clients.at_rest(site.tree, by_hash)


def recovers(trial: Trial, archive: LabArchive, site: LabSite, what: str) -> bool:
    """Have one run that nobody disturbs, of an archive that rests; whether all was well."""
    if (ended := _ended(trial, site, what)) is None:
        return False
    if ended.exit_code != Exit.OK:
        trial.wrong("lost", f"{what}: exit code {ended.exit_code}: {ended.errors[-500:]}")
        return False
    problems = broken(site.tree, thorough=True)
    trial.require_unbroken(problems, what)
    if behind := differences(archive, site):
        trial.wrong("lost", f"{what}: exit code 0, and {'; '.join(behind[:3])}")
    return not problems and not behind


def _ended(trial: Trial, site: LabSite, what: str) -> process.Result | None:
    """How a run of a site's sync ended; None if it did not."""
    try:
        ended = site.run("sync", ARCHIVE, timeout_s=LONGEST_S)
    except ProgramFailed as exc:
        trial.wrong("hangs", f"{what}: {exc}")
        return None
    trial.ended(ended.exit_code, ended.errors, what)
    return ended


def differences(archive: LabArchive, site: LabSite) -> list[str]:
    """Where a site is not at upstream's state, as far as this is told by signed files."""
    names = [*generation_files(archive), *archive.pool_files]
    return [name for name in names if not _same(archive.path / name, site.tree / name)]


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


@dataclass(frozen=True, slots=True)
class Followed:
    """An archive, and the sites that follow it."""

    archive: OwnedArchive
    daemon: RsyncDaemon
    sites: dict[Strategy, LabSite]


@contextmanager
def followed(
    directory: Path,
    *,
    strategies: Sequence[Strategy] = EACH,
    trees: Path | None = None,
    states: Path | None = None,
    **options: object,
) -> Iterator[Followed]:
    """An archive with a site for each strategy, current; `options` are keys of `[archives.debian]`.

    The sites' trees, and all else of them, may be on other disks, below the directory.
    """
    archive = OwnedArchive.create(directory / "archive", packages=15)
    assert isinstance(archive, OwnedArchive)
    archive.take_stock()
    with RsyncDaemon(directory / "rsyncd") as daemon, serving() as cli:
        daemon.add_module(ARCHIVE, archive.path)
        daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest)
        keys = {"upstream": daemon.url(ARCHIVE), "keyring": str(archive.keyring), "grace": _GRACE}
        sites: dict[Strategy, LabSite] = {
            one: ForkedSite(
                (states or directory) / one.value,
                cli,
                tree=(trees or directory) / one.value / "tree",
                **{**keys, "strategy": one.value, **options},
            )
            for one in strategies
        }
        for site in sites.values():
            site.tree.parent.mkdir(exist_ok=True)
            site.sync().check()
        yield Followed(archive, daemon, sites)


@contextmanager
def loaded(
    trial: Trial, *, trees: Path | None = None, states: Path | None = None, is_excusing: bool = False
) -> Iterator[Loaded]:
    """The same with the watcher and apt at work; what they saw is in the tally after the block.

    With `is_excusing` an onlooker has the watcher's place.
    """
    directory = trial.directory
    assert shutil.which("apt-get"), "needs apt-get, the judge"
    with ExitStack() as stack:
        made = stack.enter_context(followed(directory, trees=trees, states=states))
        served = [site.tree for site in made.sites.values()]
        apt = stack.enter_context(judging(directory / "apt", directory))
        excuses = Excuses()
        clients = Clients(trial, apt, made.archive.keyring, served, excuses)
        looking = stack.enter_context(ExitStack())
        if is_excusing:
            looking.enter_context(Onlooker(trial, served, excuses))
        else:
            watcher = Watcher(*served, gently=True)
            looking.callback(_count, trial, watcher)
            looking.enter_context(watcher)
        looking.enter_context(clients)
        yield Loaded(trial, made.archive, made.daemon, made.sites, clients, looking, excuses)


def _count(trial: Trial, watcher: Watcher) -> None:
    """Add what a watcher has seen, which is final."""
    seen = watcher.messages
    trial.tally.samples += watcher.samples
    for number in range(watcher.broken):
        trial.wrong("broken", seen[number] if number < len(seen) else "as before")
