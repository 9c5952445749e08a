"""What Release files, indices and lists name, for the judge alone.

Independent of pushmirror.archive on purpose, so that no error of its parsers is missed; simple, and slow.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = (".gz", ".xz", ".bz2")
_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that must be there."""

    path: str  # below the tree
    size: int  # bytes
    sha256: str


def read(path: Path) -> bytes | None:
    """What a file holds; None if it is not there."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def release(text: str) -> tuple[bool, dict[str, tuple[int, str]]]:
    """Acquire-By-Hash, and name -> (size, SHA256)."""
    by_hash, listed, key = False, {}, ""
    for line in text.splitlines():
        if not line.startswith(" "):
            key, _, value = line.partition(":")
            by_hash |= key == "Acquire-By-Hash" and value.strip() == "yes"
        elif key == "SHA256":
            sha256, size, name = line.split()
            listed[name] = (int(size), sha256)
    return by_hash, listed


def families(listed: Iterable[str]) -> dict[str, list[str]]:
    """The names of one index in all its forms, by its plain name."""
    families: dict[str, list[str]] = {}
    for name in listed:
        family = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
        families.setdefault(family, []).append(name)
    return families


def pool_files(base: str, data: bytes) -> Iterator[Wanted]:
    """The files that an index names; `base` is its name without directories."""
    text = _DECOMPRESS["" if "." not in base else "." + base.rpartition(".")[2]](data).decode()
    parse = _source_files if base.startswith("Sources") else _binary_files
    for stanza in text.split("\n\n"):
        yield from parse(stanza)


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line.startswith(" "):
            fields[key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def _binary_files(stanza: str) -> Iterator[Wanted]:
    fields = _fields(stanza)
    if fields:
        yield Wanted(fields["Filename"], int(fields["Size"]), fields["SHA256"])


def _source_files(stanza: str) -> Iterator[Wanted]:
    fields = _fields(stanza)
    for line in fields.get("Checksums-Sha256", "").splitlines():
        if line.strip():
            sha256, size, name = line.split()
            yield Wanted(f"{fields['Directory']}/{name}", int(size), sha256)


def patches(index: Path, directory: str) -> Iterator[Wanted]:
    """The patches in a directory that its Index names."""
    text = (read(index) or b"").decode()
    for line in _fields(text).get("SHA256-Download", "").splitlines():
        if line.strip():
            sha256, size, name = line.split()
            yield Wanted(f"{directory}/{name}", int(size), sha256)


def images(sums: Path, tree: Path) -> Iterator[Wanted]:
    """The files that SHA256SUMS names, beside it or below; no link leads to `tree`."""
    home = sums.parent.resolve()  # once: `current` may turn to another version meanwhile
    for line in (read(home / sums.name) or b"").decode().splitlines():
        sha256, name = line.split(maxsplit=1)
        yield Wanted(str((home / name.removeprefix("./")).relative_to(tree)), -1, sha256)
