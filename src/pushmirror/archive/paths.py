"""Paths in a tree: which are allowed, where symbolic links lead; and the entries of a tree, with their
hashes.

A tree path is a `str` relative to the tree root, without a leading slash, decoded as os.fsdecode does in a
UTF-8 locale (bytes that are not UTF-8 survive as surrogate escapes). Guaranteed: a path that `tree_path`
returned names something below the root and is one line in any list of names. A file has one hash, of the
strongest kind that is listed; its length tells the kind, "" is an unknown one. Nothing here looks at the
disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from pushmirror.errors import BadPath

MAX_COMPONENT = 255  # bytes, NAME_MAX
MAX_PATH = 4096  # bytes, PATH_MAX
_MAX_LINKS = 40  # as Linux follows in one path (MAXSYMLINKS)

# C0, DEL, C1: a newline would split a name list, an escape sequence would drive an operator's terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def encoded(text: str) -> bytes:
    """The bytes of a path, or of what has paths in it."""
    return text.encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """The text of such bytes."""
    return data.decode("utf-8", "surrogateescape")


def tree_path(raw: str, *, where: str) -> str:
    """Return the path when it belongs into a tree, without the "./" that flat repositories write.

    Raises BadPath, naming `where` the path was found.
    """
    path = raw.removeprefix("./")
    problem = _problem(path)
    if problem is not None:
        raise BadPath(f"{where}: the path {_shown(raw)} {problem}")
    return path


def inside(raw: str, *, where: str) -> str:
    """Return the tree path that a foreign name leads to: "./", "//", a leading "/" and "x/.." are undone.

    apt asks for such names as they are, and servers take them so (RFC 3986, 5.2.4). Raises BadPath, naming
    `where`, for one that leads out of the tree or names a directory.
    """
    parts: list[str] = []
    for part in raw.split("/"):
        if part == "..":
            if not parts:
                raise BadPath(f"{where}: the path {_shown(raw)} leads out of the tree")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    if parts and raw.endswith(("/", "/.", "/..")):
        raise BadPath(f"{where}: the path {_shown(raw)} names a directory, expected a file")
    problem = _problem("/".join(parts))
    if problem is not None:
        raise BadPath(f"{where}: the path {_shown(raw)} {problem}")
    return "/".join(parts)


def _problem(path: str) -> str | None:  # noqa: PLR0911 - a list of rules, one a line
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    if _CONTROL.search(path):
        return "has a control character"
    try:
        encoded = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "cannot be a file name"
    if len(encoded) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    for part in encoded.split(b"/"):
        if part in {b"", b".", b".."}:
            return f"has the component {part.decode()!r}"
        if len(part) > MAX_COMPONENT:
            return f"has a component longer than {MAX_COMPONENT} bytes"
    return None


def is_one_line(text: str) -> bool:
    """Whether a name or target has no control character, so that it can be a line of a list."""
    return not _CONTROL.search(text)


def _shown(raw: str) -> str:
    return ascii(raw if len(raw) <= MAX_COMPONENT else raw[:MAX_COMPONENT] + "…")


def link_stays_inside(path: str, target: str) -> bool:
    """Whether a symbolic link at tree path `path` with this target never leaves the tree.

    As in rsync's --safe-links, "..": only at the start, and no more of them than the link is deep. After a
    name it is refused, because the name may itself be a link, and its ".." another directory than it looks.
    """
    if not target or target.startswith("/") or _CONTROL.search(target):
        return False
    up = 0
    named = False
    for part in target.split("/"):
        if part == "..":
            if named:
                return False
            up += 1
        elif part not in {"", "."}:
            named = True
    return up <= path.count("/")


def resolve(path: str, links: Mapping[str, str], *, follow_last: bool = False) -> str:
    """The path with the links among its directories replaced by what they point to.

    `links` maps the tree path of each known symbolic link to its target. The last component is kept even if
    it is a link, unless `follow_last`. Raises BadPath when the links loop or lead out of the tree.
    """
    *todo, name = [*path.split("/"), ""] if follow_last else path.split("/")
    todo.reverse()
    done: list[str] = []
    followed = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if not done:
                raise BadPath(f"the links in {_shown(path)} lead out of the tree")
            done.pop()
        elif part not in {"", "."}:
            done.append(part)
            target = links.get("/".join(done))
            if target is not None:
                followed += 1
                if followed > _MAX_LINKS:
                    raise BadPath(f"the links in {_shown(path)} loop (more than {_MAX_LINKS} followed)")
                if target.startswith("/"):
                    raise BadPath(f"the links in {_shown(path)} lead out of the tree, to {_shown(target)}")
                done.pop()
                todo.extend(reversed(target.split("/")))
    return "/".join(done if follow_last else [*done, name])


def prefixes(name: str) -> Iterator[str]:
    """A path's directories from the top, and itself."""
    parts = name.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


# One name of a tree, as a listing or a manifest tells of it. A value; it knows no disk.


class Kind(Enum):
    """What a name in a tree is."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"


class Entry(NamedTuple):
    """One name of a tree. Times of links and directories are not kept, here or in any mirror of ours."""

    path: str  # relative to the tree
    kind: Kind
    size: int = 0  # bytes; 0 unless it is a file
    mtime: int = 0  # seconds since the epoch
    target: str = ""  # of a link
    sha256: str = ""  # of a file, 64 hexadecimal digits; empty where nobody knows it

    @property
    def facts(self) -> tuple[Kind, int, int, str]:
        """What two trees that are the same agree in: not the hash, which one of them may not know."""
        if self.kind is Kind.FILE:
            return (self.kind, self.size, self.mtime, "")
        return (self.kind, 0, 0, self.target)


_Digest = TypeVar("_Digest", str, bytes)

#: The hashes as Release sections and by-hash directories name them, and the number of their digits.
HASHES: Mapping[str, int] = MappingProxyType({"MD5Sum": 32, "SHA1": 40, "SHA256": 64, "SHA512": 128})
_NAMES = {digits: name for name, digits in HASHES.items()}


_BY_STRENGTH = (64, 128, 40, 32)  # a SHA256 before a SHA512: it is what everybody lists, and strong enough


def strongest(digests: Iterable[_Digest]) -> set[_Digest]:
    """Those of some hashes of one file that are of the strongest kind among them."""
    by_length: dict[int, set[_Digest]] = {}
    for digest in digests:
        by_length.setdefault(len(digest), set()).add(digest)
    return next((by_length[length] for length in _BY_STRENGTH if length in by_length), set())


def name_of(digest: str) -> str:
    """The kind of a hash, as `HASHES` names it."""
    return _NAMES.get(len(digest), "hash")


def as_sha256(digest: str) -> str:
    """The digest where it is a SHA256, as inventories and manifests want it; "" for any other."""
    return digest if len(digest) == HASHES["SHA256"] else ""
