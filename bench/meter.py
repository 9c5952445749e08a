"""What a program costs: time, processor time and memory of it and all its children, and of a daemon it uses.

Processor time is exact (the kernel's accounts of reaped children); memory is sampled about 20 times a second,
so a process that lives shorter than that may be missed.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pushmirror.errors import ProgramFailed
from pushmirror.system.process import BASE_ENVIRONMENT

_EVERY_S = 0.05
_SETTLE_S = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_TRAFFIC = re.compile(r"sent ([\d,]+) bytes  received ([\d,]+) bytes")


@dataclass(frozen=True, slots=True)
class Cost:
    """One run."""

    wall_s: float
    cpu_s: float  # user and system, the program and all its children
    peak_process: int  # bytes; the largest process
    peak_all: int  # bytes; all processes at one time, shared pages counted once
    daemon_cpu_s: float = 0.0
    daemon_peak: int = 0  # bytes; all its processes at one time
    received: int = 0  # bytes, as the daemon counts them
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Serving:
    """A daemon that serves nobody else at the moment, and logs its traffic."""

    pid: int
    log: Path


def measure(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    serving: Serving | None = None,
    limit_s: float = 3600,
    exit_codes: Collection[int] = (0,),
) -> Cost:
    """Run a program to its end, and count what it makes a daemon do.

    Raises ProgramFailed if it does not end with one of these exit codes.
    """
    accounts = _Accounts(serving) if serving else None
    started = time.monotonic()
    pid = _spawn(argv, env, log)
    own = _Sampler(pid, until=started + limit_s)
    samplers = [own] + ([_Sampler(serving.pid)] if serving else [])
    for sampler in samplers:
        sampler.start()
    try:
        _, status, usage = os.wait4(pid, 0)
        wall_s = time.monotonic() - started
    finally:
        for sampler in samplers:
            sampler.stop()
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    if os.waitstatus_to_exitcode(status) not in exit_codes:
        words = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise ProgramFailed(f"{argv[0]} ended with {os.waitstatus_to_exitcode(status)}: {words}")
    cost = Cost(wall_s, usage.ru_utime + usage.ru_stime, own.largest, own.together)
    return replace(cost, daemon_peak=samplers[1].together, **accounts.close()) if accounts else cost


class _Accounts:
    """What a daemon's connections cost from now on."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._cpu_s = _children_cpu(serving.pid)
        self._log_from = serving.log.stat().st_size if serving.log.exists() else 0

    def close(self) -> dict[str, Any]:
        """Fields of Cost, when all connections have ended."""
        _wait_for_children(self._serving.pid)
        sent, received = _traffic(self._serving.log, self._log_from)
        cpu_s = _children_cpu(self._serving.pid) - self._cpu_s
        # what the daemon sent is what its client received
        return {"daemon_cpu_s": cpu_s, "received": sent, "sent": received}


def _spawn(argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
    to_log = [
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(argv[0], list(argv), {**BASE_ENVIRONMENT, **env}, file_actions=to_log, setsid=True)


class _Sampler(threading.Thread):
    """Watches the memory of a process and its descendants, and ends it when its time, if any, is over."""

    def __init__(self, pid: int, *, until: float | None = None) -> None:
        super().__init__(daemon=True)
        self.largest = 0
        self.together = 0
        self._pid = pid
        self._until = until
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(_EVERY_S):
            pids = family(self._pid)
            self.largest = max([self.largest, *(kib(pid, "status", "VmHWM:") for pid in pids)])
            self.together = max(self.together, sum(kib(pid, "smaps_rollup", "Pss:") for pid in pids))
            if self._until is not None and time.monotonic() > self._until:
                os.killpg(self._pid, signal.SIGKILL)
                return


def family(top: int) -> set[int]:
    """A process and all its descendants."""
    parents = {pid: int(fields[1]) for pid in _all_pids() if (fields := stat(pid))}
    found = {top}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def kib(pid: int, file: str, field: str) -> int:
    """A size from a file of /proc/PID, in bytes; 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _children_cpu(pid: int) -> float:
    """Processor time of a daemon's connections that have ended."""
    fields = stat(pid)
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _wait_for_children(pid: int) -> None:
    until = time.monotonic() + _SETTLE_S
    while len(family(pid)) > 1 and time.monotonic() < until:
        time.sleep(0.01)


def _traffic(log: Path, start: int) -> tuple[int, int]:
    if not log.exists():
        return 0, 0
    with log.open("rb") as file:
        file.seek(start)
        found = _TRAFFIC.findall(file.read().decode("utf-8", "replace"))
    numbers = [[int(number.replace(",", "")) for number in pair] for pair in found]
    return sum(sent for sent, _ in numbers), sum(received for _, received in numbers)
