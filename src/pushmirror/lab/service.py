"""A server on a free port of the loopback: started and known to answer, ended and known to be gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from pushmirror.errors import ProgramFailed
from pushmirror.system import process

HOST = "127.0.0.1"
_START_S = 120.0  # far beyond need, also on a busy machine
_ATTEMPTS = 5  # another lab may take the port that was free a moment ago


class Service:
    """Runs between `start` and `stop`, or for a `with` block; keeps its port when it is started again.

    A subclass says how it is run (`_argv`, called after the port is known) and, where a server speaks
    first, what it says.
    """

    greeting = b""  # what it must say to a new connection; empty: accepting one is enough

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log = directory / "log"
        self.port = 0  # until it is started
        self._stack = ExitStack()
        self._child: process.Background | None = None

    def _argv(self) -> list[str]:
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process while it runs."""
        return self._child.pid if self._child else None

    def start(self) -> Self:
        """Start it and wait until it answers."""
        for _ in range(1 if self.port else _ATTEMPTS):
            port_was = self.port
            self.port = self.port or free_port()
            self._child = self._stack.enter_context(process.background(self._argv(), log=self.log))
            if self._answers(self._child):
                return self
            self.stop()
            self.port = port_was
        words = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        raise ProgramFailed(f"{type(self).__name__} did not start; its last words: {' / '.join(words)}")

    def stop(self) -> None:
        """End it, with what it started."""
        self._child = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self if self._child else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _family(self, child: process.Background) -> Iterable[int]:
        """The processes that may be the one that listens."""
        return [child.pid]

    def _answers(self, child: process.Background) -> bool:
        def ended_or_ready() -> bool:
            return child.poll() is not None or (
                says(self.port, self.greeting) and any(listens(pid, self.port) for pid in self._family(child))
            )

        return wait_until(ended_or_ready) and child.poll() is None


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(pid: int, port: int) -> bool:
    """Whether the process itself, not another lab's, listens on a loopback port."""
    wanted = f"{socket.htonl(0x7F000001):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == wanted and row[3] == "0A"}
    try:
        return any(str(link.readlink()) in sockets for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has just ended, or closed one
        return False


def says(port: int, greeting: bytes) -> bool:
    """Whether a server accepts a connection and begins with `greeting`."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            return connection.recv(len(greeting)) == greeting if greeting else True
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], *, limit_s: float = _START_S) -> bool:
    """Ask again and again, at most for `limit_s`; the last answer."""
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
