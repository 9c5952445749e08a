"""A reader of what comes from outside, and what must hold of all that it gives.

Its names are judged by rules of their own: who asks the reader's own rules whether a name is inside learns
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pushmirror.errors import PushmirrorError


class OutsideError(Exception):
    """A name came out that leads out of the tree, or that no list of names can have."""


class WrongError(Exception):
    """What came out is not what the reader promises."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads bytes, and looks at what comes of them."""

    read: Callable[[bytes], None]  # raises OutsideError and WrongError, too
    allowed: tuple[type[Exception], ...] = (PushmirrorError,)  # what it may raise


def require(holds: bool, what: str) -> None:
    """WrongError unless it holds."""
    if not holds:
        raise WrongError(what)


def require_inside(paths: Iterable[str]) -> None:
    """OutsideError unless all are names below a tree's root, each a line of any list."""
    for path in paths:
        if problem := _problem(path):
            raise OutsideError(f"{path[:200]!a} {problem}")


def require_link_inside(path: str, target: str) -> None:
    """OutsideError unless a link leads nowhere but into its tree, whatever the names before a `..` are."""
    climbs = target.lstrip("./").split("/")
    if target.startswith("/") or ".." in climbs or not _is_one_line(target):
        raise OutsideError(f"a link at {path[:200]!a} to {target[:200]!a}")
    if os.path.normpath(f"/tree/{os.path.dirname(path)}/{target}").split("/")[1] != "tree":  # noqa: PTH120
        raise OutsideError(f"a link at {path[:200]!a} to {target[:200]!a}")


def _problem(path: str) -> str:
    if not path or path != os.path.normpath(path) or path.startswith(("/", "../")) or path == "..":
        return "is no name below the root"
    if not _is_one_line(path):
        return "is not one line"
    name = path.encode("utf-8", "surrogateescape")
    if len(name) > os.pathconf("/", "PC_PATH_MAX") or max(map(len, name.split(b"/"))) > 255:
        return "is longer than a name can be"
    return "" if path != "." else "is the root"


def _is_one_line(text: str) -> bool:
    return not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text)


def text(data: bytes) -> str:
    """Bytes as a reader of names gets them."""
    return data.decode("utf-8", "surrogateescape")
