"""What tests need to say of a tree: all of it at one instant, and how a failed command told its reason."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from pushmirror.system import process


class Seen(NamedTuple):
    """One name of a tree."""

    mode: int  # with the type
    content: bytes  # of a file, or the target of a link
    mtime_ns: int


def snapshot(tree: Path, *, work: bool = False) -> dict[str, Seen]:
    """Every name below a tree. The work area, and the flag that a push is owed, only with `work`.

    Times of directories are not taken: flags come and go in the top one.
    """
    found: dict[str, Seen] = {}
    for directory, names, files in os.walk(tree):
        if not work and ".~tmp~" in names:
            names.remove(".~tmp~")
        for name in (*names, *files):
            path = Path(directory, name)
            if work or not name.startswith("Archive-Update-"):
                found[str(path.relative_to(tree))] = _see(path)
    return found


def _see(path: Path) -> Seen:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return Seen(status.st_mode, os.fsencode(path.readlink()), status.st_mtime_ns)
    if stat.S_ISREG(status.st_mode):
        return Seen(status.st_mode, path.read_bytes(), status.st_mtime_ns)
    return Seen(status.st_mode, b"", 0)


Dates = dict[str, datetime]  # suite -> Date of its InRelease, which never repeats


def dates_of_suites(tree: Path) -> Dates:
    """How new each suite of a tree is."""
    files = [path for path in tree.glob("dists/*/InRelease") if not path.parent.is_symlink()]
    return {path.parent.name: _date(path.read_text()) for path in files}


def _date(release: str) -> datetime:
    value = next(line for line in release.splitlines() if line.startswith("Date: "))
    return parsedate_to_datetime(value.removeprefix("Date: "))


def refused(result: process.Result, exit_code: int, *words: str) -> None:
    """Assert that a command ended with this code and said these words, and no traceback."""
    assert result.exit_code == exit_code, result.errors
    assert "internal error" not in result.errors
    assert "Traceback" not in result.errors
    for word in words:
        assert word in result.errors, result.errors


@contextmanager
def mounted_tmpfs(directory: Path, size: str) -> Iterator[Path]:
    """A small file system of its own; skips the test where one cannot be mounted."""
    directory.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(directory)]
    if os.geteuid() != 0 or process.run(argv).exit_code != 0:
        pytest.skip("needs to mount a tmpfs, which takes root and the right to")
    try:
        yield directory
    finally:
        process.run(["umount", "-l", str(directory)]).check()


def remount(directory: Path, option: str) -> None:
    """Make a mounted file system `ro` or `rw`."""
    process.run(["mount", "-o", f"remount,{option}", str(directory)]).check()


def move_tree(tree: Path, into: Path) -> Path:
    """Copy a tree with its times into another directory; the new place."""
    return Path(shutil.copytree(tree, into / "tree", symlinks=True, dirs_exist_ok=True))
