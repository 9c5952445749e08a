"""Hundreds of sites that can be woken: a few real sshd's, and a forced command that notes when it ran.

A site is an address and a port of the loopback; a push server cannot tell it from a machine of its own.
Each trigger runs a small shell script that adds a line to one file as it begins and as it ends. Stage 1 lasts
until the gate is opened, and then up to two seconds more, as sites are not ready at the same instant;
stage 2 ends at once. What is left out: mirrors, archives, everything that a trigger is for.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.meter import stat
from pushmirror.lab.services import HOST, Sshd, new_key
from pushmirror.system import locks

_ADDRESSES = 16  # that one sshd listens on; it takes no more
_TICKS = os.sysconf("SC_CLK_TCK")
_SCRIPT = """\
site=${{SSH_CONNECTION#* * }}
site=${{site/ /:}}
case $SSH_ORIGINAL_COMMAND in *sync:stage1*) stage=stage1 ;; *) stage=stage2 ;; esac
echo "$site $stage begins $EPOCHREALTIME" >>{events}
if [ $stage = stage1 ]; then
    exec 9<{gate}
    flock -s 9
    ready=${{site%:*}}
    ready=$((${{ready##*.}} * 125))
    [ "$site" != "{slow}" ] || ready={slow_ms}
    sleep $((ready / 1000)).$(printf %03d $((ready % 1000)))
fi
echo "$site $stage ends $EPOCHREALTIME" >>{events}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site is woken."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Event:
    """One line that a site's command wrote."""

    site: str  # host:port
    stage: str  # stage1, stage2
    what: str  # begins, ends
    at: float  # seconds, the same clock as time.time()


class Sites:
    """As many sites as asked for, between the begin and the end of a `with` block."""

    def __init__(self, directory: Path, count: int) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        self._gate = directory / "gate"
        self._gate.mkdir(parents=True)
        self._events = directory / "events"
        self._script = directory / "site.sh"
        self._stack = ExitStack()
        self.directory = directory
        self.key = directory / "key"
        self.known_hosts = directory / "known_hosts"
        self._sshds = [_Sshd(directory / f"sshd{n}") for n in range(-(-count // _ADDRESSES))]
        self.user = self._sshds[0].user
        self.places: list[Place] = []
        self._count = count
        self.answer_as_usual()

    def __enter__(self) -> Self:
        public_key = new_key(self.key)
        known = []
        for sshd in self._sshds:
            command = shlex.join(["exec", "bash", str(self._script)])
            # A bash that sshd starts reads ~/.bashrc, which may cost more than all the rest; not on level 2.
            sshd.authorize(public_key, command=command, environment={"SHLVL": "1"})
            self._stack.enter_context(sshd)
            some = [Place(address, sshd.port) for address in _addresses()]
            self.places += some[: self._count - len(self.places)]
            known += [f"[{place.host}]:{place.port} {sshd.host_key}\n" for place in some]
        self.known_hosts.write_text("".join(known))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def answer_as_usual(self) -> None:
        """Every site ends stage 1 within two seconds."""
        self._write_script("", 0)

    def slow_down(self, place: Place, seconds: float) -> None:
        """Let this site take so long for stage 1, but nobody else."""
        self._write_script(str(place), round(seconds * 1000))

    def _write_script(self, slow: str, slow_ms: int) -> None:
        events, gate = shlex.quote(str(self._events)), shlex.quote(str(self._gate))
        self._script.write_text(_SCRIPT.format(events=events, gate=gate, slow=slow, slow_ms=slow_ms))

    def gate(self) -> AbstractContextManager[bool]:
        """Keep stage 1 from ending until the end of the block."""
        return locks.locked(self._gate)

    def forget(self) -> None:
        """Begin a new list of events."""
        self._events.write_text("")

    def events(self) -> list[Event]:
        """What has happened since."""
        lines = [line.split() for line in self._events.read_text().splitlines()]
        return [Event(site, stage, what, float(at)) for site, stage, what, at in lines]

    def cpu_s(self) -> float:
        """Processor time of all sites until now, of ended connections and their commands."""
        fields = [stat(sshd.pid) for sshd in self._sshds if sshd.pid]
        return sum(sum(map(int, numbers[11:15])) for numbers in fields) / _TICKS


@contextmanager
def silent_place() -> Iterator[Place]:
    """A host that hangs: connections to it are made, and nothing is ever said."""
    with socket.create_server((HOST, 0)) as server:
        yield Place(*server.getsockname())


class _Sshd(Sshd):
    """One that listens on several addresses."""

    def _argv(self) -> list[str]:
        argv = super()._argv()
        with (self.directory / "sshd_config").open("a") as config:
            config.writelines(f"ListenAddress {address}\n" for address in _addresses()[1:])
        return argv


def _addresses() -> list[str]:
    return [f"127.0.0.{number}" for number in range(1, _ADDRESSES + 1)]
