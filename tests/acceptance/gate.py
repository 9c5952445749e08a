"""A hook that lets runs through only when the test says so: slow runs without a sleep."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushmirror.lab.services import wait_until
from pushmirror.system import locks

_RUNS = 20  # that can be told apart
_LIMIT_S = 60  # a run that nobody lets through fails


class Gate:
    """Its `hook` is an argv list for `[archives.X.hooks]`."""

    def __init__(self, directory: Path) -> None:
        for number in range(1, _RUNS + 1):
            (directory / str(number)).mkdir(parents=True)
        self._directory = directory
        self._arrivals = directory / "arrivals"  # one byte a run
        self._arrivals.touch()
        script = f'echo >>"$0/arrivals"; exec flock --timeout {_LIMIT_S} "$0/$(wc -c <"$0/arrivals")" true'
        self.hook = ["sh", "-c", script, str(directory)]

    @contextmanager
    def closed(self, number: int = 1) -> Iterator[None]:
        """The run that comes as the `number`-th waits until the end of the block."""
        with locks.locked(self._directory / str(number)):
            yield

    def wait_for(self, number: int = 1) -> None:
        """Wait until so many runs have come."""

        def have_come() -> bool:
            return self._arrivals.stat().st_size >= number

        assert wait_until(have_come), f"only {self._arrivals.stat().st_size} runs came to the gate"
