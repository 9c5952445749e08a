"""What an upstream may do wrong: each changes its tree, its manifest or its daemon, as chance has it.

None of it says what a site is to make of it. Whoever asks for it puts tree and manifest back afterwards.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pushmirror.errors import PushmirrorError
from pushmirror.lab.dists import RELEASE_FILES
from pushmirror.lab.signing import LabKey
from support.damage import lose_file, spoil_file, truncate_file
from support.published import generation_files
from support.rsync_daemon import RsyncDaemon
from upstreams import OwnedArchive

#: What no signed list names, and nobody but an upstream that means harm puts there.
PLANTED = (
    ".htaccess",
    "index.html",
    "doc/evil.txt",
    "pool/main/e/evil/evil_1_all.deb",
    "dists/sid/evil.html",
)
_CONTROL = ("a\x01b", "a\nb", "a\rb", "\x1b[2J", "\x7f", "a\tb", "\udcff\udcfe", " ", "-rf", "*", "a\\#012b")
_NOT_KEPT = {"key", "keyring.gpg", "incoming"}  # beside an archive's tree
_GREETINGS = (
    b">f+++++++++ 12 2026/01/01-00:00:00 dists/x\nNumber of files: 99\n",
    b"> welcome\n>> to the mirror\n",
    b"@ hello\n@RSYNCD: mirrors\n",
    b"*deleting   pool\n",
    bytes(range(1, 256)) + b"\n",
    b"welcome to the mirror\n" * 3000,
    b"cd+++++++++ 0 2026/01/01-00:00:00 ../x/\n",
)


@dataclass(slots=True)
class Kept:
    """An archive as it was, to be put back: its tree, its manifest, and what its owner knows."""

    archive: OwnedArchive
    copy: Path

    def keep(self) -> None:
        """Remember what is there."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.mkdir()
        for place in self._places():
            _copy(place, self.copy / place.name)

    def put_back(self) -> None:
        """Have it again."""
        for place in self._places():
            _remove(place)
        for kept in self.copy.iterdir():
            _copy(kept, self.archive.path.parent / kept.name)

    def _places(self) -> list[Path]:
        return [path for path in self.archive.path.parent.iterdir() if path.name not in _NOT_KEPT]


