"""Whether two trees are the same, byte for byte."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

#: What differs between a tree and its mirror by right: traces and flags of each mirror, and work files.
OWN = re.compile(
    r"project/trace/(?!master$).*|Archive-Update-(in-Progress|Required)-.*|(.*/)?\.~tmp~(/.*)?|(.*/)?\.pushmirror.*"
)


def same_tree(one: Path, other: Path, *, ignore: re.Pattern[str] = OWN) -> list[str]:
    """The differences of two trees: names, types, targets of links, contents, times of files (seconds).

    `ignore` matches paths below the trees that are left out.
    """
    ours, theirs = dict(_entries(one, ignore)), dict(_entries(other, ignore))
    problems = [f"{path} is only in {one}" for path in sorted(ours.keys() - theirs.keys())]
    problems += [f"{path} is only in {other}" for path in sorted(theirs.keys() - ours.keys())]
    for path in sorted(ours.keys() & theirs.keys()):
        why = _difference(one / path, ours[path], other / path, theirs[path])
        if why:
            problems.append(f"{path}: {why}")
    return problems


def _entries(tree: Path, ignore: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
    for directory, names, files in os.walk(tree):
        for name in (*names, *files):
            path = Path(directory, name)
            inside = str(path.relative_to(tree))
            if not ignore.fullmatch(inside):
                yield inside, path.lstat()


def _difference(one: Path, ours: os.stat_result, other: Path, theirs: os.stat_result) -> str:
    if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
        return "of another type"
    if stat.S_ISLNK(ours.st_mode):
        targets = one.readlink(), other.readlink()
        return "" if targets[0] == targets[1] else f"leads to {targets[0]}, to {targets[1]}"
    if not stat.S_ISREG(ours.st_mode):
        return ""
    if ours.st_size != theirs.st_size or one.read_bytes() != other.read_bytes():
        return f"other content ({ours.st_size} and {theirs.st_size} bytes)"
    times = int(ours.st_mtime), int(theirs.st_mtime)
    return "" if times[0] == times[1] else f"other time ({times[0]} and {times[1]})"
