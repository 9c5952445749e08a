from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offering import HOST, Offering, Stunnel
from pushmirror.access import kit
from pushmirror.config import loader
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.services import Sshd, new_key
from pushmirror.lab.signing import LabKey
from pushmirror.system import process

SITE = "site1.example.com"
OLD_PLACE = "/srv/mirrors"
ANNOUNCED = f"sync:generation:{'a' * 64}"  # a word that ftpsync does not know


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=5, key=lab_key)


@pytest.fixture
def hub(tmp_path: Path, archive: LabArchive) -> Iterator[Offering]:
    made = Offering(tmp_path / "hub", host="localhost")
    made.archives["debian"] = {"path": str(archive.path)}
    new_key(made.directory / "key")
    with made:
        yield made


def site_add(hub: Offering, *words: str) -> Any:
    """The kit as a program reads it."""
    argv = ("site", "add", SITE, "--host", SITE, "--user", "mirror", "--json", *words)
    return json.loads(hub.run(*argv).check().output)


def paste(snippets: Any, home: Path, trees: Path) -> None:
    """Do with the files of a kit what its reader does; the trees are where we may write."""
    trees.mkdir()
    for snippet in snippets:
        file = Path(snippet["path"].replace("~", str(home), 1))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=int(snippet["mode"], 8))
        file.write_text(snippet["text"].replace(OLD_PLACE, str(trees)))


def ftpsync(home: Path, words: str, **env: str) -> process.Result:
    login = {"HOME": str(home), "LOGNAME": "m", "PATH": os.defpath}  # not ours, which may be in front
    return process.run(["/usr/bin/ftpsync", *words.split()], env={**login, **env}, timeout_s=120)


def names(tree: Path) -> set[str]:
    found = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("project/trace/")}


@pytest.mark.parametrize(
    ("words", "trigger"),
    [
        ((), "sync:archive:debian"),
        (("--main-archive", "debian"), f"sync:archive: {ANNOUNCED} sync:all"),
    ],
)
def test_the_real_ftpsync_syncs_with_the_pasted_file(hub, archive, tmp_path, words, trigger):
    made = site_add(hub, *words)
    paste(made["ftpsync"], tmp_path, tmp_path / "trees")
    result = ftpsync(tmp_path, trigger)
    assert result.exit_code == 0, result.output
    ignored = f"Unknown option {ANNOUNCED} ignored"
    assert (ignored in result.output.decode() + result.errors) == (ANNOUNCED in trigger)
    assert names(tmp_path / "trees/debian") == names(archive.path)
    assert (tmp_path / "trees/debian/project/trace" / SITE).exists()


def test_the_real_ftpsync_syncs_through_tls_with_the_pasted_file(hub, archive, tmp_path):
    known = tmp_path / "known"
    known.mkdir()
    with Stunnel(tmp_path / "tls", hub) as tls:
        made = site_add(hub)
        shutil.copy(tls.ca_file, known)
        process.run(["openssl", "rehash", str(known)], timeout_s=60).check()
        made["ftpsync"][0]["text"] = made["ftpsync"][0]["text"].replace("/etc/ssl/certs", str(known))
        paste(made["ftpsync"], tmp_path, tmp_path / "trees")
        result = ftpsync(tmp_path, "sync:archive:debian")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "trees/debian") == names(archive.path)


def pushmirror(home: Path, *words: str) -> process.Result:
    argv = [sys.executable, "-m", "pushmirror", "--config", str(home / ".config/pushmirror"), *words]
    return process.run(argv, env={"HOME": str(home)}, timeout_s=120)


def test_pushmirror_syncs_with_the_pasted_files(hub, archive, tmp_path):
    made = site_add(hub)
    paste(made["pushmirror"], tmp_path, tmp_path / "trees")
    configure_state(tmp_path)
    pushmirror(tmp_path, "sync", "debian").check()
    assert names(archive.path) <= names(tmp_path / "trees/debian")


def test_pushmirror_syncs_through_tls_with_the_pasted_files(hub, archive, tmp_path):
    with Stunnel(tmp_path / "tls", hub) as tls:
        made = site_add(hub)
        for snippet in made["pushmirror"]:  # a certificate of our own making is not Debian's to know
            snippet["text"] = snippet["text"].replace("upstream =", f'tls_ca = "{tls.ca_file}"\nupstream =')
        paste(made["pushmirror"], tmp_path, tmp_path / "trees")
        configure_state(tmp_path)
        pushmirror(tmp_path, "sync", "debian").check()
    assert names(archive.path) <= names(tmp_path / "trees/debian")


def configure_state(home: Path) -> None:
    """Root's default state directory is not a test's to use."""
    with (home / ".config/pushmirror" / loader.FILE_NAME).open("a") as file:
        file.write(f'\n[state]\ndirectory = "{home}/state"\n')


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as running:
        yield running


def say(sshd: Sshd, key: Path, *words: str) -> process.Result:
    return process.run([*sshd.ssh_argv(key), *words], timeout_s=60)


@pytest.mark.parametrize("old_ssh", [False, True])
def test_the_key_runs_its_command_and_nothing_else(sshd, tmp_path, old_ssh):
    public = new_key(tmp_path / "key")
    sshd.authorize_line(kit.line(public, 'echo "only  this"', [HOST], old_ssh=old_ssh))
    assert say(sshd, tmp_path / "key", "cat", "/etc/passwd").check().output == b"only  this\n"
    *ssh, login = sshd.ssh_argv(tmp_path / "key")
    tunnel = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"]
    refused = process.run([*ssh, *tunnel, login], timeout_s=60)
    assert refused.exit_code != 0 and "forwarding" in refused.errors


def test_the_key_is_no_good_from_elsewhere(sshd, tmp_path):
    public = new_key(tmp_path / "key")
    sshd.authorize_line(kit.line(public, "echo in", ["192.0.2.7", "2001:db8::/32"]))
    result = say(sshd, tmp_path / "key", "x")
    assert result.exit_code == 255 and "Permission denied" in result.errors


def test_the_line_of_a_kit_is_one_that_sshd_takes(hub, sshd):
    line = site_add(hub)["authorized_keys"]["pushmirror"]
    assert line.startswith('restrict,from="192.0.2.7",command="/usr/local/bin/pushmirror receive" ssh-')
    sshd.authorize_line(line.replace("192.0.2.7", HOST).replace("/usr/local/bin/pushmirror", "/bin/echo"))
    assert say(sshd, hub.directory / "key", "sync:all").check().output == b"receive\n"
