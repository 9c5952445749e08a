"""The programs that are measured, each with a mirror of its own below one directory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pushmirror
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.service import HOST
from pushmirror.lab.site import ARCHIVE, LabSite

USER, PASSWORD = "site1.example.com", "correct horse battery staple"  # of a daemon on the loopback


class Contender(Protocol):
    """Something that mirrors the module `debian` of a daemon into `tree`."""

    name: str
    tree: Path
    env: Mapping[str, str]

    def argv(self) -> Sequence[str]:
        """The command that syncs once."""
        ...

    def wipe(self) -> None:
        """Begin anew, with nothing."""
        ...

    def remember(self) -> None:
        """Keep what it knows beside its tree, ..."""
        ...

    def recall(self) -> None:
        """... and know that again, whatever was done since."""
        ...


class Ftpsync:
    """The real ftpsync of the Debian package, as its own documentation sets it up."""

    name: str = "ftpsync"

    def __init__(self, directory: Path, daemon: RsyncDaemon, keyring: Path) -> None:
        del keyring  # it checks no signatures
        self.tree: Path = directory / "tree"
        self._home = directory / "home"
        self.env: Mapping[str, str] = {"HOME": str(self._home), "LOGNAME": "bench"}
        config = self._home / ".config/ftpsync/ftpsync.conf"
        config.parent.mkdir(parents=True)
        lines = {
            "MIRRORNAME": "site.lab.example.org",
            "TRACEHOST": "site.lab.example.org",
            "TO": f"{self.tree}/",
            "RSYNC_HOST": HOST,
            "RSYNC_PATH": ARCHIVE,
            "RSYNC_USER": USER,
            "RSYNC_PASSWORD": PASSWORD,
            "RSYNC_EXTRA": f"--port={daemon.port}",  # host::path has no place for it
        }
        config.write_text("".join(f'{key}="{value}"\n' for key, value in lines.items()))

    def argv(self) -> Sequence[str]:
        return ["/usr/bin/ftpsync"]  # not ours, which ./run has in front of it

    def wipe(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.rmtree(self._home / ".local", ignore_errors=True)

    def remember(self) -> None:
        """It knows nothing but its tree."""

    def recall(self) -> None:
        """See remember."""


class Ours:
    """pushmirror by its command line. It has the keyring: it checks what ftpsync takes on trust."""

    name: str = "pushmirror"
    grace = "36h"  # the default
    source = Path(pushmirror.__file__).parent.parent  # of the version to measure

    def __init__(self, directory: Path, daemon: RsyncDaemon, keyring: Path) -> None:
        self.env: Mapping[str, str] = {"PYTHONPATH": str(self.source)}
        self._directory = directory
        self._kept = directory.with_name(f"{directory.name}.kept")
        upstream = daemon.url(ARCHIVE, USER)
        self._options = {"upstream": upstream, "keyring": str(keyring), "grace": self.grace}
        self._site = self._new_site()
        self.tree: Path = self._site.tree

    def argv(self) -> Sequence[str]:
        return self._site.argv("sync", ARCHIVE)

    def profile_argv(self, output: Path) -> Sequence[str]:
        """The same, under Python's profiler."""
        python, *rest = self.argv()
        return [python, "-m", "cProfile", "-o", str(output), *rest]

    def wipe(self) -> None:
        shutil.rmtree(self._directory)
        self._site = self._new_site()

    def remember(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._site.state, self._kept)

    def recall(self) -> None:
        shutil.rmtree(self._site.state)
        shutil.copytree(self._kept, self._site.state)

    def _new_site(self) -> LabSite:
        return LabSite(self._directory, password=PASSWORD, **self._options)


CONTENDERS: dict[str, type[Ftpsync] | type[Ours]] = {"ftpsync": Ftpsync, "pushmirror": Ours}
