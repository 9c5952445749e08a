"""A limit for reading: one token bucket of bytes for all readers together.

Pure but for `Throttle`, which keeps its state in memory that several processes share. Network transfers are
not limited here; `bandwidth_limit` of an archive is rsync's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized

from pushmirror.errors import Stopped

BURST_S = 0.5  # an idle bucket fills for so long, no longer
_LOOK_S = 0.1  # how often who waits looks whether it is to stop


def reserve(paid_until: float, now: float, *, size: int, rate: float) -> tuple[float, float]:
    """Reserve `size` bytes from a bucket that fills with `rate` bytes per second.

    `paid_until` is the time when all that was reserved so far will have flowed in. Returns this time after
    the reservation, and the seconds to wait before reading.
    """
    start = max(paid_until, now - BURST_S)
    return start + size / rate, max(0.0, start - now)


@dataclass(frozen=True, slots=True)
class Throttle:
    """The bucket and the stop flag that several readers share."""

    paid_until: Synchronized[float]
    stop: Synchronized[int]  # anything but 0: stop
    read: Synchronized[int]  # bytes, by all readers together
    rate: int = 0  # bytes a second, all readers together; 0: without a limit
    clock: Callable[[], float] = time.monotonic

    def wait_for(self, size: int) -> None:
        """Wait until so many bytes may be read. Raises Stopped when the readers should stop."""
        if self.stop.value:
            raise Stopped("verify was asked to stop")
        if size:
            with self.read.get_lock():
                self.read.value += size
        if not self.rate:
            return
        with self.paid_until.get_lock():
            now = self.clock()
            self.paid_until.value, wait_s = reserve(self.paid_until.value, now, size=size, rate=self.rate)
        until = now + wait_s
        while (left := until - self.clock()) > 0:
            time.sleep(min(left, _LOOK_S))
            if self.stop.value:
                raise Stopped("verify was asked to stop")