def _copy(path: Path, to: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, to, symlinks=True)
    else:
        shutil.copy2(path, to)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who misbehaves, by which choices, and what must not be touched."""

    archive: OwnedArchive
    kept: Kept
    daemon: RsyncDaemon
    evil: LabKey
    outside: Path  # a directory that is nobody's business
    random: Random
    signed: set[bytes] = field(default_factory=set)  # each InRelease that was ever rightly signed

    def sign(self) -> None:
        """Remember what is signed now."""
        files = generation_files(self.archive)
        self.signed.update(text for path, text in files.items() if path.endswith("/InRelease"))

    def update(self, *, add: int = 3, replace: int = 3) -> None:
        """Publish a next state, which is what is put back in the end."""
        self.archive.update(add=add, replace=replace)
        self.sign()
        self.kept.keep()

    def take_stock(self) -> None:
        """Have the manifest tell of what is there, wrong as it is, if its owner can."""
        with suppress(PushmirrorError, OSError):
            self.archive.take_stock()

    @property
    def tree(self) -> Path:
        return self.archive.path

    def files(self, *, among: str = "") -> list[str]:
        """Paths of some files of the tree, at least one, those with `among` in them."""
        there = sorted(
            str(path.relative_to(self.tree))
            for path in self.tree.rglob("*")
            if path.is_file() and not path.is_symlink() and among in str(path)
        )
        return self.random.sample(there, min(len(there), self.random.choice((1, 1, 3, 40))))

    def directories(self) -> list[Path]:
        there = sorted(path for path in self.tree.rglob("*") if path.is_dir() and not path.is_symlink())
        return self.random.sample(there, min(len(there), 3))


def become_directories(up: Upstream) -> None:
    """Files, most of which signed indices name, are directories."""
    for path in up.files(among=up.random.choice(("pool/", "by-hash/", "binary-", "Release", ""))):
        (up.tree / path).unlink()
        (up.tree / path).mkdir()
        if up.random.random() < 0.5:
            (up.tree / path / "file").write_bytes(b"something else")


def become_links(up: Upstream) -> None:
    """Files are links: to others, to nothing, to themselves, out of the tree."""
    for path in up.files(among=up.random.choice(("pool/", "by-hash/", "binary-", "Release", ""))):
        place = up.tree / path
        place.unlink()
        ways = ("nothing", place.name, "/etc/passwd", os.path.relpath(up.tree / "README", place.parent))
        place.symlink_to(up.random.choice((*ways, "../" * path.count("/") + "../outside/precious")))


def directories_become_links(up: Upstream) -> None:
    """Whole directories lead elsewhere."""
    for place in up.directories():
        if place.is_dir():
            shutil.rmtree(place)
            place.symlink_to(up.random.choice(("/etc", str(up.outside), ".", "..", "nothing")))


def by_hash_are_links(up: Upstream) -> None:
    """By-hash names are links to the names of one kind of hash."""
    for path in up.files(among="by-hash/SHA256/"):
        place = up.tree / path
        data, directory = place.read_bytes(), place.parent.parent
        same = [one for one in (directory / "MD5Sum").glob("*") if one.is_file() and one.read_bytes() == data]
        if same:
            place.unlink()
            place.symlink_to(f"../MD5Sum/{same[0].name}")


def greeting(up: Upstream) -> None:
    """The daemon says something before it answers."""
    motd = up.daemon.directory / "motd"
    noise = up.random.randbytes(up.random.randrange(2000)).replace(b"\0", b"") + b"\n"
    motd.write_bytes(up.random.choice((*_GREETINGS, noise)))
    up.daemon.set_global("motd file", str(motd))


def silence(up: Upstream) -> None:
    """The opposite of a greeting."""
    up.daemon.set_global("motd file", os.devnull)


def between_release_files(up: Upstream) -> None:
    """Some of a suite's Release files are of another state than the others."""
    suites = up.random.sample(up.archive.dists.suites, k=2)
    names = up.random.sample(RELEASE_FILES, k=up.random.choice((1, 2)))
    places = [up.tree / suite.release_directory / name for suite in suites for name in names]
    old = {place: place.read_bytes() for place in places}
    up.update()
    for place, data in old.items():
        place.write_bytes(data)


def older_state(up: Upstream) -> None:
    """A suite's Release files, all of them, are those of the state before."""
    suite = up.random.choice(up.archive.dists.suites)
    places = [up.tree / suite.release_directory / name for name in RELEASE_FILES]
    old = {place: place.read_bytes() for place in places}
    up.update()
    for place, data in old.items():
        place.write_bytes(data)


def signed_by_another(up: Upstream) -> None:
    """All is signed by a key that nobody knows, and there is more in the tree than before."""
    _plant(up)
    with up.evil.unlocked() as signer:
        for suite in up.archive.dists.suites:
            directory = up.tree / suite.release_directory
            text = (directory / "Release").read_bytes()
            text = up.random.choice((text, text.replace(b"Origin: ", b"Origin: Other ")))
            (directory / "Release").write_bytes(text)
            (directory / "InRelease").write_bytes(signer.clear(text))
            (directory / "Release.gpg").write_bytes(signer.detached(text))


