"""Where archvsync's commands look for their files, and where they log.

    of the package   ~/.config/ftpsync, /etc/ftpsync   ~/.local/log/ftpsync   ~/.local/lock/ftpsync
    of the tarball   BASE/etc, then those two          BASE/log               BASE/locks

BASE is BASEDIR of the environment, else the directory above the command's; but only if it has configuration
files of archvsync in its `etc`: operators of the package export BASEDIR=$HOME because runmirrors dies without
it (archvsync.md, 23). A symbolic link is a command of its own: it is not followed.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = Path("/etc/ftpsync")
_OURS = ("ftpsync*.conf", "runmirrors*.conf")


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of a command."""

    config: tuple[Path, ...]  # the first that has a file wins
    logs: Path
    locks: Path
    base: Path | None  # of a tarball
    here: Path = Path("/")  # what relative paths in the files are relative to

    @classmethod
    def of(cls, environment: Mapping[str, str], argv0: str = "") -> Places:
        """The directories of the command that was called by this name."""
        home = _home(environment)
        config = (home / ".config/ftpsync", _PACKAGES)
        base = _base(argv0, environment)
        told = environment.get("BASEDIR")  # the scripts go there, else they stay where they were called
        here = Path(told).absolute() if told else base or Path.cwd()
        if base is None:
            return cls(config, home / ".local/log/ftpsync", home / ".local/lock/ftpsync", None, here)
        return cls((base / "etc", *config), base / "log", base / "locks", base, here)


def config_name(name: str) -> str:
    """The file's name for a script's: what might lead elsewhere has no place in it."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def find(where: Places, file_name: str) -> Path | None:
    """The first file of this name; None if there is none."""
    candidates = (directory / config_name(file_name) for directory in where.config)
    return next(filter(os.path.isfile, candidates), None)  # in a directory that is not for us, none is


def _home(environment: Mapping[str, str]) -> Path:
    """As `~` in bash."""
    if "HOME" in environment:
        return Path(environment["HOME"] or "/")
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def _base(argv0: str, environment: Mapping[str, str]) -> Path | None:
    told = environment.get("BASEDIR")
    if told and _is_tarball(Path(told)):
        return Path(told).absolute()
    found = argv0 if "/" in argv0 else shutil.which(argv0, path=environment.get("PATH"))
    if not found:
        return None
    above = Path(os.path.abspath(found)).parent.parent  # noqa: PTH100 - `..` goes, links stay
    return above if _is_tarball(above) else None


def _is_tarball(base: Path) -> bool:
    return any(True for pattern in _OURS for _ in (base / "etc").glob(pattern))
