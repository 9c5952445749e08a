"""Machines that run archvsync's own scripts, or pushmirror in their place, each behind an sshd of its own.

A machine is a home directory with ~/.config/ftpsync, ~/.ssh, a tree, and an rsync daemon that offers it. Its
`bin` is first in PATH and has its commands, and two programs that make one machine of many: `ssh` reads
that home's ~/.ssh/config (OpenSSH asks the password database where home is), and `sleep` shortens the five
seconds between two looks of the scripts at their barrier. All machines write into one journal when they
are woken and what they answer, so that the order of what happened anywhere can be read off.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomlkit

from pushmirror.lab.judge import OWN
from pushmirror.lab.services import HOST, Sshd, new_key, wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.system import process
from support.rsync_daemon import RsyncDaemon

SCRIPTS = ("ftpsync", "runmirrors")
needs_the_scripts = pytest.mark.skipif(
    not Path("/usr/bin/runmirrors").exists(), reason="needs Debian's package ftpsync"
)
#: What everybody says of itself.
ABOUT = {
    "maintainer": "Us <us@example.org>",
    "sponsor": "Them",
    "country": "DE",
    "location": "Here",
    "throughput": "10Gb",
}
#: What a trace has, in this order.
FIELDS = [
    "Date",
    "Date-Started",
    "Archive serial",
    "Used ftpsync version",
    "Creator",
    "Running on host",
    "Maintainer",
    "Sponsor",
    "Country",
    "Location",
    "Throughput",
    "Trigger",
    "Architectures",
    "Architectures-Configuration",
    "Upstream-mirror",
    "Rsync-Transport",
    "Total bytes received in rsync",
    "Total time spent in stage1 rsync",
    "Total time spent in stage2 rsync",
    "Total time spent in rsync",
    "Average rate",
]
OUR_FIELDS = ["Generation", "Strategy"]  # below these, in a trace of pushmirror
#: What no signed list of the lab names: with the strategy `index` it comes when `full_every` is over.
_UNLISTED = re.compile(
    r"(ls-lR\.gz|indices/\S+): other content .*|\S+/Packages\.diff/by-hash/\S+ is only in .*"
)
SOMETIMES = {"Total bytes received in rsync", "Average rate"}  # not after a run of nothing, or of no second
REST_S = 120.0  # until all that a push has started is over, on a busy machine
_LOOK_S = 0.1  # between two looks at all processes, which are some work themselves

_SSH = '#!/bin/sh\nexec /usr/bin/ssh -F "$HOME/.ssh/config" "$@"\n'
_SLEEP = '#!/bin/sh\n[ "$1" != 5 ] || set -- 0.4\nexec /bin/sleep "$@"\n'
#: MAILTO is nobody: no mail of a test leaves it.
_WOKEN = """\
#!/bin/sh
cd {home} || exit 99
export HOME={home} LOGNAME=mirror HOSTNAME={name} BASEDIR={home} MAILTO=' ' PATH={path}
unset XDG_STATE_HOME XDG_CONFIG_HOME
words="${{SSH_ORIGINAL_COMMAND-}} $*"
note() {{ printf '%s\\t%s\\t%s\\t%s\\n' {name} "$1" "$2" "$words" >>{journal}; }}
note begins -
{command} "$@"
code=$?
note ends "$code"
exit "$code"
"""
#: Root has its state in /var/lib; these machines have theirs below their home, as every other user's.
_OURS = """\
#!{python}
import os, sys
os.environ.setdefault("PUSHMIRROR_STATE", os.path.expanduser("~/.local/state/pushmirror"))
from pushmirror.archvsync_commands.{name} import main
sys.exit(main())
"""
_CALLED = """\
#!/bin/sh
printf '%s\\tcalled\\t-\\t%s\\n' {name} "$SSH_ORIGINAL_COMMAND" >>{journal}
"""
_SSH_HOST = """\
Host {name}
    HostName {host}
    Port {port}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}