def _plant(up: Upstream) -> None:
    for path in PLANTED:
        (up.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (up.tree / path).write_bytes(b"evil " + path.encode())


def odd_names(up: Upstream) -> None:
    """Names with characters that no name should have, of every kind."""
    for directory in up.directories():
        place = directory / up.random.choice(_CONTROL)
        with suppress(FileExistsError):
            kind = up.random.randrange(3)
            if kind == 0:
                place.write_bytes(b"odd")
            elif kind == 1:
                place.symlink_to(up.random.choice(("nothing", ".", "a\nb", "/etc")))
            else:
                place.mkdir()
                (place / up.random.choice(_CONTROL)).write_bytes(b"odd")


def no_files(up: Upstream) -> None:
    """Pipes, sockets and devices, some in the place of files."""
    for path in up.files():
        place, kind = up.tree / path, up.random.randrange(3)
        if kind and up.random.random() < 0.5:
            place.unlink()
        else:  # a pipe always: the judge would wait for what nobody writes
            place = place.with_name(f"{place.name}.odd")
        if kind == 0:
            os.mkfifo(place)
        elif kind == 1:
            here = socket.socket(socket.AF_UNIX)
            with here, suppress(OSError):  # the path is too long for one
                here.bind(str(place))
        else:
            with suppress(OSError):
                os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def damage(up: Upstream) -> None:
    """Files are cut, have a byte that is wrong, or have gone."""
    for path in up.files(among=up.random.choice(("pool/", "by-hash/", "binary-", "Release", ""))):
        with suppress(FileNotFoundError, IndexError):  # a link to what has gone, an empty one
            ways = (spoil_file, truncate_file, lose_file)
            up.random.choice(ways)(up.archive, path)


def no_release(up: Upstream) -> None:
    """A suite's Release files hold anything, or nothing."""
    suite = up.random.choice(up.archive.dists.suites)
    texts = (b"", b"\n", b"<html>404</html>", bytes(5000), up.random.randbytes(3000), b"SHA256:\n x 5 z\n")
    for name in up.random.sample(RELEASE_FILES, k=up.random.choice((1, 2, 3))):
        place = up.tree / suite.release_directory / name
        if up.random.random() < 0.3:
            place.unlink()
        else:
            place.write_bytes(up.random.choice(texts))


def no_suite(up: Upstream) -> None:
    """A whole suite has gone, or all of them, or the pool."""
    for name in up.random.choice((("dists/sid",), ("dists",), ("pool",), ("zzz-dists",), ("dists", "pool"))):
        shutil.rmtree(up.tree / name, ignore_errors=True)


def odd_traces(up: Upstream) -> None:
    """What is in project/trace is no trace."""
    traces = up.tree / "project/trace"
    kind = up.random.randrange(4)
    if kind == 0:
        shutil.rmtree(traces)
        traces.symlink_to(up.outside)
    elif kind == 1:
        for name in ("site.lab.example.org", "site.lab.example.org-stage1", "_hierarchy", "_traces"):
            (traces / name).mkdir(exist_ok=True)
    elif kind == 2:
        (traces / "other.example.org").write_bytes(b"x" * 2_000_000)
        (traces / "binary.example.org").write_bytes(up.random.randbytes(500))
    else:
        for name in ("precious", "other.example.org"):
            (traces / name).symlink_to(up.outside / "precious")


def work_files(up: Upstream) -> None:
    """It has names that only a mirror has."""
    for name in up.random.sample((".~tmp~", "pool/.~tmp~", "dists/.~tmp~"), k=2):
        (up.tree / name / "pushmirror/new").mkdir(parents=True)
        (up.tree / name / "pushmirror/landed").write_bytes(up.random.randbytes(64))
        (up.tree / name / "pushmirror/new/README").write_bytes(b"planted")
    (up.tree / "Archive-Update-Required-site.lab.example.org").touch()


def lying_manifest(up: Upstream) -> None:
    """Bytes of its manifest are wrong, or a file of it is cut or has gone."""
    there = sorted(path for path in up.archive.manifest.rglob("*") if path.is_file())
    for place in up.random.sample(there, k=min(len(there), 2)):
        data = bytearray(place.read_bytes())
        kind = up.random.randrange(3)
        if kind == 0 and data:
            for _ in range(up.random.choice((1, 20))):
                data[up.random.randrange(len(data))] = up.random.randrange(256)
            place.write_bytes(data)
        elif kind == 1:
            place.write_bytes(data[: len(data) // 2])
        else:
            place.unlink()


def next_state(up: Upstream) -> None:
    """Nothing wrong at all: it publishes."""
    up.update(add=up.random.randrange(8), replace=up.random.randrange(8))


Misbehaviour = Callable[[Upstream], None]
#: Those that publish a next state; they come before others.
PUBLISHING: Sequence[Misbehaviour] = (between_release_files, older_state, next_state)
#: In the order in which they can be combined: who signs needs files, and a pipe is nothing to write into.
OTHERS: Sequence[Misbehaviour] = (
    signed_by_another,
    become_directories,
    become_links,
    directories_become_links,
    by_hash_are_links,
    greeting,
    odd_names,
    damage,
    no_release,
    no_suite,
    odd_traces,
    work_files,
    lying_manifest,
    no_files,
)
