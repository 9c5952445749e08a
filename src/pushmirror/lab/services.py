"""Servers on free ports of the loopback: started until they answer, stopped until they are gone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from pushmirror.errors import ProgramFailed, ProgramMissing
from pushmirror.system import process

HOST = "127.0.0.1"
_START_S = 120.0  # far longer than needed, also on a busy machine
_ATTEMPTS = 5  # another lab may take the port that was free a moment ago


class Service:
    """Runs between `start` and `stop`, or for a `with` block; keeps its port when it is started again.

    A subclass has its command line (`_argv`, called after the port is known) and, where a server sends
    something first, its `greeting`.
    """

    greeting = b""  # the first bytes that it sends; empty: accepting a connection is enough
    ends_by = signal.SIGTERM

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
        raise ProgramFailed(f"{type(self).__name__} did not start; its last lines: {' / '.join(words)}")

    def stop(self) -> None:
        """End it, with what it started."""
        if self._child and self._child.poll() is None:
            process.signal_group(self._child.pid, self.ends_by)
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
    """A TCP port on which no process listens at the moment."""
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
    """Call `condition` until it is true, at most for `limit_s`; returns its last value."""
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


# -- sshd on the loopback, with its own keys ---


_TIMEOUT_S = 600.0
_CONFIG = """\
ListenAddress {host}
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM {pam}
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitUserEnvironment yes
UseDNS no
SetEnv SHLVL=1
PrintMotd no
LogLevel VERBOSE
MaxStartups 200
MaxSessions 200
PerSourceMaxStartups none
{newer}"""
_NEWER = "PerSourcePenalties no\n"  # OpenSSH 9.8 and later; earlier ones refuse the word


class Sshd(Service):
    """`sshd -D`; keys can be authorized while it runs."""

    greeting = b"SSH-2.0-"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.known_hosts = directory / "known_hosts"
        self.authorized_keys = directory / "authorized_keys"
        self.host_key = new_key(directory / "host_key")
        self.authorized_keys.touch(mode=0o600)
        self._program = _sshd_program()

    def authorize(
        self,
        public_key: str,
        *,
        command: str | None = None,
        environment: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        """Authorize a key; with `command`, for that command line only (in the user's login shell).

        `environment` is set for the command, `options` are further words such as `no-pty`.
        """
        words = [f'environment="{name}={value}"' for name, value in (environment or {}).items()]
        if command is not None:
            quoted = command.replace('"', r"\"")  # the only character that sshd(8) needs escaped
            words.append(f'command="{quoted}"')
        self.authorize_line(f"{','.join([*words, *options])} {public_key}".strip())

    def authorize_line(self, line: str) -> None:
        """Add a line to authorized_keys."""
        with self.authorized_keys.open("a") as file:
            file.write(f"{line}\n")

    def ssh_argv(self, key: Path) -> list[str]:
        """An ssh command line up to the host; a remote command can follow."""
        settings = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-p", str(self.port), "-i", str(key), *words, f"{self.user}@{HOST}"]

    def _argv(self) -> list[str]:
        self.known_hosts.write_text(f"[{HOST}]:{self.port} {self.host_key}\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its empty directory for separated privileges
        config = self.directory / "sshd_config"
        pam = "yes" if _is_locked_root() else "no"
        for newer in (_NEWER, ""):
            text = _CONFIG.format(host=HOST, port=self.port, directory=self.directory, pam=pam, newer=newer)
            config.write_text(text)
            checked = process.run([self._program, "-t", "-f", str(config)], timeout_s=_TIMEOUT_S)
            if checked.exit_code == 0:
                break
        checked.check()
        return [self._program, "-D", "-e", "-f", str(config)]


def new_key(path: Path) -> str:
    """Make an ed25519 key pair at `path` and `path`.pub; the public key as one line."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)]
    process.run(argv, timeout_s=_TIMEOUT_S).check()
    return path.with_name(f"{path.name}.pub").read_text().strip()


def _sshd_program() -> str:
    path = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise ProgramMissing(
            "the program sshd was not found", hint="install the Debian package openssh-server"
        )
    return str(Path(path).absolute())  # sshd starts itself again and insists on an absolute path


def _is_locked_root() -> bool:
    """Whether we are root with a locked password: without PAM, sshd refuses such an account."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return os.geteuid() == 0 and any(line.startswith("root:!") for line in lines)
