"""A real sshd on the loopback, for the current user, with keys and a list of authorized keys of its own."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

from pushmirror.errors import ProgramMissing
from pushmirror.lab.service import HOST, Service
from pushmirror.system import process

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
        """Let a key in; with `command`, to run that command line only (in the user's login shell).

        `environment` is set for the command, `options` are further words such as `no-pty`.
        """
        words = [f'environment="{name}={value}"' for name, value in (environment or {}).items()]
        if command is not None:
            quoted = command.replace('"', r"\"")  # all that sshd(8) needs escaped
            words.append(f'command="{quoted}"')
        self.authorize_line(f"{','.join([*words, *options])} {public_key}".strip())

    def authorize_line(self, line: str) -> None:
        """Add a ready line to the list of authorized keys."""
        with self.authorized_keys.open("a") as file:
            file.write(f"{line}\n")

    def ssh_argv(self, key: Path) -> list[str]:
        """An ssh command line up to the host; words to send can follow."""
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
    """Whether we are root with a locked password: without PAM, sshd lets such an account in by no means."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return os.geteuid() == 0 and any(line.startswith("root:!") for line in lines)
