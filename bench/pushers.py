"""The push servers that are measured, each with the same sites, their host keys known."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import tomlkit

from bench.ours import Ours
from bench.sites import Place, Sites
from pushmirror.lab.site import ARCHIVE
from pushmirror.system import process


class Pusher(Protocol):
    """Something that wakes sites in two stages."""

    name: str
    env: Mapping[str, str]

    def prepare(self, places: Sequence[Place], *, patience_s: int | None = None) -> None:
        """Have something to push to sites at these places.

        `patience_s` is how long stage 2 waits for sites that do not have stage 1; none: the default.
        """
        ...

    def argv(self) -> Sequence[str]:
        """The command that pushes it."""
        ...


class Runmirrors:
    """The real runmirrors of Debian's package ftpsync, as its documentation sets it up."""

    name: str = "runmirrors"
    ssh_options = ""  # further ones, in SSH_OPTS

    def __init__(self, directory: Path, sites: Sites) -> None:
        self._home = directory / self.name
        self._sites = sites
        # Without BASEDIR the packaged one ends at once (archvsync.md, 23).
        self.env: Mapping[str, str] = {
            "HOME": str(self._home),
            "LOGNAME": "bench",
            "BASEDIR": str(self._home),
        }

    def prepare(self, places: Sequence[Place], *, patience_s: int | None = None) -> None:
        shutil.rmtree(self._home, ignore_errors=True)  # a stale lock would release stage 2 at once
        etc = self._home / ".config/ftpsync"
        etc.mkdir(parents=True)
        ssh = f"-F none -o StrictHostKeyChecking=yes -o UserKnownHostsFile={self._sites.known_hosts}"
        ssh = f"{ssh} {self.ssh_options}".strip()
        lines = {"KEYFILE": str(self._sites.key), "SSH_OPTS": ssh}
        if patience_s is not None:
            lines["PUSHDELAY"] = str(patience_s)
        (etc / "runmirrors.conf").write_text("".join(f'{key}="{value}"\n' for key, value in lines.items()))
        mirrors = (
            f"staged site{number} {place.host} {self._sites.user} -p {place.port}\n"
            for number, place in enumerate(places)
        )
        (etc / "runmirrors.mirror").write_text("".join(mirrors))

    def argv(self) -> Sequence[str]:
        return ["/usr/bin/runmirrors"]  # not ours, which ./run has in front of it


class Pushmirror:
    """`pushmirror push`, from its start: reading a file for each site is part of it."""

    name: str = "pushmirror"

    def __init__(self, directory: Path, sites: Sites) -> None:
        self._directory = directory / self.name
        self._sites = sites
        self._pushes = 0
        self.env: Mapping[str, str] = {"PYTHONPATH": str(Ours.source)}
        shutil.rmtree(self._directory, ignore_errors=True)

    def prepare(self, places: Sequence[Place], *, patience_s: int | None = None) -> None:
        self._configure(places, patience_s)
        self._pushes += 1
        tree = self._directory / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "file").write_text(f"{self._pushes}\n")  # another generation
        process.run(self._run("sync", ARCHIVE, "--no-push"), env=self.env, timeout_s=60).check()

    def argv(self) -> Sequence[str]:
        return self._run("push", ARCHIVE)

    def _configure(self, places: Sequence[Place], patience_s: int | None) -> None:
        etc = self._directory / "etc"
        shutil.rmtree(etc, ignore_errors=True)
        (etc / "sites.d").mkdir(parents=True)
        push: dict[str, object] = {
            "key": str(self._sites.key),
            "known_hosts": str(self._sites.known_hosts),
        }
        if patience_s is not None:
            push["deadline"] = f"{patience_s}s"
        document = {
            "mirror": {"name": "hub.lab.example.org"},
            "archives": {ARCHIVE: {"path": str(self._directory / "tree")}},
            "push": push,
            "state": {"directory": str(self._directory / "state")},
        }
        (etc / "pushmirror.toml").write_text(tomlkit.dumps(document))
        for number, place in enumerate(places):
            site = {"host": place.host, "port": place.port, "user": self._sites.user, "archives": [ARCHIVE]}
            lines = (f"{key} = {json.dumps(value)}\n" for key, value in site.items())
            (etc / "sites.d" / f"site{number}.toml").write_text("".join(lines))

    def _run(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pushmirror", "--config", str(self._directory / "etc"), *words]


PUSHERS: dict[str, type[Runmirrors] | type[Pushmirror]] = {
    "runmirrors": Runmirrors,
    "pushmirror": Pushmirror,
}
