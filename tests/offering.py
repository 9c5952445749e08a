"""A hub's rsync daemon as pushmirror makes it, on the loopback, and what a client gets from it."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomlkit

from pushmirror.access import daemon_files, site_files
from pushmirror.config import loader
from pushmirror.config.model import Config
from pushmirror.lab.services import HOST, Service
from pushmirror.system import process

SLOW = ("--bwlimit=512",)  # KiB/s


class Offering(Service):
    """A configuration with archives, its trees, and `rsync --daemon` on what pushmirror writes."""

    greeting = b"@RSYNCD:"
    ends_by = signal.SIGKILL  # rsync waits for 0.4 s after a SIGTERM

    def __init__(self, directory: Path, **serve: object) -> None:
        super().__init__(directory)
        self.etc = directory / "etc"
        self.etc.mkdir()
        self.archives: dict[str, dict[str, object]] = {}
        self.serve = {"host": "localhost", **serve}

    @property
    def config(self) -> Config:
        return loader.load(self.etc)

    def offer(self, archive: str, **options: object) -> Path:
        """Configure an archive with a small tree; the tree."""
        tree = Path(str(options.get("path", self.directory / archive)))
        (tree / "dists").mkdir(parents=True, exist_ok=True)
        (tree / "dists" / "Release").write_text(f"{archive}\n")
        tree.chmod(0o755)
        self.archives[archive] = {"path": str(tree), **options}
        self.configure()
        return tree

    def configure(self, **serve: object) -> None:
        """Write the configuration, and the daemon's files when there is an address."""
        self.serve |= serve
        if self.port:
            self.serve["rsync"] = f"{HOST}:{self.port}"
        document = {
            "mirror": {"name": "hub.example.org"},
            "archives": self.archives,
            "serve": self.serve,
            "state": {"directory": str(self.directory / "state")},
            "push": {"key": str(self.directory / "key"), "addresses": ["192.0.2.7"]},
        }
        (self.etc / loader.FILE_NAME).write_text(tomlkit.dumps(document))
        if self.port:
            daemon_files.update(self.config)

    def run(self, *words: str) -> process.Result:
        """`pushmirror WORDS` on this hub."""
        argv = [sys.executable, "-m", "pushmirror", "--config", str(self.etc), *words]
        return process.run(argv, timeout_s=60)

    def add_site(self, name: str, *archives: str) -> str:
        """Add a site; its password."""
        keys = {"host": name, "user": "mirror", "archives": list(archives)}
        return site_files.add(self.config, name, keys)[1].password

    def login(self, name: str) -> tuple[str, str]:
        """The user and password that the site is told."""
        newest = daemon_files.logins(self.config)[name][-1]
        return newest.user, newest.password

    def url(self, archive: str, user: str = "") -> str:
        return f"rsync://{f'{user}@' if user else ''}{HOST}:{self.port}/{archive}"

    def pull(self, path: str, user: str = "", password: str = "", *words: str) -> process.Result:
        """What the rsync client makes of a path of the daemon; files go into `pulled`."""
        into = self.directory / "pulled"
        shutil.rmtree(into, ignore_errors=True)
        argv = ["rsync", "-rlt", *words, self.url(path, user), f"{into}/"]
        return process.run(argv, env={"RSYNC_PASSWORD": password}, timeout_s=60)

    def pulled(self) -> set[str]:
        """The files that the last pull got."""
        into = self.directory / "pulled"
        return {str(path.relative_to(into)) for path in into.rglob("*") if not path.is_dir()}

    def _argv(self) -> list[str]:
        self.configure()
        return daemon_files.rsync_argv(self.config)


class Stunnel(Service):
    """The TLS that pushmirror's configuration of stunnel makes for a hub."""

    def __init__(self, directory: Path, hub: Offering) -> None:
        super().__init__(directory)
        self.hub = hub
        self.ca_file, self.key = directory / "ca.pem", directory / "key.pem"
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        argv += ["-nodes", "-keyout", str(self.key), "-out", str(self.ca_file), "-days", "2"]
        argv += ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
        process.run(argv, timeout_s=60).check()
        self.key.chmod(0o600)

    def _argv(self) -> list[str]:
        self.hub.configure(
            rsync_tls=f"{HOST}:{self.port}", certificate=str(self.ca_file), certificate_key=str(self.key)
        )
        return daemon_files.stunnel_argv(self.hub.config) or []


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that other users can enter, unlike those of pytest."""
    directory = Path(tempfile.mkdtemp(prefix="pushmirror-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
