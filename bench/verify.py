"""`pushmirror verify` beside `sha256sum` on all cores: the same files, read from warm caches, in turn.

`sha256sum` reads files and prints hashes; `verify` also knows what they should be, finds what is missing and
what is extra. Its time begins with the command: the closure is read from its store, sorted, and compared.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.archive import BigArchive, Shape
from bench.ours import Ours
from bench.report import say, spread, table
from pushmirror.errors import ProgramFailed
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from pushmirror.system.process import BASE_ENVIRONMENT

_LARGE_FILES, _LARGE_BYTES = 24, 100_000_000
_THEIRS = 'find "$0" -name .~tmp~ -prune -o -type f -print0 | xargs -0 -P "$1" -n 1000 sha256sum >/dev/null'


@dataclass(slots=True)
class Read:
    """One tree, read several times by both."""

    what: str
    files: int
    size: int  # bytes
    wall_s: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Our throughput in units of theirs, run by run, then the median."""
        pairs = zip(self.wall_s["sha256sum"], self.wall_s["verify"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


def race(archives: Path, directory: Path, shape: Shape, runs: int) -> list[Read]:
    """Many small files, and a few large ones."""
    small = _site(directory / "verify-small", BigArchive.at(archives, shape).path)
    large = _site(directory / "verify-large", _large(directory / "verify-large-archive"))
    return [_read("small files", small, runs), _read("large files", large, runs)]


def report(found: Sequence[Read]) -> str:
    """The runs as a Markdown table."""
    rows = [
        [
            f"{one.files:,} {one.what}, {one.size / 1e6:,.0f} MB",
            name,
            f"{spread(one.wall_s[name])} s",
            f"{spread(one.cpu_s[name])} s",
            f"{one.files / statistics.median(one.wall_s[name]):,.0f}",
            f"{one.size / 1e6 / statistics.median(one.wall_s[name]):,.0f} MB/s",
            f"{one.ratio:.2f}" if name == "verify" else "",
        ]
        for one in found
        for name in one.wall_s
    ]
    return table(["", "", "wall", "CPU", "files/s", "rate", "throughput of sha256sum's"], rows)


def _site(directory: Path, upstream: Path) -> LabSite:
    """A mirror that has just synced."""
    shutil.rmtree(directory, ignore_errors=True)
    site = LabSite(directory, upstream=f"file://{upstream}")
    say(f"syncing {upstream}")
    process.run(site.argv("sync", ARCHIVE), env=Ours.environment()).check()
    os.sync()
    return site


def _read(what: str, site: LabSite, runs: int) -> Read:
    sizes = [os.lstat(Path(at, name)).st_size for at, _, names in os.walk(site.tree) for name in names]
    found = Read(what, len(sizes), sum(sizes))
    contenders = {
        "sha256sum": ["sh", "-c", _THEIRS, str(site.tree), str(os.cpu_count())],
        "verify": site.argv("verify", ARCHIVE, "--restart"),
    }
    _time(contenders["sha256sum"], site)  # the caches are warm then
    for number in range(runs):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            wall_s, cpu_s = _time(contenders[name], site)
            found.wall_s.setdefault(name, []).append(wall_s)
            found.cpu_s.setdefault(name, []).append(cpu_s)
            say(f"{what}, {name}: {wall_s:.2f} s, CPU {cpu_s:.2f} s")
    return found


def _time(argv: Sequence[str], site: LabSite) -> tuple[float, float]:
    """Seconds that went by, and of processor time, of a program and its children."""
    log = site.directory / "read.log"
    to_log = [
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    started = time.monotonic()
    env = {**BASE_ENVIRONMENT, **Ours.environment()}
    pid = os.posix_spawnp(argv[0], list(argv), env, file_actions=to_log)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise ProgramFailed(f"{argv[0]}: {log.read_text(errors='replace')[-2000:]}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime


def _large(place: Path) -> Path:
    """An archive of large files: one suite, one index."""
    tree = place / "tree"
    suite = tree / "dists/large"
    if (suite / "Release").exists():
        return tree
    shutil.rmtree(place, ignore_errors=True)
    (tree / "pool").mkdir(parents=True)
    stanzas = []
    for number in range(_LARGE_FILES):
        data = os.urandom(_LARGE_BYTES)
        path = f"pool/large-{number}.deb"
        (tree / path).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        stanzas.append(f"Package: large-{number}\nFilename: {path}\nSize: {len(data)}\nSHA256: {sha256}\n")
    index = "\n".join([*stanzas, ""]).encode()
    name = "main/binary-amd64/Packages"
    (suite / name).parent.mkdir(parents=True)
    (suite / name).write_bytes(index)
    text = f"Suite: large\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {name}\n"
    (suite / "Release").write_text(text)
    return tree
