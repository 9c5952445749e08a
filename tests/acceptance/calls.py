"""Commands of a site that run beside a test, and what the site was asked for."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count

from pushmirror.errors import StateError
from pushmirror.lab.services import wait_until
from pushmirror.lab.site import LabSite
from pushmirror.state.records import Request
from pushmirror.state.store import open_store
from pushmirror.system import process

END_S = 60.0  # of a run that nothing holds up, on a busy machine


class Call:
    """A command of a site that runs beside the test."""

    def __init__(self, child: process.Background) -> None:
        self.pid = child.pid
        self._child = child

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def exit_code(self) -> int:
        """How it ended, as soon as it has; negative: the signal that ended it."""
        assert wait_until(lambda: not self.running, limit_s=END_S), "it did not end"
        code = self._child.poll()
        assert code is not None
        return code


Start = Callable[..., Call]


def requests(site: LabSite) -> list[Request]:
    """Everything that the site was ever asked for, oldest first."""
    store, found = open_store(f"sqlite:///{site.state / 'state.sqlite'}", site.state), list[Request]()
    try:
        with suppress(StateError):  # after the last one
            for number in count(1):
                found.append(store.request(number))
    finally:
        store.close()
    return found