"""


@dataclass(frozen=True)
class Event:
    """A machine was woken, has answered, or was called back."""

    machine: str
    what: str  # begins, ends, called
    exit_code: int | None  # of the end
    words: tuple[str, ...]

    @property
    def stage(self) -> str:
        """The stage that it was woken for; everything, if the words say nothing of it."""
        stages = [word[5:] for word in self.words if word in {"sync:stage1", "sync:stage2", "sync:all"}]
        return stages[-1] if stages else "all"


class Journal:
    """What happened on all machines, in its order."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def events(self) -> list[Event]:
        """All of it."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        rows = (line.split("\t") for line in lines)
        return [Event(n, what, None if c == "-" else int(c), tuple(w.split())) for n, what, c, w in rows]


def stages(events: Iterable[Event], machine: str) -> list[str]:
    """What a machine was woken for."""
    return [event.stage for event in events if (event.machine, event.what) == (machine, "begins")]


def failures(events: Iterable[Event]) -> list[Event]:
    """Every answer that is not 0."""
    return [event for event in events if event.exit_code]


def first(events: Sequence[Event], what: str, stage: str, *machines: str) -> int:
    """Where the first of these machines begins or ends a stage."""
    return min(_where(events, what, stage, machines))


def last(events: Sequence[Event], what: str, stage: str, *machines: str) -> int:
    """Where the last of these machines begins or ends a stage; all of them have to."""
    assert {events[at].machine for at in _where(events, what, stage, machines)} == set(machines)
    return max(_where(events, what, stage, machines))


def _where(events: Sequence[Event], what: str, stage: str, machines: Iterable[str]) -> list[int]:
    found = [(event.machine, event.what, event.stage) for event in events]
    return [at for at, (name, *rest) in enumerate(found) if name in machines and rest == [what, stage]]


class Machine(ABC):
    """One machine; nothing of it runs before it is started."""

    def __init__(self, home: Path, journal: Journal) -> None:
        self.home = home
        self.name = home.name
        self.tree = home / "mirrors" / ARCHIVE
        self.tree.parent.mkdir(parents=True)
        self.key = home / ".ssh" / "pushmirror"  # archvsync's default
        self.key.parent.mkdir(mode=0o700)
        self.public_key = new_key(self.key)
        self.sshd = Sshd(home / "sshd")
        self.daemon = RsyncDaemon(home / "rsyncd")
        self.daemon.add_module(ARCHIVE, self.tree)
        self._bin = home / "bin"
        self._bin.mkdir()
        _program(self._bin / "ssh", _SSH)
        _program(self._bin / "sleep", _SLEEP)
        self.woken = home / "woken"  # what an ssh key may run
        self._upstream_key = home / "upstream"
        self.lets_in(new_key(self._upstream_key))
        self._journal = journal

    def start(self) -> None:
        """Let others in."""
        text = _WOKEN.format(
            home=shlex.quote(str(self.home)),
            path=shlex.quote(f"{self._bin}:{_others_path()}"),
            name=self.name,
            journal=shlex.quote(str(self._journal.file)),
            command=shlex.join(self._command()),
        )
        _program(self.woken, text)
        self.sshd.start()
        self.daemon.start()

    def stop(self) -> None:
        """End it, with all that it does."""
        self.sshd.stop()
        self.daemon.stop()
        for pid in at_work(self.home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wake(self, *words: str) -> int:
        """Wake it as its own hub does; its answer."""
        argv = [*self.sshd.ssh_argv(self._upstream_key), " ".join(words)]
        return process.run(argv, timeout_s=REST_S).exit_code

    def knows(self, name: str, sshd: Sshd) -> None:
        """It can reach a machine by its name."""
        address = {"host": HOST, "port": sshd.port, "known_hosts": sshd.known_hosts}
        with (self.home / ".ssh" / "config").open("a") as file:
            file.write(_SSH_HOST.format(name=name, **address))

    def lets_in(self, public_key: str) -> None:
        """Whoever has this key may wake it."""
        self.sshd.authorize(public_key, command=str(self.woken))

    def may_be_called_by(self, site: Machine) -> None:
        """A site may call back, by what an operator of the scripts has to write for it himself."""
        command = self.home / "called"
        _program(command, _CALLED.format(name=self.name, journal=shlex.quote(str(self._journal.file))))
        self.sshd.authorize(site.public_key, command=str(command))

    @abstractmethod
    def follows(self, upstream: RsyncDaemon, *, keyring: Path) -> None:
        """It mirrors what this daemon offers; `keyring` is for who can use one."""

    @abstractmethod
    def wakes(self, *sites: tuple[str, Machine], callback: bool = False) -> None:
        """It is a hub of these, each after the way it is woken; `callback`: it asks them to call back."""

    @abstractmethod
    def calls(self, hub: Machine) -> None:
        """It calls back where it is asked to."""

    @abstractmethod
    def _command(self) -> list[str]:
        """What it runs when it is woken."""

    @property
    def trace(self) -> list[str]:
        """The lines of its own trace."""
        return (self.tree / "project/trace" / self.name).read_text().splitlines()

    @property
    def hierarchy(self) -> list[str]:
        """Those above it, from the origin down, and itself, as it shows them."""
        return (self.tree / "project/trace/_hierarchy").read_text().splitlines()


class Archvsync(Machine):
    """One that runs the scripts of Debian's package."""

    archive = ""  # the name it is woken by; empty: it is the main one

    def __init__(self, home: Path, journal: Journal) -> None:
        super().__init__(home, journal)
        for name in SCRIPTS:
            self._install(self._bin / name)

    def follows(self, upstream: RsyncDaemon, *, keyring: Path) -> None:  # noqa: ARG002 - it has no use for one
        port = f"--port={upstream.port}"
        where = {"RSYNC_HOST": HOST, "RSYNC_PATH": ARCHIVE, "RSYNC_EXTRA": port}
        self.configure("ftpsync", MIRRORNAME=self.name, TO=f"{self.tree}/", **where)
        self.configure("ftpsync", **{f"INFO_{name.upper()}": text for name, text in ABOUT.items()})

    def wakes(self, *sites: tuple[str, Machine], callback: bool = False) -> None:
        self.configure("ftpsync", HUB="true")
        self.configure("runmirrors", PUSHDELAY="1200", PUSHCB="true" if callback else "")
        lines = [f"{kind} {site.name} {site.name} {site.sshd.user}\n" for kind, site in sites]
        self._file("runmirrors", "mirror").write_text("".join(lines))
        for _, site in sites:
            self.knows(site.name, site.sshd)
            site.lets_in(self.public_key)

    def calls(self, hub: Machine) -> None:
        self.knows(hub.name, hub.sshd)
        who = {"CALLBACKHOST": hub.name, "CALLBACKUSER": hub.sshd.user, "CALLBACKKEY": self.key}
        self.configure("ftpsync", **who)

    def configure(self, command: str, **variables: object) -> None:
        """Add variables to the file of a command."""
        with self._file(command, "conf").open("a") as file:
            file.writelines(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items())

    def _file(self, command: str, kind: str) -> Path:
        etc = self.home / ".config" / "ftpsync"
        etc.mkdir(parents=True, exist_ok=True)
        return etc / (f"{command}-{self.archive}.{kind}" if self.archive else f"{command}.{kind}")

    def _install(self, command: Path) -> None:
        command.symlink_to(Path("/usr/bin") / command.name)

    def _command(self) -> list[str]:
        return [str(self._bin / "ftpsync")]


