"""Is a mirror ever broken? A judge samples it all the time, while upstream changes every 0.7 s.

Each contender has an upstream of its own with the same history (the lab's archive: four suites, one of them
without by-hash), and syncs again and again without a pause. Afterwards upstream rests, and one more sync has
to bring the mirror up to date.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import make
from bench.mirror import Contender, Upstream
from bench.report import say, table
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.judge import broken
from pushmirror.lab.services import HOST
from pushmirror.lab.site import ARCHIVE
from pushmirror.lab.watch import Watcher
from pushmirror.system import process
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon

_EVERY_S = 0.7
_LOOK_S = 0.05
_USER, _PASSWORD = "site1.example.com", "correct horse battery staple"  # of a daemon on the loopback
_PACKAGES = 60  # about 280 pool files


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened to one contender's mirror."""

    contender: str
    generations: int  # of upstream, while it was watched
    served: int  # different states of the mirror's InRelease files, while it was watched
    exit_codes: Mapping[int, int]  # of the syncs: how often each
    samples: int
    broken: int
    converged: bool
    messages: Sequence[str]  # what was broken, the first ones


def watch(directory: Path, names: Sequence[str], seconds: float, layout: Layout) -> list[Seen]:
    """Watch one contender after the other."""
    seen = []
    for name in names:
        place = directory / "broken" / name
        shutil.rmtree(place, ignore_errors=True)
        archive = LabArchive.create(place / "archive", packages=_PACKAGES, layout=layout)
        with RsyncDaemon(place / "rsyncd") as daemon:
            daemon.add_module(ARCHIVE, archive.path, {_USER: _PASSWORD})
            upstream = Upstream(HOST, daemon.port, ARCHIVE, _USER, _PASSWORD, archive.keyring)
            contender = make(name, place / "site", upstream)
            seen.append(_watch(archive, contender, seconds))
        say(f"{name}: broken in {seen[-1].broken} of {seen[-1].samples} samples")
    return seen


def report(seen: Sequence[Seen]) -> str:
    """The counts as a Markdown table."""
    head = ["", "upstream had", "of them served", "exit codes of the syncs", "samples", "broken", "converged"]
    rows = [
        [
            one.contender,
            f"{one.generations} generations",
            str(one.served),
            ", ".join(f"{times} x {code}" for code, times in sorted(one.exit_codes.items())),
            str(one.samples),
            f"{one.broken} ({one.broken / one.samples:.1%})",
            "yes" if one.converged else "NO",
        ]
        for one in seen
    ]
    examples = "".join(f"\n\n{one.contender}, for example: {one.messages[0]}" for one in seen if one.messages)
    return table(head, rows) + examples


def _watch(archive: LabArchive, contender: Contender, seconds: float) -> Seen:
    _sync(contender).check()
    first = archive.generation
    exit_codes: Counter[int] = Counter()
    states: set[bytes] = set()
    with Watcher(contender.tree) as watcher:
        with (
            _repeating(archive.update, _EVERY_S),
            _repeating(lambda: states.add(_release_files(contender.tree)), _LOOK_S),
        ):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                exit_codes[_sync(contender).exit_code] += 1
        _sync(contender).check()
    last = archive.generation
    return Seen(
        contender=contender.name,
        generations=last - first,
        served=len(states) - 1,  # the first one was there before
        exit_codes=dict(exit_codes),  # asdict cannot copy a Counter
        samples=watcher.samples,
        broken=watcher.broken,
        converged=_is_current(archive, contender.tree),
        messages=watcher.messages,
    )


def _sync(contender: Contender) -> process.Result:
    return process.run(contender.argv(), env=contender.env, timeout_s=300)


def _is_current(archive: LabArchive, tree: Path) -> bool:
    same = all((tree / path).read_bytes() == data for path, data in generation_files(archive).items())
    return same and not broken(tree, thorough=True)


def _release_files(tree: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(tree.glob("dists/*/InRelease")))


@contextmanager
def _repeating(work: Callable[[], object], every_s: float) -> Iterator[None]:
    """Do something again and again until the end of the block."""
    over = threading.Event()

    def repeat() -> None:
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            due = max(due + every_s, time.monotonic())
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
