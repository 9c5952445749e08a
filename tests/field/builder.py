"""Archives as the field has them, written file by file: any Release text, any index, any layout, any name.

`Upstream` writes what it is asked to write and knows of no rule. Each file gets a second of its own, later
than those before it, so that no changed file keeps size and time. Packages are noise with the right hashes:
apt downloads them, nobody unpacks them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from field.openpgp import Key

KEY = Key("The Case <case@example.org>")
PACKAGES = "main/binary-amd64/Packages"
CONTENTS = "main/Contents-amd64.gz"
_SECTIONS = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_STANZA = {"MD5sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_STAMP = "%a, %d %b %Y %H:%M:%S UTC"

Change = Callable[[str], str | bytes]  # of a Release text before it is signed


def gz(data: bytes) -> bytes:
    """An index as Packages.gz."""
    return gzip.compress(data, 1, mtime=0)


def digest(section: str, data: bytes) -> str:
    """The hash of a section of a Release file, such as SHA256."""
    return hashlib.new(_SECTIONS[section], data, usedforsecurity=False).hexdigest()


@dataclass
class Clock:
    """Each file has a second of its own."""

    now: datetime

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class Upstream:
    """A tree in the making.

    What is said of the suite `odd` and its pool is done to the suite and the pool of the name `calling`.
    """

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.keyring = tree.parent / "keyring.gpg"
        tree.mkdir(parents=True)
        self.keyring.write_bytes(KEY.public)
        self._clock = Clock(datetime.now(UTC).replace(microsecond=0) - timedelta(days=1))
        self._odd = "odd"

    def calling(self, odd: str) -> Upstream:
        """The same tree, in which `odd` has another name."""
        other = copy(self)
        other._odd = odd
        return other

    def name(self, name: str) -> str:
        """Where in the tree a name is."""
        if self._odd == "odd":
            return name
        name = re.sub(r"^(zzz-)?dists/odd(?=/|$)", rf"\1dists/{self._odd}", name)
        return re.sub(r"^(\W*)pool(/+)main/", rf"\1pool\2{self._odd}/", name).replace(
            "../main/", f"../{self._odd}/"
        )

    # Names

    def put(self, name: str, data: bytes | str = b"", *, mtime: float | None = None) -> Path:
        """Make a file, in place of whatever has its name."""
        self.remove(name)
        path = self.tree / self.name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        when = self._clock.tick().timestamp() if mtime is None else mtime
        os.utime(path, (when, when))
        return path

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link, in place of whatever has its name."""
        self.remove(name)
        path = self.tree / self.name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, name: str) -> None:
        """Remove a file, a link or a whole directory, if it is there."""
        path = self.tree / self.name(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        """Rename."""
        self.remove(to)
        path = self.tree / self.name(to)
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.tree / self.name(name)).rename(path)

    def read(self, name: str) -> bytes:
        return (self.tree / self.name(name)).read_bytes()

    def master(self) -> None:
        """The trace of the origin."""
        when = self._clock.tick()
        text = (
            f"{when:%a %b %d %H:%M:%S UTC %Y}\nDate: {when:{_STAMP}}\nRunning on host: master.example.org\n"
        )
        self.put("project/trace/master", f"{text}Archive serial: {int(when.timestamp())}\n")

    # Packages

    def package(
        self,
        name: str,
        version: str,
        *,
        path: str = "",
        filename: str = "",
        arch: str = "amd64",
        hashes: Iterable[str] = ("SHA256",),
        fields: Mapping[str, str] | None = None,
    ) -> str:
        """Write a package's file; its stanza. `filename` is what the stanza says instead of the path."""
        path = path or f"pool/main/{name[0]}/{name}/{name}_{version}_{arch}.deb"
        data = hashlib.shake_256(f"{path} {version}".encode()).digest(400)
        if not (self.tree / self.name(path)).is_file() or self.read(path) != data:
            self.put(path, data)
        stanza = {
            "Package": name,
            "Version": version,
            "Architecture": arch,
            "Maintainer": "A <a@example.org>",
            "Filename": self.name(filename or path),
            "Size": str(len(data)),
            **{each: hashlib.new(_STANZA[each], data, usedforsecurity=False).hexdigest() for each in hashes},
            "Description": f"the package {name}",
            **(fields or {}),
        }
        return "".join(f"{key}: {value}\n" for key, value in stanza.items() if value is not None)

    def source(
        self, name: str, version: str, *, sections: Sequence[str] = ("Files", "Checksums-Sha256")
    ) -> str:
        """Write a source package's two files; its stanza in Sources."""
        directory = f"pool/main/{name[0]}/{name}"
        files = {
            f"{name}_{version}.{end}": hashlib.shake_256(f"{name} {version} {end}".encode()).digest(300)
            for end in ("dsc", "tar.xz")
        }
        for file, data in files.items():
            self.put(f"{directory}/{file}", data)
        kinds = {"Files": "MD5Sum", "Checksums-Sha1": "SHA1", "Checksums-Sha256": "SHA256"}
        listed = "".join(
            f"{section}:\n"
            + "".join(f" {digest(kinds[section], data)} {len(data)} {file}\n" for file, data in files.items())
            for section in sections
        )
        return (
            f"Package: {name}\nBinary: {name}\nVersion: {version}\nMaintainer: A <a@example.org>\n"
            f"Architecture: any\nFormat: 3.0 (native)\n{listed}Directory: {self.name(directory)}\n"
        )

    # Suites

    def suite(
        self,
        directory: str,
        indices: Mapping[str, bytes],
        *,
        listed: Mapping[str, bytes] | None = None,
        sections: Sequence[str] = ("SHA256",),
        by_hash: Sequence[str] = (),
        fields: Mapping[str, str | None] | None = None,
        change: Change = lambda text: text,
        files: Sequence[str] = ("InRelease", "Release", "Release.gpg"),
        dak: bool = False,
        newline: str = "\n",
        keys: Sequence[Key] = (KEY,),
    ) -> None:
        """Write a suite.

        `indices` are written and listed, `listed` are listed only, by path below the directory; `fields` are
        added to those of Release (None takes one away), and `change` is what happens to its text before it is
        signed.
        `dak`: Release files are below zzz-dists, with links to them, and indices are links into by-hash.
        """
        for name, data in indices.items():
            self._index(f"{directory}/{name}", data, by_hash, linked=dak and bool(by_hash))
        codename = self.name(directory).removeprefix("dists/")
        head: dict[str, str | None] = {
            "Origin": "Case",
            "Label": "Case",
            "Suite": codename,
            "Codename": codename,
            "Date": f"{self._clock.now:{_STAMP}}",
            "Acquire-By-Hash": "yes" if by_hash else None,
            "Architectures": "amd64",
            "Components": "main",
            "Description": f"case archive {self._clock.now.timestamp():.0f}",
            **(fields or {}),
        }
        text = "".join(f"{key}: {value}{newline}" for key, value in head.items() if value is not None)
        for section in sections:
            text += f"{section}:{newline}"
            for name, data in sorted({**indices, **(listed or {})}.items()):
                text += f" {digest(section, data)} {len(data):8} {name}{newline}"
        changed = change(text)
        self.release(directory, changed.encode() if isinstance(changed, str) else changed, files, dak, keys)

    def release(
        self,
        directory: str,
        text: bytes,
        files: Sequence[str] = ("InRelease", "Release", "Release.gpg"),
        dak: bool = False,
        keys: Sequence[Key] = (KEY,),
    ) -> None:
        """Sign and write a Release text; of the three files only those named."""
        made = {
            "InRelease": lambda: keys[0].clear(text, *keys[1:]),
            "Release": lambda: text,
            "Release.gpg": lambda: keys[0].detached(text),
        }
        for name, make in made.items():
            if name not in files:
                self.remove(f"{directory}/{name}")
                continue
            self.put(f"zzz-{directory}/{name}" if dak else f"{directory}/{name}", make())
            if dak:
                up = "../" * (directory.count("/") + 1)
                self.link(f"{directory}/{name}", f"{up}zzz-{self.name(directory)}/{name}")

    def _index(self, name: str, data: bytes, by_hash: Sequence[str], *, linked: bool) -> None:
        directory, _, base = name.rpartition("/")
        for kind in by_hash:
            same = f"by-hash/{kind}/{digest(kind, data)}"
            if not (self.tree / self.name(directory) / same).exists():
                self.put(f"{directory}/{same}", data)
        if linked:
            self.link(name, f"by-hash/{by_hash[-1]}/{digest(by_hash[-1], data)}")
        else:
            self.put(f"{directory}/{base}", data)
