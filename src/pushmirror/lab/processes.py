"""Processes of this machine: their descendants, and those that were started with a given `--config`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pushmirror.lab.services import wait_until

_ENDS_S = 120.0  # far longer than a run takes to clean up after SIGTERM
_GONE_S = 60.0  # the same after SIGKILL


def end_all_of(directory: Path, *, also: Iterable[int] = ()) -> None:
    """End every pushmirror whose configuration is below a directory, and wait for it and for `also`.

    One that ends may just have started another, so all are looked for again until there is none. They are in
    no process group of ours: a push outlives its parent, a run the connection of its trigger.
    """

    def gone(number: signal.Signals) -> bool:
        found = at_work_on(directory)
        for pid in found:
            send(pid, number)
        return not found and not any(_is_alive(pid) for pid in waited_for)

    waited_for = [*also]
    if not wait_until(lambda: gone(signal.SIGTERM), limit_s=_ENDS_S):
        wait_until(lambda: gone(signal.SIGKILL), limit_s=_GONE_S)


def at_work_on(directory: Path) -> list[int]:
    """The processes with `--config` and a path below this directory in their command line."""
    before = os.fsencode(directory) + b"/"
    return [pid for pid in _pids() if any(word.startswith(before) for word in _configs(pid))]


def descendants(ancestor: int) -> set[int]:
    """Everything that a process started, directly or not, and that is still there."""
    parents = {
        pid: int(stat.rpartition(b")")[2].split()[1]) for pid in _pids() if (stat := _read(pid, "stat"))
    }
    found: set[int] = set()
    grown = {ancestor}
    while grown:
        found |= grown
        grown = {pid for pid, parent in parents.items() if parent in found} - found
    return found - {ancestor}


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _configs(pid: int) -> list[bytes]:
    words = _read(pid, "cmdline").split(b"\0")
    return [after for word, after in pairwise(words) if word == b"--config"]


def _is_alive(pid: int) -> bool:
    return bool(
        _read(pid, "cmdline")
    )  # a zombie has none: it has ended, and its parent has not waited for it


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has just ended, or is not ours
        return b""
