"""A hub and one site on the loopback: a signed archive behind rsync's daemon, a site behind sshd.

    hub ──ssh: sync:stage1 ──▶ sshd ──forced command──▶ pushmirror receive
     ▲                                                       │
     └────────────── rsync, with user and password ◀─────────┘

Guaranteed: everything is below one directory, and at the end of the block nothing of it runs any more, the
site's own runs included, which outlive the ssh connection that woke them.
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.service import HOST, wait_until
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.lab.sshd import Sshd, new_key
from pushmirror.system import process

USER = "site1.example.com"
_PUSH_S = 300.0  # the longest that a push may take
_ENDS_S = 10.0  # the longest that a run of the site takes to clear up after SIGTERM
_SSH_CONFIG = """\
Host site
    HostName {host}
    Port {port}
    User {user}
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site answered to one push."""

    words: str  # that were sent
    exit_code: int
    lines: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Network:
    """The lab's hub and site, while they run."""

    directory: Path
    archive: LabArchive  # the hub's
    daemon: RsyncDaemon
    site: LabSite
    sshd: Sshd  # the site's
    key: Path  # the hub's, which the site lets in for `receive` only

    @property
    def url(self) -> str:
        """Where the site fetches from."""
        return self.daemon.url(ARCHIVE, USER)

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: the site by the name of `site`."""
        return self.directory / "ssh_config"

    def push(self, words: str) -> Answer:
        """Wake the site as its push server does, and wait for its answer."""
        result = process.run([*self.sshd.ssh_argv(self.key), words], timeout_s=_PUSH_S)
        said = result.output.decode("utf-8", "replace") + result.errors
        return Answer(words, result.exit_code, tuple(said.strip().splitlines()), result.seconds)


@contextmanager
def network(directory: Path, *, packages: int) -> Iterator[Network]:
    """Make the archive, start the servers, configure the site; `directory` must be there and empty."""
    archive = LabArchive.create(directory / "hub", packages=packages)
    key = directory / "hub" / "push_key"
    public_key = new_key(key)
    with RsyncDaemon(directory / "hub" / "rsyncd") as daemon, Sshd(directory / "site" / "sshd") as sshd:
        password = secrets.token_urlsafe(12)
        daemon.add_module(ARCHIVE, archive.path, {USER: password})
        site = LabSite(
            directory / "site",
            upstream=daemon.url(ARCHIVE, USER),
            password=password,
            keyring=str(archive.keyring),
        )
        sshd.authorize(public_key, command=shlex.join(site.argv("receive")), options=("restrict",))
        made = Network(directory, archive, daemon, site, sshd, key)
        made.ssh_config.write_text(_ssh_config(made))
        try:
            yield made
        finally:
            _end_runs(made)


def _ssh_config(made: Network) -> str:
    return _SSH_CONFIG.format(
        host=HOST,
        port=made.sshd.port,
        user=made.sshd.user,
        key=made.key,
        known_hosts=made.sshd.known_hosts,
    )


def _end_runs(made: Network) -> None:
    """End what sshd has started: it is in no process group of ours and outlives its connection."""
    sessions = _descendants(made.sshd.pid) if made.sshd.pid else set()
    made.sshd.stop()

    def gone() -> bool:
        for pid in _receivers(made.site):
            _signal(pid, signal.SIGTERM)
        return not any(Path(f"/proc/{pid}").exists() for pid in sessions) and not _receivers(made.site)

    if not wait_until(gone, limit_s=_ENDS_S):
        for pid in _receivers(made.site):
            _signal(pid, signal.SIGKILL)


def _receivers(site: LabSite) -> list[int]:
    """The processes that run exactly our forced command, whose directory is nobody else's."""
    wanted = b"".join(os.fsencode(word) + b"\0" for word in site.argv("receive"))
    return [pid for pid in _pids() if _read(pid, "cmdline") == wanted]


def _descendants(ancestor: int) -> set[int]:
    parents = {
        pid: int(stat.rpartition(b")")[2].split()[1]) for pid in _pids() if (stat := _read(pid, "stat"))
    }
    found: set[int] = set()
    grown = {ancestor}
    while grown:
        found |= grown
        grown = {pid for pid, parent in parents.items() if parent in found} - found
    return found - {ancestor}


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has just ended, or is not ours
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
