"""Whether two trees are the same, byte for byte."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

#: What differs between a tree and its mirror by right: traces and flags of each mirror, and work files.
OWN = re.compile(
    r"project/trace/(?!master$).*|Archive-Update-(in-Progress|Required)-.*|(.*/)?\.~tmp~(/.*)?|(.*/)?\.pushmirror.*"
)


def same_tree(
    one: Path, other: Path, *, ignore: re.Pattern[str] = OWN, held: Collection[str] = ()
) -> list[str]:
    """The differences of two trees: names, types, targets of links, contents, times of files (seconds).

    `ignore` matches paths below the trees that are left out. So are suites that are `held` at a former state
    in one of them (names in dists/), and pool files that only one tree has then.
    """
    ours, theirs = dict(_entries(one, ignore)), dict(_entries(other, ignore))
    if held:
        for paths, others in ((ours, theirs.keys()), (theirs, ours.keys())):
            for path in [path for path in paths if _is_of_held(path, held, path not in others)]:
                del paths[path]
    problems = [f"{path} is only in {one}" for path in sorted(ours.keys() - theirs.keys())]
    problems += [f"{path} is only in {other}" for path in sorted(theirs.keys() - ours.keys())]
    for path in sorted(ours.keys() & theirs.keys()):
        why = _difference(one / path, ours[path], other / path, theirs[path])
        if why:
            problems.append(f"{path}: {why}")
    return problems


def _is_of_held(path: str, held: Collection[str], is_alone: bool) -> bool:
    top, _, rest = path.partition("/")
    return (top in {"dists", "zzz-dists"} and rest.partition("/")[0] in held) or (top == "pool" and is_alone)


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
