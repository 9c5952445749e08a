"""Processes by their numbers: who belongs to whom, who is still there, and how to end them without a word."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Every living process that `pid` started, directly or not (an rsync has a session of its own)."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(status.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def program(pid: int) -> list[str]:
    """The command line of a process; empty when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    return []


def alive(pids: Iterable[int]) -> list[int]:
    """Those that have not ended. (A zombie has: only nobody has asked how.)"""
    return [pid for pid in pids if program(pid)]


def kill(pid: int, *, with_children: bool = True) -> None:
    """End a process with what it started, as a power cut does; without that, as the OOM killer does."""
    children = descendants(pid) if with_children else []
    for one in (pid, *children):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
