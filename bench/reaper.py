"""Run a program, wait for everything that it leaves behind, and print what all of it cost, as JSON.

`runmirrors` ends long before its triggers do: what it has started goes on without a parent. Here such
orphans come to this process (prctl(2), PR_SET_CHILD_SUBREAPER), so that the kernel's accounts of them are
whole. Run by its path, in an interpreter of its own that loads nothing else.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """`reaper.py SECONDS LOG PROGRAM ARGUMENT…`; whatever still runs after so many seconds is killed."""
    limit_s, log, *argv = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    to_log = [
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    began, wall_began = time.monotonic(), time.time()
    program = os.posix_spawnp(argv[0], argv, os.environ, file_actions=to_log, setsid=True)
    signal.signal(signal.SIGALRM, lambda *_: _kill(program))
    signal.setitimer(signal.ITIMER_REAL, float(limit_s), 1.0)  # again, for who was just being started
    cost = {"began": wall_began, "user_s": 0.0, "system_s": 0.0, "largest": 0}
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cost["user_s"] += usage.ru_utime
        cost["system_s"] += usage.ru_stime
        cost["largest"] = max(cost["largest"], usage.ru_maxrss * 1024)
        if pid == program:
            cost["exit_code"] = os.waitstatus_to_exitcode(status)
            cost["ended_s"] = time.monotonic() - began
    print(json.dumps({**cost, "all_ended_s": time.monotonic() - began}))


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
