"""Run external programs: an argv list, no shell, a process group for each.

Guaranteed: the whole group is gone when a call returns or raises, and also when we are killed; standard
output is either handed on line by line or kept within a bound, standard error is kept within a bound.
Several threads may run programs at once; signals reach the main thread only, which ends the others' with a
Stop. Not the business of this module: what an exit code means.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pushmirror.errors import ProgramFailed, ProgramMissing, Stalled, TookTooLong

MAX_OUTPUT = 64 * 1024  # bytes of output kept for messages and logs
_MAX_LINE = 128 * 1024  # bytes kept of a line that does not end; a listing's have two paths, escaped
_CHUNK = 1024 * 1024
_PR_SET_PDEATHSIG = 1
_TERM_GRACE_S = 3.0  # between SIGTERM and SIGKILL
LEAST_RATE = 64.0  # bytes per second; keepalives of an rsync that waits are some bytes a minute
_LOOK_S = 5.0  # at most, between two looks at what a program has moved
_LINGER_S = 2.0  # after a program's end, for the last words of what it started
_LONGEST_WAIT_S = 24 * 3600.0  # at a time: epoll takes no more than 24 days

#: What a program inherits unless the caller says otherwise: no secrets, no locale surprises, UTC times.
BASE_ENVIRONMENT: dict[str, str] = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": os.environ.get("HOME", "/"),
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a program."""

    argv: tuple[str, ...]
    exit_code: int  # negative: the signal that ended it
    output: bytes  # standard output, its first bytes (or none when lines were handed on)
    errors: str  # standard error, the last MAX_OUTPUT bytes
    seconds: float
    has_output: bool  # it wrote to standard output

    def check(self) -> Result:
        """Return self, or raise ProgramFailed naming the command, its code and its last words."""
        if self.exit_code == 0:
            return self
        raise ProgramFailed(f"{self.argv[0]} ended with exit code {self.exit_code}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of standard error that is not blank."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return lines[-1] if lines else "no error output"


def run(
    argv: Sequence[str],
    *,
    on_line: Callable[[bytes], None] | None = None,
    on_error: Callable[[bytes], None] | None = None,
    stdin: bytes = b"",
    keep: int = MAX_OUTPUT,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    idle_s: float | None = None,
    least_rate: float = LEAST_RATE,
    on_look: Callable[[bool], None] | None = None,
    stop: CancelToken | None = None,
) -> Result:
    """Run a program to its end.

    `on_line` receives each line of standard output without its newline; otherwise the first `keep` bytes are
    kept. `on_error` receives each line of standard error, of which only the last ones are kept. `stdin` is
    given to the program. `env` is added to BASE_ENVIRONMENT. `timeout_s` bounds the whole run, and so does
    `stop`; `idle_s` is how long it and what it started may read and write less than `least_rate` (bytes per
    second, on average), and then nobody waits for what it leaves behind; `on_look` hears every few seconds
    whether more than next to nothing was moved since. Raises ProgramMissing when the program does not exist,
    TookTooLong, Stalled or ProgramFailed when a bound was reached; an exit code other than 0 is the caller's
    to judge.
    """
    started = time.monotonic()
    with _started(argv, env=env, cwd=cwd) as child:
        reader = _Reader(child, stdin, keep, on_line, on_error)
        reader.pump(
            deadline=None if timeout_s is None else started + timeout_s,
            expired=TookTooLong(f"{argv[0]} timed out after {timeout_s or 0:g} s"),
            idle=None if idle_s is None else _Idle(child.pid, argv[0], idle_s, least_rate, on_look),
            stop=stop,
        )
        exit_code = child.wait()
    seconds = time.monotonic() - started
    return Result(
        tuple(argv), exit_code, bytes(reader.output), reader.error_text(), seconds, reader.has_output
    )


class CancelToken:
    """One thread sets it, and the programs that others run with it are ended; for a `with` block."""

    def __init__(self) -> None:
        self._handle = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_set = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def fileno(self) -> int:
        """What becomes readable, and stays so, once it is set."""
        return self._handle

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        os.eventfd_write(self._handle, 1)


@contextmanager
def starting(argv: Sequence[str]) -> Iterator[None]:
    """Translate errors of starting a program."""
    try:
        yield
    except FileNotFoundError as exc:
        raise ProgramMissing(
            f"the program {argv[0]} was not found in PATH",
            hint=f"install the Debian package that has {argv[0]}",
        ) from exc
    except OSError as exc:
        raise ProgramFailed(f"{argv[0]} could not be started: {exc.strerror}") from exc


@contextmanager
def _started(
    argv: Sequence[str], *, env: Mapping[str, str] | None, cwd: Path | None
) -> Iterator[subprocess.Popen[bytes]]:
    with starting(argv):
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**BASE_ENVIRONMENT, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    with child:
        try:
            with watched(child):
                _widen(child)
                yield child
        finally:
            end_group(child)


@contextmanager
def watched(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the child's group when we are gone without a word.

    An orphaned rsync can wait for ever for a peer that waits for it. A pipe that only we hold open tells a
    shell of our end; the kernel's signal for that (PR_SET_PDEATHSIG) does not reach rsync's second process.
    """
    argv = ["sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(child.pid)]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watchdog:
        try:
            yield
        finally:
            watchdog.kill()


def _widen(child: subprocess.Popen[bytes]) -> None:
    """Enlarge the pipe: a listing of a million names then takes half the time."""
    assert child.stdout
    with suppress(OSError):  # a user with many large pipes may not have another
        fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, _CHUNK)


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and everything it started in its process group; safe to call when it is gone already."""
    if child.poll() is None:
        signal_group(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_TERM_GRACE_S)
    signal_group(child.pid, signal.SIGKILL)
    child.wait()


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal every process of a group, if there are any."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


class _Idle:
    """Detects that a program and its descendants have transferred too little for too long.

    Not nothing: an rsync whose peer is stopped goes on to send it a few bytes now and then.
    """

    def __init__(
        self, pid: int, name: str, limit_s: float, least_rate: float, on_look: Callable[[bool], None] | None
    ) -> None:
        self._pid = pid
        self._name = name
        self._limit_s = limit_s
        self._least_rate = least_rate
        self._on_look = on_look
        self.look_every_s = min(limit_s / 8, _LOOK_S)
        self._looked = self._since = time.monotonic()
        self._before = self._begin = dict(_counts(pid))  # at the last look, and at `since`

    def check(self) -> None:
        """Raise Stalled when it is so."""
        now = time.monotonic()
        elapsed_s = now - self._looked
        if elapsed_s < self.look_every_s:
            return
        counts = dict(_counts(self._pid))
        if self._on_look:
            self._on_look(_moved(self._before, counts) >= LEAST_RATE * elapsed_s)
        self._looked, self._before = now, counts
        moved = _moved(self._begin, counts)
        was_asleep = elapsed_s > self._limit_s  # so were we: the machine was suspended
        if was_asleep or moved >= self._least_rate * self._limit_s:
            self._begin, self._since = counts, now
        elif now - self._since >= self._limit_s:
            raise Stalled(
                f"{self._name} was stopped: in {self._limit_s:g} s it moved only {moved} bytes"
                f" ({moved / self._limit_s:.0f} per second, expected at least {self._least_rate:.0f})",
                rate=moved / self._limit_s,
            )


_Counts = dict[tuple[int, str], int]  # by process and direction


def _counts(pid: int) -> Iterator[tuple[tuple[int, str], int]]:
    """What a process and its descendants, each for itself, have read and written until now, proc(5)."""
    try:
        io = Path(f"/proc/{pid}/io").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return  # it is gone
    for line in io.splitlines():
        name, _, count = line.partition(": ")
        if name in {"rchar", "wchar"}:
            yield (pid, name), int(count)
    for child in children:
        yield from _counts(int(child))


def _moved(before: _Counts, after: _Counts) -> int:
    """What went through the busiest of them: bytes that pass several, as through ssh, count once."""
    return max((count - before.get(key, 0) for key, count in after.items()), default=0)


def _wait_s(
    deadline: float | None, expired: Exception, idle: _Idle | None, lingers_until: float | None
) -> float:
    """Seconds until the next check; raises if a limit is reached."""
    wait_s = _LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()
    if wait_s <= 0:
        raise expired
    if idle is not None:
        idle.check()
        wait_s = min(wait_s, idle.look_every_s)
    if lingers_until is not None:
        wait_s = min(wait_s, max(lingers_until - time.monotonic(), 0))
    return min(wait_s, _LONGEST_WAIT_S)


@contextmanager
def _end_of(child: subprocess.Popen[bytes]) -> Iterator[int]:
    """A handle that can be read once the process has ended, whoever still holds its pipes; pidfd_open(2)."""
    handle = os.pidfd_open(child.pid)
    try:
        yield handle
    finally:
        os.close(handle)


class _Reader:
    """Moves bytes between a child's three pipes and us until it closes them."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        stdin: bytes,
        keep: int,
        on_line: Callable[[bytes], None] | None,
        on_error: Callable[[bytes], None] | None,
    ) -> None:
        self._child = child
        self._stdin = memoryview(stdin)
        self._keep = keep
        self._on_line = on_line
        self._on_error = on_error
        self._rest = b""  # an unfinished line
        self._error_rest = b""
        self.output = bytearray()
        self.has_output = False
        self._errors = bytearray()

    def error_text(self) -> str:
        return self._errors.decode("utf-8", "replace")

    def pump(
        self, *, deadline: float | None, expired: Exception, idle: _Idle | None, stop: CancelToken | None
    ) -> None:
        assert self._child.stdin and self._child.stdout and self._child.stderr
        with selectors.DefaultSelector() as selector, _end_of(self._child) as end:
            others = 0 if stop is None else 1  # besides the pipes and the end, which all have to come
            if stop is not None:
                selector.register(stop, selectors.EVENT_READ, stop)
            selector.register(end, selectors.EVENT_READ, end)
            selector.register(self._child.stdout, selectors.EVENT_READ, self._take_output)
            selector.register(self._child.stderr, selectors.EVENT_READ, self._take_errors)
            if self._stdin:
                os.set_blocking(self._child.stdin.fileno(), False)
                selector.register(self._child.stdin, selectors.EVENT_WRITE, None)
            else:
                self._child.stdin.close()
            lingers_until: float | None = None  # what was started beside it may hold the pipes for longer
            while len(selector.get_map()) > others:
                if lingers_until is not None and time.monotonic() > lingers_until:
                    break
                for key, _ in selector.select(_wait_s(deadline, expired, idle, lingers_until)):
                    if key.fileobj is stop:
                        raise ProgramFailed("cancelled")
                    if key.fileobj is end:
                        selector.unregister(end)
                        lingers_until = time.monotonic() + _LINGER_S if idle else None
                    else:
                        self._move(key, selector)
        if self._rest and self._on_line:
            self._on_line(self._rest)
        if self._error_rest and self._on_error:
            self._on_error(self._error_rest)

    def _move(self, key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
        if key.data is None:
            self._feed(selector)
        elif data := os.read(key.fd, _CHUNK):
            key.data(data)
        else:
            selector.unregister(key.fileobj)

    def _feed(self, selector: selectors.BaseSelector) -> None:
        assert self._child.stdin
        try:
            self._stdin = self._stdin[os.write(self._child.stdin.fileno(), self._stdin[:_CHUNK]) :]
        except BrokenPipeError:
            self._stdin = self._stdin[:0]  # it does not want more; its exit code tells why
        if not self._stdin:
            selector.unregister(self._child.stdin)
            self._child.stdin.close()

    def _take_output(self, data: bytes) -> None:
        self.has_output = True
        if self._on_line is None:
            self.output += data[: self._keep - len(self.output)]
            return
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:_MAX_LINE]
        for line in lines:
            self._on_line(line)

    def _take_errors(self, data: bytes) -> None:
        self._errors += data
        del self._errors[:-MAX_OUTPUT]
        if self._on_error is None:
            return
        lines = (self._error_rest + data).split(b"\n")
        self._error_rest = lines.pop()[:_MAX_LINE]
        for line in lines:
            self._on_error(line)


@dataclass(frozen=True, slots=True)
class Background:
    """A program that runs in the background until `stop` is called."""

    child: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.child.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.child.poll()

    def stop(self) -> None:
        """End the program and its process group; safe to call when it is gone already."""
        end_group(self.child)


@contextmanager
def background(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path
) -> Iterator[Background]:
    """Run a program until the end of the block; what it prints goes to the end of the file `log`.

    Raises as `run` does when it cannot be started; whether it stays alive is the caller's to watch.
    """
    with log.open("ab") as output, starting(argv):
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**BASE_ENVIRONMENT, **(env or {})},
            start_new_session=True,
        )
    with child:
        try:
            yield Background(child)
        finally:
            end_group(child)