class DropIn(Archvsync):
    """One whose operator installed pushmirror and changed nothing."""

    def _install(self, command: Path) -> None:
        _program(command, _OURS.format(python=sys.executable, name=command.name))


class Native(Machine):
    """One with pushmirror's own configuration."""

    def __init__(self, home: Path, journal: Journal) -> None:
        super().__init__(home, journal)
        push = {"key": str(self.key), "retry_after": "1s", "retry_for": "30s"}
        sections = {"mirror": {"name": self.name, "running_on": self.name, **ABOUT}, "push": push}
        self.mirror = LabSite(home, tree=self.tree, sections=sections)

    def follows(self, upstream: RsyncDaemon, *, keyring: Path) -> None:
        self.mirror.configure(upstream=upstream.url(ARCHIVE), keyring=str(keyring))

    def wakes(self, *sites: tuple[str, Machine], callback: bool = False) -> None:
        (self.mirror.etc / "sites.d").mkdir()
        for kind, site in sites:
            address = {"host": HOST, "port": site.sshd.port, "user": site.sshd.user}
            keys = {**address, "push": kind, "archives": [ARCHIVE], "main_archive": ARCHIVE}
            keys["callback"] = callback
            (self.mirror.etc / "sites.d" / f"{site.name}.toml").write_text(tomlkit.dumps(keys))
            site.lets_in(self.public_key)

    def calls(self, hub: Machine) -> None:
        self.knows(hub.name, hub.sshd)
        self.mirror.configure(callback={"host": hub.name, "user": hub.sshd.user, "key": str(self.key)})

    def _command(self) -> list[str]:
        return self.mirror.argv("receive")


