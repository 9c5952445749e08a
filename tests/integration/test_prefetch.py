"""New files through several real rsyncs at a time: into the tree, whole, and as often as it takes."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pushmirror.archive.paths import Entry, Kind
from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import UpstreamError
from pushmirror.fetch import streams
from pushmirror.fetch.upstream import Upstream
from pushmirror.inventory.diff import Diff
from pushmirror.sync.attempt import Attempt
from pushmirror.sync.prefetch import prefetch
from pushmirror.system.process import CancelToken
from pushmirror.tree.publish import Publisher
from pushmirror.tree.published_state import NOTHING
from pushmirror.workspace import Workspace
from upstreams import paths_in

COUNT = 24


@dataclass
class Heard:
    """A progress that remembers."""

    files: int = 0
    size: int = 0
    steps: list[tuple[str, int | None, int | None]] = field(default_factory=list)

    def step(self, name: str, *, files: int | None = None, size: int | None = None) -> None:
        self.steps.append((name, files, size))

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        self.files += files
        self.size += size


class Fetching:
    """An upstream in a directory, and a tree that lacks all of it."""

    def __init__(self, directory: Path) -> None:
        self.theirs, self.tree = directory / "theirs", directory / "tree"
        self.tree.mkdir()
        for number in range(COUNT):
            file = self.theirs / f"pool/{number // 4}/{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{number}" * 10)
            os.utime(file, (1000, 1000))
        self.diff = Diff(files_upstream=COUNT)
        self.heard = Heard()
        self.rsync = "rsync"
        self.limit = ""

    def entries(self, *, hashed: bool = False) -> list[Entry]:
        return [
            Entry(
                str(file.relative_to(self.theirs)),
                Kind.FILE,
                file.stat().st_size,
                1000,
                "",
                hashlib.sha256(file.read_bytes()).hexdigest() if hashed else "",
            )
            for file in sorted(self.theirs.rglob("*"))
            if file.is_file()
        ]

    def workspace(self) -> Workspace:
        found = {
            "name": "a",
            "path": str(self.tree),
            "upstream": f"file://{self.theirs}",
            "rsync": self.rsync,
        }
        limit = {"bandwidth_limit": self.limit} if self.limit else {}
        archive = Archive.model_validate({**found, **limit, "streams": 3})
        workspace = Workspace.of(archive, Mirror(), paths_in(self.tree.parent), self.heard)
        workspace.area.open()
        return workspace

    def fetch(self, entries: list[Entry]) -> tuple[Attempt, Upstream]:
        for entry in entries:
            self.diff.add_missing(entry)
        attempt, workspace = Attempt(NOTHING, NOTHING, NOTHING, self.diff), self.workspace()
        prefetch(attempt, workspace, Publisher(self.tree, workspace.area), indexed=lambda *_: {})
        return attempt, workspace.upstream

    def landed(self) -> dict[str, str]:
        return {str(file.relative_to(self.tree)): file.read_text() for file in self.tree.glob("pool/*/*")}

    def expected(self) -> dict[str, str]:
        return {str(file.relative_to(self.theirs)): file.read_text() for file in self.theirs.glob("pool/*/*")}


@pytest.fixture
def fetching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetching:
    """Four files are many here, and worth a batch."""
    monkeypatch.setattr(streams, "_FEW_FILES", 4)
    monkeypatch.setattr(streams, "_LEAST", 4 * streams._PER_FILE)
    return Fetching(tmp_path)


def wrapped(tmp_path: Path, action: str) -> str:
    """An rsync before which `action` is done, with the names it is to fetch in `names`."""
    program = tmp_path / "rsync"
    program.write_text(
        f"#!{sys.executable}\nimport os, pathlib, subprocess, sys\n"
        "names = [] if '--version' in sys.argv else sys.stdin.read().split('\\0')[:-1]\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n{action}\n"
        "told = ''.join(f'{name}\\0' for name in names).encode()\n"
        "sys.exit(subprocess.run(['rsync', *sys.argv[1:]], input=told).returncode)\n"
    )
    program.chmod(0o755)
    return str(program)


def test_all_files_land_and_are_told_of_once(fetching: Fetching) -> None:
    attempt, upstream = fetching.fetch(fetching.entries())
    size = sum(len(text) for text in fetching.expected().values())
    assert fetching.landed() == fetching.expected()
    assert (attempt.landed, attempt.incomplete, attempt.diff.missing) == (COUNT, False, {})
    assert fetching.heard.steps == [("fetching", COUNT, size)]
    assert (fetching.heard.files, fetching.heard.size) == (COUNT, size)
    assert upstream.traffic.files_fetched == COUNT


def test_what_a_killed_run_had_fetched_is_not_fetched_again(fetching: Fetching) -> None:
    names = [entry.path for entry in fetching.entries()]
    workspace = fetching.workspace()
    workspace.upstream.fetch_batch(names[: COUNT // 2], workspace.area)
    fetching.heard.files = 0
    _, upstream = fetching.fetch(fetching.entries())
    assert upstream.traffic.files_fetched == COUNT // 2 and fetching.heard.files == COUNT
    assert fetching.landed() == fetching.expected()


@pytest.mark.parametrize(
    "change", [Path.unlink, lambda file: file.write_text("longer than it was when it was listed")]
)
def test_a_file_that_vanished_or_changed_is_noted_as_lost(
    fetching: Fetching, change: Callable[[Path], object]
) -> None:
    entries = fetching.entries()
    change(fetching.theirs / "pool/1/5")
    attempt, _ = fetching.fetch(entries)
    assert (attempt.landed, attempt.lost, list(attempt.diff.missing)) == (
        COUNT - 1,
        {"pool/1/5"},
        ["pool/1/5"],
    )
    assert "pool/1/5" not in fetching.landed()


def test_a_file_that_arrives_damaged_is_fetched_once_more(fetching: Fetching, tmp_path: Path) -> None:
    damaged = tmp_path / "tree/.~tmp~/pushmirror/new/pool/1/5"
    fetching.rsync = wrapped(
        tmp_path,
        f"place, flag = pathlib.Path({str(damaged)!r}), here / 'once'\n"
        "if 'pool/1/5' in names and not flag.exists():\n"
        "    flag.touch(); place.parent.mkdir(parents=True)\n"
        "    place.write_text('x' * 10); os.utime(place, (1000, 1000))",
    )
    fetching.fetch(fetching.entries(hashed=True))
    assert (tmp_path / "once").exists() and fetching.landed() == fetching.expected()


def test_a_file_that_is_not_what_its_hash_says_never_lands(
    fetching: Fetching, caplog: pytest.LogCaptureFixture
) -> None:
    entries = fetching.entries(hashed=True)
    (fetching.theirs / "pool/1/5").write_text("x" * 10)
    os.utime(fetching.theirs / "pool/1/5", (1000, 1000))
    attempt, _ = fetching.fetch(entries)
    assert attempt.lost == {"pool/1/5"} and "expected SHA256" in caplog.text
    assert "pool/1/5" not in fetching.landed()


def test_a_stream_that_fails_ends_the_others_and_is_the_error(fetching: Fetching, tmp_path: Path) -> None:
    fetching.rsync = wrapped(
        tmp_path,
        "import time\n"
        "if 'pool/1/5' in names:\n"
        "    sys.exit('rsync: No space left on device')\n"
        "if names:\n"
        "    time.sleep(60)",
    )
    with pytest.raises(UpstreamError, match="the disk is full"):
        fetching.fetch(fetching.entries())


def test_what_cannot_land_waits_to_be_published(fetching: Fetching) -> None:
    (fetching.tree / "pool").mkdir()
    (fetching.tree / "pool/1").symlink_to("..")
    attempt, _ = fetching.fetch(fetching.entries())
    assert (attempt.landed, attempt.incomplete, len(attempt.diff.missing)) == (COUNT - 4, False, 4)
    assert all(attempt.diff.wanted(f"pool/1/{number}") for number in range(4, 8))


def test_many_other_files_are_fetched_by_several_streams(fetching: Fetching) -> None:
    names, workspace = [entry.path for entry in fetching.entries()], fetching.workspace()
    area = workspace.area
    workspace.upstream.fetch(reversed(names), area, size=10)
    assert all(area.fetched(name) for name in names)


@pytest.mark.parametrize("limit", ["", "20M"])
def test_streams_do_not_add_up_beyond_the_limit_of_the_line(fetching: Fetching, limit: str) -> None:
    fetching.limit = limit
    entries, threads = fetching.entries(), list[str]()

    def work(_: object, stop: CancelToken | None) -> str:
        return "the caller's" if stop is None else "a stream"

    fetching.workspace().upstream.in_streams(entries, work, threads.append, files=COUNT, size=10)
    assert set(threads) == {"the caller's" if limit else "a stream"}
