"""What goes on when we are gone: nobody waits for it, and what it says goes to a file.

It runs in the directory /: it keeps no file system busy, and sees nothing of where its starter was. A program
is `start`ed; `go_on` goes on with work of our own, and can hear how far it has come.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NoReturn

from pushmirror.system import process

_START_S = 30.0
_LARGE = 5_000_000  # bytes of a log, after which another one is begun
#: In a session of its own before the shell ends, with which its process group does; init takes it over.
_SCRIPT = """setsid -w sh -c '"$@" &' sh "$@" </dev/null >>"$0" 2>&1"""
_KEPT = ("PUSHMIRROR_STATE", "XDG_STATE_HOME")  # where the state is, unless the configuration says so


def start(argv: Sequence[str], *, log: Path) -> None:
    """Start a program in a session of its own; what it prints goes to the end of `log`, an absolute path.

    Raises ProgramFailed when not even that could be done.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGE:
        log.replace(log.with_name(f"{log.name}.1"))
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    program = ["sh", "-c", _SCRIPT, str(log), *argv]
    process.run(program, env=env, cwd=Path("/"), timeout_s=_START_S).check()


Tell = Callable[[str], None]  # a word for who waits; nobody may be listening any more
_SOFTWARE = 70  # EX_SOFTWARE


@dataclass(slots=True)
class Word:
    """What is told by work that goes on without us."""

    handle: int
    _read: bytes = b""

    def hear(self, timeout_s: float | None = None) -> str | None:
        """The next word; none when there is none in that time, and empty when there will never be one."""
        until = None if timeout_s is None else monotonic() + timeout_s
        while b"\n" not in self._read:
            wait_s = None if until is None else max(0.0, until - monotonic())
            if not select.select([self.handle], [], [], wait_s)[0]:
                return None
            data = os.read(self.handle, 4096)
            if not data:
                return ""
            self._read += data
        word, _, self._read = self._read.partition(b"\n")
        return word.decode()


def go_on(work: Callable[[Tell], int], *, log: Path) -> Word:
    """Go on with `work` in a process and session of its own, which may outlive us; its words are to be heard.

    What it prints goes to the end of `log`. To be called before this process has a thread, an event loop or a
    database: none of them survives being copied.
    """
    assert threading.active_count() == 1
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _leave(work, log, ours, theirs)
    os.close(theirs)
    os.waitpid(child, 0)  # it goes at once; init takes over who really works
    return Word(ours)


def _leave(work: Callable[[Tell], int], log: Path, ours: int, theirs: int) -> NoReturn:
    """Nothing of our starter's is unwound here: it is still at it."""
    code = _SOFTWARE
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.close(ours)
        _move(log)
        code = work(lambda word: _tell(theirs, word))
    except BaseException:  # noqa: BLE001  there is nobody above us
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _move(log: Path) -> None:
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for old, new in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(old, new)
    for handle in {nothing, output} - {0, 1, 2}:  # which they are, if we came without
        os.close(handle)


def _tell(handle: int, word: str) -> None:
    try:
        os.write(handle, f"{word}\n".encode())
    except BrokenPipeError:
        return  # it has gone
