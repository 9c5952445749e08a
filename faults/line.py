"""A line of TCP between a site and a server, which works until the fault that was planned for it begins.

    site ──▶ Line (a port of the loopback) ──▶ server
                 counts the bytes of both directions; from the byte `Plan.at` on, the fault

A thread for each direction of each connection. When a fault began, by the monotonic clock, is in `began`.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import TracebackType
from typing import Self

from pushmirror.lab.services import HOST

_CHUNK = 16 * 1024
_TICK_S = 0.05  # of what comes by a rate
_LONGEST_S = 300.0  # of one connection; a line that was forgotten ends by itself
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the close is a reset


class Fault(StrEnum):
    """What happens to bytes."""

    STILL = "stands still"  # both directions, new connections as well
    DOWN_STILL = "stands still towards the site"  # what the site sends still arrives
    UP_STILL = "stands still towards upstream"
    DRIP = "drips"  # a byte now and then
    RATE = "slow"  # so many bytes per second, `Plan.rate`
    CUT = "cut"  # reset
    CLOSED = "closed"  # the end of the stream, as if the server had said all
    GONE = "gone"  # reset, and so is every new connection
    FLIPPED = "bits flipped"
    LOST = "bytes lost"
    DOUBLED = "bytes doubled"
    NOISE = "noise"  # random bytes, for good
    DELAY = "delayed"


@dataclass(frozen=True, slots=True)
class Plan:
    """One fault."""

    fault: Fault
    at: int  # bytes that pass before, both directions and all connections together
    seed: int
    rate: int = 0  # bytes per second, of RATE
    once: bool = False  # only the connection that meets it has it

    def __str__(self) -> str:
        rate = f" ({self.rate} bytes per second)" if self.rate else ""
        return f"{self.fault}{rate} after {self.at} bytes{', one connection' if self.once else ''}"


class Line:
    """Leads from a port of its own to that of a server, for a `with` block."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server((HOST, 0), backlog=50)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._state = _State(None)

    def arm(self, plan: Plan | None) -> None:
        """End all connections; the next ones count from 0 and meet the fault, if there is one."""
        before, self._state = self._state, _State(plan)
        before.end()

    @property
    def began(self) -> float | None:
        """When the fault began."""
        return self._state.began

    @property
    def connected(self) -> float:
        """When the last connection was made."""
        return self._state.connected

    @property
    def passed(self) -> int:
        """Bytes, in both directions."""
        return self._state.passed

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._state.end()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # the block is over
            threading.Thread(target=self._carry, args=(near, self._state), daemon=True).start()

    def _carry(self, near: socket.socket, state: _State) -> None:
        if state.refuses():
            _reset(near)
            return
        try:
            far = socket.create_connection((HOST, self._server), timeout=_LONGEST_S)
        except OSError:
            _reset(near)
            return
        connection = _Connection(state, near, far)
        state.connected = time.monotonic()
        state.connections.append(connection)
        down = threading.Thread(target=connection.pump, args=(far, near), daemon=True)
        down.start()
        connection.pump(near, far)
        down.join()
        for one in (near, far):
            one.close()


class _State:
    """The connections that were made since a plan was."""

    def __init__(self, plan: Plan | None) -> None:
        self.plan = plan
        self.passed = 0
        self.began: float | None = None
        self.connected = 0.0
        self.over = threading.Event()
        self.connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._met_by: _Connection | None = None

    def refuses(self) -> bool:
        """Whether a new connection is ended at once."""
        gone = self.plan is not None and self.plan.fault is Fault.GONE and not self.plan.once
        return self.over.is_set() or (gone and self.began is not None)

    def count(self, connection: _Connection, size: int) -> int:
        """How many of these bytes pass as they are; what is left over meets the fault."""
        with self._lock:
            if self.plan is None:
                self.passed += size
                return size
            before, self.passed = self.passed, self.passed + size
            if self.passed <= self.plan.at:
                return size
            if self.began is None:
                self.began, self._met_by = time.monotonic(), connection
            if self.plan.once and connection is not self._met_by:
                return size
            return max(0, self.plan.at - before)

    def end(self) -> None:
        self.over.set()
        for connection in list(self.connections):
            connection.end()


class _Connection:
    def __init__(self, state: _State, near: socket.socket, far: socket.socket) -> None:
        self._state = state
        self._near = near
        self._far = far
        self._random = Random(state.plan.seed if state.plan else 0)
        self._sent, self._since = 0, 0.0  # of what comes by a rate
        for one in (near, far):
            one.settimeout(_LONGEST_S)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction to its end."""
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                whole = self._state.count(self, len(data))
                if whole:
                    sink.sendall(data[:whole])
                if whole < len(data):
                    for piece in self._spoilt(data[whole:], is_down=sink is self._near):
                        sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Both sides see a reset."""
        for one in (self._near, self._far):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)

    def _spoilt(self, data: bytes, *, is_down: bool) -> Iterator[bytes]:
        """What becomes of bytes that meet the fault."""
        plan = self._state.plan
        assert plan
        match plan.fault:
            case Fault.STILL | Fault.DOWN_STILL | Fault.UP_STILL:
                if plan.fault is Fault.STILL or is_down == (plan.fault is Fault.DOWN_STILL):
                    self._state.over.wait(_LONGEST_S)
                    return
                yield data
            case Fault.DRIP if is_down:
                for byte in data:
                    if self._state.over.wait(0.1 + self._random.random() / 2):
                        return
                    yield bytes([byte])
            case Fault.RATE if is_down:
                yield from self._by_rate(data, plan.rate)
            case Fault.CUT | Fault.GONE:
                self.end()
                self._near.close()  # with SO_LINGER, a reset
                self._far.close()
            case Fault.CLOSED:
                with suppress(OSError):
                    self._near.shutdown(socket.SHUT_RDWR)
            case Fault.DELAY:
                self._state.over.wait(self._random.random() * 0.05)
                yield data
            case Fault.FLIPPED | Fault.LOST | Fault.DOUBLED | Fault.NOISE:
                yield self._wrong(plan.fault, data)
            case _:
                yield data

    def _by_rate(self, data: bytes, rate: int) -> Iterator[bytes]:
        self._since = self._since or time.monotonic()
        while data and not self._state.over.wait(_TICK_S):  # in pieces, as packets are
            due = int((time.monotonic() - self._since) * rate) - self._sent
            yield data[:due]
            self._sent += len(data[:due])
            data = data[due:]

    def _wrong(self, fault: Fault, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        if fault is Fault.FLIPPED:
            return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]
        if fault is Fault.LOST:
            return data[:at] + data[at + self._random.randint(1, 100) :]
        if fault is Fault.DOUBLED:
            return data[:at] + 2 * data[at : at + 100] + data[at + 100 :]
        return self._random.randbytes(len(data))


def _reset(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Heartbeat:
    """How long the machine did not let us run: what is late then is not somebody else's fault."""

    _BEAT_S, _USUAL_S = 0.1, 0.05

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []  # when, seconds
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def late_s(self, since: float) -> float:
        """Seconds, since a time of the monotonic clock."""
        return sum(late for at, late in list(self._late) if at >= since)

    def _beat(self) -> None:
        before = time.monotonic()
        while not self._enough.wait(self._BEAT_S):
            now = time.monotonic()
            if (late := now - before - self._BEAT_S) > self._USUAL_S:
                self._late.append((now, late))
            before = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join()