def names(tree: Path) -> set[str]:
    """All files and links of a tree, but for what every mirror has of its own."""
    found = (
        str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir() or path.is_symlink()
    )
    return {name for name in found if not OWN.fullmatch(name)}


def lacking(differences: Iterable[str], tree: Path, *, by_index: bool) -> list[str]:
    """Those of a tree's differences from the origin's which its grace does not explain.

    `by_index`: nor that this mirror, or one above it, asks indices what has changed.
    """
    found = [line for line in differences if not line.endswith(f"is only in {tree}")]
    return [line for line in found if not (by_index and _UNLISTED.fullmatch(line))]


def fields(trace: Sequence[str]) -> list[str]:
    """The names of a trace's fields, in their order."""
    return [line.partition(":")[0] for line in trace[1:]]


def value(trace: Sequence[str], field: str) -> str:
    """What a trace says in a field."""
    (found,) = [line.partition(": ")[2] for line in trace if line.startswith(f"{field}: ")]
    return found


@contextmanager
def started(machines: Sequence[Machine]) -> Iterator[None]:
    """All of them for a block."""
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda machine: machine.start(), machines))
        yield
    finally:
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda machine: machine.stop(), machines))


def rest(machines: Sequence[Machine], journal: Journal) -> None:
    """Wait until none of them does anything any more, or one of them has failed."""

    def busy() -> list[str]:
        homes = {home for _, home in _homes()}
        return [machine.name for machine in machines if os.fsencode(machine.home) in homes]

    def is_over() -> bool:  # looked at twice: one may be woken when it has been looked at
        time.sleep(_LOOK_S)
        return bool(failures(journal.events)) or (not busy() and not busy())

    assert wait_until(is_over, limit_s=REST_S), f"still at work: {busy()}"


def at_work(home: Path) -> list[int]:
    """Every process whose home this is."""
    return [pid for pid, its in _homes() if its == os.fsencode(home)]


def _homes() -> Iterator[tuple[int, bytes]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is not ours
            for line in (entry / "environ").read_bytes().split(b"\0"):
                if line.startswith(b"HOME="):
                    yield int(entry.name), line[5:]


def _others_path() -> str:
    """PATH without our own commands: those of the machine are meant."""
    ours = Path(sys.executable).parent
    return ":".join(one for one in os.environ["PATH"].split(":") if Path(one) != ours)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
