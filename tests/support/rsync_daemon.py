"""Real rsync daemons on the loopback, plain and behind TLS."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.errors import UsageError
from pushmirror.lab.services import HOST, Service
from pushmirror.system import process
from pushmirror.system.files import write_atomically


@dataclass(frozen=True, slots=True)
class Module:
    """A directory that the daemon offers."""

    name: str
    path: Path
    users: Mapping[str, str] = field(default_factory=dict)  # name -> password; none: open to all
    options: Mapping[str, str] = field(default_factory=dict)  # further lines of rsyncd.conf


class RsyncDaemon(Service):
    """`rsync --daemon`; modules can be added while it runs, since it reads its files for each connection."""

    greeting = b"@RSYNCD:"
    ends_by = signal.SIGKILL  # it has nothing to tidy up, and waits for 0.4 s after a SIGTERM

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.transfers = directory / "transfers.log"  # the daemon's own log: connections and files sent
        self._modules: dict[str, Module] = {}
        self._settings: dict[str, str] = {}
        self._write()

    def add_module(
        self,
        name: str,
        path: Path,
        users: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Offer `path` as module `name`, read-only, to `users` (name -> password) or to all."""
        self._modules[name] = Module(name, path, users or {}, options or {})
        self._write()

    def set_global(self, key: str, value: str) -> None:
        """Give the daemon a setting that is for all modules, or for none."""
        self._settings[key] = value
        self._write()

    def remove_module(self, name: str) -> None:
        """Do not offer a module any more."""
        del self._modules[name]
        self._write()

    def url(self, module: str, user: str | None = None, *, scheme: str = "rsync", port: int = 0) -> str:
        """The module's address; `port` is that of a tunnel, if not the daemon's own."""
        return f"{scheme}://{f'{user}@' if user else ''}{HOST}:{port or self.port}/{module}"

    def password(self, module: str, user: str) -> str:
        """What a user of a module has to say."""
        return self._modules[module].users[user]

    def _argv(self) -> list[str]:
        argv = ["rsync", "--daemon", "--no-detach", f"--config={self.directory / 'rsyncd.conf'}"]
        return [*argv, f"--address={HOST}", f"--port={self.port}", f"--log-file={self.transfers}"]

    def _write(self) -> None:
        lines = [
            "use chroot = no",
            "munge symlinks = no",  # without chroot, links would be changed
            "reverse lookup = no",
            "socket options = TCP_NODELAY",
            f"lock file = {self.directory / 'lock'}",
            "transfer logging = yes",
        ]
        if os.geteuid() == 0:
            lines += ["uid = 0", "gid = 0"]  # the default, nobody, cannot enter the test's directories
        lines += [f"{key} = {value}" for key, value in self._settings.items()]
        for module in self._modules.values():
            lines += [f"[{module.name}]", f"path = {module.path}", "read only = yes"]
            if module.users:
                secrets = self.directory / f"{module.name}.secrets"
                text = "".join(f"{user}:{password}\n" for user, password in module.users.items())
                write_atomically(secrets, text.encode(), mode=0o600, durable=False)
                lines += [f"auth users = {', '.join(module.users)}", f"secrets file = {secrets}"]
            lines += [f"{key} = {value}" for key, value in module.options.items()]
        text = "\n".join([*lines, ""])
        write_atomically(self.directory / "rsyncd.conf", text.encode(), durable=False)


class TlsTunnel(Service):
    """stunnel in front of a running daemon, with a certificate for the loopback that is its own authority."""

    def __init__(self, directory: Path, daemon: RsyncDaemon) -> None:
        super().__init__(directory)
        if not daemon.port:
            raise UsageError("the rsync daemon behind a TlsTunnel must be running, it is not")
        self._daemon = daemon
        self.ca_file = directory / "ca.pem"
        self._key = directory / "key.pem"
        argv = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        argv += ["-keyout", str(self._key), "-out", str(self.ca_file), "-days", "2", "-subj", "/CN=localhost"]
        argv += ["-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
        process.run(argv, timeout_s=600).check()
        self._key.chmod(0o600)

    def url(self, module: str, user: str | None = None) -> str:
        """The module's address by way of this tunnel."""
        return self._daemon.url(module, user, scheme="rsyncs", port=self.port)

    def _argv(self) -> list[str]:
        config = self.directory / "stunnel.conf"
        lines = ["foreground = yes", "pid =", "debug = 4", "[rsync]", f"accept = {HOST}:{self.port}"]
        lines += [f"connect = {HOST}:{self._daemon.port}", f"cert = {self.ca_file}", f"key = {self._key}"]
        config.write_text("\n".join([*lines, ""]))
        return ["stunnel4", str(config)]
