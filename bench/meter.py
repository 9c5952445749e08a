"""What a program costs: time, processor time and memory of it and all its children, and of the daemon.

Processor time is exact (the kernel's accounts of reaped children); memory is sampled about 20 times a second,
so a process that lives shorter than that may be missed.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.errors import ProgramFailed
from pushmirror.lab.daemon import RsyncDaemon
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
    daemon_cpu_s: float
    peak_process: int  # bytes; the largest process
    peak_all: int  # bytes; all processes at one time, shared pages counted once
    received: int  # bytes, as the daemon counts them
    sent: int


def measure(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    daemon: RsyncDaemon,
    traffic: Path,
    limit_s: float = 1800,
) -> Cost:
    """Run a program against a daemon that serves nobody else, and logs its traffic to a file.

    Raises ProgramFailed if it does not end with 0.
    """
    daemon_before = _children_cpu(daemon)
    traffic_from = traffic.stat().st_size if traffic.exists() else 0
    started = time.monotonic()
    pid = _spawn(argv, env, log)
    sampler = _Sampler(pid, until=started + limit_s)
    sampler.start()
    try:
        _, status, usage = os.wait4(pid, 0)
        wall_s = time.monotonic() - started
    finally:
        sampler.stop()
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    if os.waitstatus_to_exitcode(status) != 0:
        words = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise ProgramFailed(f"{argv[0]} ended with {os.waitstatus_to_exitcode(status)}: {words}")
    _wait_for_children(daemon)
    sent, received = _traffic(traffic, traffic_from)
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        daemon_cpu_s=_children_cpu(daemon) - daemon_before,
        peak_process=sampler.largest,
        peak_all=sampler.together,
        received=sent,  # what the daemon sent is what its client received
        sent=received,
    )


def _spawn(argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
    to_log = [
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(argv[0], list(argv), {**BASE_ENVIRONMENT, **env}, file_actions=to_log, setsid=True)


class _Sampler(threading.Thread):
    """Watches the memory of a process and its descendants, and ends it when its time is over."""

    def __init__(self, pid: int, *, until: float) -> None:
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
            if time.monotonic() > self._until:
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


def _children_cpu(daemon: RsyncDaemon) -> float:
    """Processor time of the daemon's connections that have ended."""
    assert daemon.pid
    fields = stat(daemon.pid)
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _wait_for_children(daemon: RsyncDaemon) -> None:
    assert daemon.pid
    until = time.monotonic() + _SETTLE_S
    while len(family(daemon.pid)) > 1 and time.monotonic() < until:
        time.sleep(0.01)


def _traffic(log: Path, start: int) -> tuple[int, int]:
    with log.open("rb") as file:
        file.seek(start)
        found = _TRAFFIC.findall(file.read().decode("utf-8", "replace"))
    numbers = [[int(number.replace(",", "")) for number in pair] for pair in found]
    return sum(sent for sent, _ in numbers), sum(received for _, received in numbers)
