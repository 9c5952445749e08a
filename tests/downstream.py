"""Sites below a hub, behind a real sshd: each writes down what it is sent, and answers as it is told.

A site is a directory and a key of its own, whose forced command is a small shell script. All sites of a
hub write into one file, so that the order of what happened at different sites can be read off.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from acceptance.processes import descendants, program
from pushmirror.lab.services import Sshd, new_key, wait_until
from pushmirror.system import locks

_HOSTS = [f"127.0.0.{number}" for number in range(1, 13)]  # sshd listens at no more than 16
_HELD_S = 60  # the longest that a held answer waits; a test takes less
_SCRIPT = f"""\
cd "$1" || exit 99
stage=${{SSH_ORIGINAL_COMMAND##*sync:}}
row='%s\\t%s\\t%s\\t%s\\t%s\\n'
note() {{ printf "$row" "$(date +%s.%N)" "${{PWD##*/}}" "$1" "$stage" "$2" >>../events; }}
note begins "$SSH_ORIGINAL_COMMAND"
[ ! -d "held-$stage" ] || flock --shared --timeout {_HELD_S} "held-$stage" true
answer=answer
[ ! -e "answer-$stage" ] || answer=answer-$stage
( . "./$answer" )
code=$?
note ends "$code"
exit "$code"
"""
#: An answer: the process that has our connection dies, as when the machine does.
DIES = """\
pid=$$
while read -r name <"/proc/$pid/comm" && case $name in sshd*) false ;; esac; do
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done
kill -s KILL "$pid"
sleep 10
"""
FLOOD = "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo the last line"


@dataclass(frozen=True)
class Event:
    """Something happened at a site."""

    at: float  # seconds
    site: str
    what: str  # begins, ends
    stage: str
    detail: str  # the words that it was sent, or the exit code of its answer


class SitesSshd(Sshd):
    """One sshd that is many hosts, for no two sites may have the same address."""

    def _argv(self) -> list[str]:
        argv = super()._argv()
        with (self.directory / "sshd_config").open("a") as file:
            file.writelines(f"ListenAddress {host}\n" for host in _HOSTS[1:])
        return argv


class Downstream:
    """The sites of one hub."""

    def __init__(self, directory: Path, sites_d: Path, sshd: SitesSshd) -> None:
        self.directory = directory
        self.sshd = sshd
        self._sites_d = sites_d
        for made in (directory, sites_d):
            made.mkdir(parents=True, exist_ok=True)
        self._script = directory / "site.sh"
        self._script.write_text(_SCRIPT)
        self._hosts = iter(_HOSTS)

    def add(self, name: str, *, sshd: SitesSshd | None = None, **keys: object) -> DownstreamSite:
        """A site that answers 0 to everything; `keys` are further ones of its file."""
        site = DownstreamSite(name, self.directory / name, self._sites_d / f"{name}.toml")
        site.directory.mkdir()
        site.answers("exit 0")
        where = sshd or self.sshd
        key = site.directory / "key"
        where.authorize(new_key(key), command=shlex.join(["sh", str(self._script), str(site.directory)]))
        address = {"host": next(self._hosts), "port": where.port, "user": where.user}
        site.configure(**{**address, "key": str(key), "archives": ["debian"], **keys})
        return site

    @property
    def events(self) -> list[Event]:
        """What happened, in order."""
        return _events(self.directory / "events")

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Each site and stage that was sent, in order."""
        return [(event.site, event.stage) for event in self.events if event.what == "begins"]

    def runs(self) -> list[int]:
        """The processes of triggers that have not ended, whether anybody still listens or not."""
        return [*descendants(self.sshd.pid or 0), *naming(self._script)]

    def position(self, site: str, what: str, stage: str) -> int:
        """Where in the order of events this happened first."""
        seen = [(event.site, event.what, event.stage) for event in self.events]
        return seen.index((site, what, stage))


class DownstreamSite:
    """One site."""

    def __init__(self, name: str, directory: Path, file: Path) -> None:
        self.name = name
        self.directory = directory
        self.file = file  # of the hub's configuration
        self._keys: dict[str, object] = {}

    def configure(self, **keys: object) -> None:
        """Change keys of its file at the hub; None takes one away."""
        self._keys = {key: value for key, value in {**self._keys, **keys}.items() if value is not None}
        _replace(self.file, tomlkit.dumps(self._keys))

    def answers(self, script: str, *, stage: str = "") -> None:
        """From now on it answers by this piece of a shell script: everything, or one stage."""
        _replace(self.directory / f"answer{stage and '-'}{stage}", f"{script}\n")

    @property
    def events(self) -> list[Event]:
        """What happened here."""
        return [event for event in _events(self.directory.parent / "events") if event.site == self.name]

    @property
    def sent(self) -> list[str]:
        """The stages that it was sent."""
        return [event.stage for event in self.events if event.what == "begins"]

    @property
    def words(self) -> list[str]:
        """The words that it was sent, as they came."""
        return [event.detail for event in self.events if event.what == "begins"]

    def wait_for(self, stage: str, times: int = 1) -> None:
        """Wait until it has been sent a stage so often."""
        assert wait_until(lambda: self.sent.count(stage) >= times), f"{self.name} was sent {self.sent}"

    @contextmanager
    def held(self, stage: str) -> Iterator[None]:
        """Its answer to this stage does not come before the end of the block."""
        directory = self.directory / f"held-{stage}"
        directory.mkdir(exist_ok=True)
        with locks.locked(directory):
            yield


def naming(path: Path) -> list[int]:
    """Every other process that names a path in its command line."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and str(path) in "\0".join(program(pid))]


def _events(file: Path) -> list[Event]:
    lines = file.read_text().splitlines() if file.exists() else []
    rows = (line.split("\t") for line in lines)
    return [Event(float(at), *rest) for at, *rest in rows]


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.replace(file)
