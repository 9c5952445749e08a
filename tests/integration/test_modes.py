"""Who may read and write what pushmirror makes, whatever the umask: all files of a hub and of its site."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tomlkit

from forked import Cli
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.services import Sshd, free_port, says, wait_until
from pushmirror.system import process

SITE = "a.example.org"
SECRET, SECRETS, FILE, DIRECTORY = 0o600, 0o700, 0o644, 0o755
#: The mode of a path, by the first pattern that fits all of it; directories end in a slash.
EXPECTED = (
    (r".*/[^/]+\.secret", SECRET),  # passwords, of sites and for upstream
    (r".*/\.ssh/", SECRETS),
    (r".*/\.ssh/key", SECRET),
    (r"hub/state/rsyncd/", SECRETS),
    (r"hub/state/rsyncd/secrets", SECRET),
    (r"hub/state/(rsyncd/rsyncd\.conf|known_hosts)", FILE),
    (
        r"hub/state/manifests/(.*/)?",
        DIRECTORY,
    ),  # what sites and clients read: by rsync's daemon and web servers
    (r"hub/state/manifests/.*", FILE),
    (r"site/tree/(.*/)?", DIRECTORY),
    (r"site/tree/.*", FILE),
    (r".*/etc/(sites\.d/)?", DIRECTORY),  # root, too, and who asks for the status read the configuration
    (r".*/etc/.*", FILE),
)
#: Of everything else there only must be nobody who can write it beside its owner.
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Operator:
    """Who runs a pushmirror, with a home."""

    def __init__(self, cli: Cli, home: Path, tree: Path) -> None:
        self.home, self.tree, self.etc = home, tree, home / "etc"
        self.env = {"HOME": str(home)}
        self._cli = cli

    def run(self, *words: str) -> process.Result:
        return self._cli.run(["--config", str(self.etc), *words], env=self.env, timeout_s=300).check()

    def argv(self, *words: str) -> list[str]:
        """The same as a process that is started afresh."""
        return [sys.executable, "-m", "pushmirror", "--config", str(self.etc), *words]

    def init(self, *words: str) -> str:
        """Begin; the public key."""
        places = ("--path", str(self.tree), "--state", f"{self.home}/state", "--key", f"{self.home}/.ssh/key")
        name = ("--archive", "debian", "--mirror-name", f"{self.home.name}.example.org")
        key: str = json.loads(self.run("init", "--json", *name, *places, *words).output)["public_key"]
        return key

    def serve_at(self, port: int) -> None:
        """Have `serve` listen there."""
        file = self.etc / "pushmirror.toml"
        document = tomlkit.parse(file.read_text())
        document["serve"] = {"host": "127.0.0.1", "rsync": f"127.0.0.1:{port}"}
        file.write_text(tomlkit.dumps(document))

    def modes(self) -> dict[str, int]:
        """What is there now, as EXPECTED names it; links have no mode."""
        return {
            f"{path.relative_to(self.home.parent)}{'/' * path.is_dir()}": stat.S_IMODE(path.stat().st_mode)
            for path in self.home.rglob("*")
            if not path.is_symlink()
        }


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o077], ids=["000", "077"])
def test_secrets_are_private_what_is_served_is_public_and_nothing_is_for_others_to_write(
    tmp_path: Path, cli: Cli, mask: int
) -> None:
    archive = LabArchive.create(tmp_path / "archive", packages=2, suites=SUITES[:1])
    hub = Operator(cli, tmp_path / "hub", archive.path)
    site = Operator(cli, tmp_path / "site", tmp_path / "site/tree")
    port = free_port()
    with umask(mask), Sshd(tmp_path / "sshd") as sshd:
        key = hub.init()
        hub.serve_at(port)
        address = ("--host", "127.0.0.1", "--port", str(sshd.port), "--user", sshd.user, "--push", "staged")
        kit = json.loads(hub.run("site", "add", SITE, *address, "--archive", "debian", "--json").output)
        url, secret = f"rsync://{kit['user']}@127.0.0.1:{port}/debian", site.etc / "upstream.secret"
        site.init("--upstream", url, "--password-file", str(secret), "--keyring", str(archive.keyring))
        secret.write_text(kit["password"])
        receive = f"umask {mask:03o}; exec {shlex.join(site.argv('receive'))}"
        sshd.authorize(key, command=receive, options=("restrict",))
        with process.background(hub.argv("serve", "--no-push"), env=hub.env, log=tmp_path / "log"):
            assert wait_until(lambda: says(port, b"@RSYNCD:"))
            for _ in range(2):
                with umask(0o022):  # it is the owner's program that makes the archive
                    archive.update()
                hub.run("sync")  # which leaves the push to a process in the background
                hub.run("push")
            found = hub.modes() | site.modes()  # the files that are there only while something runs, too
        hub.run("site", "rotate", SITE)
        site.run("verify")
        found |= hub.modes() | site.modes()
    patterns = {pattern for path in found if (pattern := pattern_of(path))}
    assert patterns == {pattern for pattern, _ in EXPECTED}
    assert {path: oct(mode) for path, mode in found.items() if not is_right(path, mode)} == {}


def pattern_of(path: str) -> str | None:
    return next((pattern for pattern, _ in EXPECTED if re.fullmatch(pattern, path)), None)


def is_right(path: str, mode: int) -> bool:
    expected = dict(EXPECTED).get(pattern_of(path) or "")
    return not mode & OTHERS_WRITE if expected is None else mode == expected
