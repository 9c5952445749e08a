"""Which of the files that were named are whose: found by their names, in directories at the usual places.

Guaranteed: of two files with one name the first counts, as for the scripts; nothing is opened. A directory
may be that of the files, or one above it: a home, the base of a tarball, /etc.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pushmirror.errors import UsageError

_KINDS = {
    "ftpsync": ("ftpsync.conf", "ftpsync-*.conf"),
    "runmirrors": ("runmirrors.conf", "runmirrors-*.conf"),
    "mirror": ("runmirrors.mirror", "runmirrors-*.mirror"),
    "rsyncd": ("rsyncd.conf",),
    "keys": ("authorized_keys", "authorized_keys2"),
}
_ONLY_NAMED = {"rsyncd": ("rsyncd*.conf",)}  # such files may be parts of another one
_BELOW = (".config/ftpsync", "ftpsync", "etc", ".ssh")
_MOST = 1000  # files of a directory


@dataclass(frozen=True, slots=True)
class Sorted:
    """The files of each kind; the main archive's come first."""

    ftpsync: tuple[Path, ...] = ()
    runmirrors: tuple[Path, ...] = ()
    mirror: tuple[Path, ...] = ()
    rsyncd: tuple[Path, ...] = ()
    keys: tuple[Path, ...] = ()
    passed_over: tuple[tuple[Path, Path], ...] = ()  # and the one of its name that counts

    @property
    def files(self) -> tuple[Path, ...]:
        """All that count."""
        return (*self.ftpsync, *self.runmirrors, *self.mirror, *self.rsyncd, *self.keys)


def usual_places(home: Path) -> tuple[Path, ...]:
    """Where such files are when nobody says it."""
    etc = Path("/etc")
    return (
        *(home / ".config/ftpsync", etc / "ftpsync", home / "etc", etc / "rsyncd.conf"),
        home / ".ssh/authorized_keys",
    )


def sort_files(paths: Iterable[Path]) -> Sorted:
    """The files at these paths; UsageError for one that is not there, or that nobody knows by its name."""
    found: dict[str, dict[str, Path]] = {kind: {} for kind in _KINDS}
    passed_over: list[tuple[Path, Path]] = []
    for path in paths:
        for kind, file in _at(path):
            first = found[kind].setdefault(_key(kind, file), file)
            if first.absolute() != file.absolute():
                passed_over.append((file, first))
    ordered = {kind: tuple(sorted(files.values(), key=_main_first)) for kind, files in found.items()}
    return Sorted(**ordered, passed_over=tuple(passed_over))


def _key(kind: str, file: Path) -> str:
    """What two files may not share: keys of several accounts are no contradiction."""
    return str(file.absolute()) if kind == "keys" else file.name


def _main_first(file: Path) -> tuple[bool, str]:
    return "-" in file.stem, file.name


def _at(path: Path) -> Iterator[tuple[str, Path]]:
    if os.path.isdir(path):  # noqa: PTH112  pathlib raises on EACCES
        yield from _in(path)
        for below in _BELOW:
            yield from _in(path / below)
        return
    kind = _kind(path.name, {kind: (*_KINDS[kind], *_ONLY_NAMED.get(kind, ())) for kind in _KINDS})
    if not os.path.isfile(path):  # noqa: PTH113  the same
        raise UsageError(f"{path}: there is no such file or directory")
    if kind is None:
        raise UsageError(
            f"{path}: nobody knows it by its name; expected a directory, or one of "
            f"{', '.join(name for names in _KINDS.values() for name in names)}",
            hint="copy it to a directory under the name that it has for archvsync or rsync, and name that",
        )
    yield kind, path


def _in(directory: Path) -> Iterator[tuple[str, Path]]:
    try:
        names = sorted(os.listdir(directory))[:_MOST]  # noqa: PTH208  only the names are wanted
    except OSError:
        return
    for name in names:
        kind = _kind(name, _KINDS)
        if kind and (directory / name).is_file():
            yield kind, directory / name


def _kind(name: str, kinds: dict[str, Sequence[str]] | dict[str, tuple[str, ...]]) -> str | None:
    return next(
        (kind for kind, patterns in kinds.items() if any(fnmatchcase(name, one) for one in patterns)), None
    )
