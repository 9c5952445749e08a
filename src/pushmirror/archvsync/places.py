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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from pushmirror.archvsync.values import VERSION
from pushmirror.config.problems import message

_PACKAGES = Path("/etc/ftpsync")
_OURS = ("ftpsync*.conf", "runmirrors*.conf")


@dataclass(frozen=True, slots=True)
class ScriptPaths:
    """The directories of a command."""

    config: tuple[Path, ...]  # the first that has a file wins
    logs: Path
    locks: Path
    base: Path | None  # of a tarball
    here: Path = Path("/")  # what relative paths in the files are relative to

    @classmethod
    def of(cls, environment: Mapping[str, str], argv0: str = "") -> ScriptPaths:
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


def find(where: ScriptPaths, file_name: str) -> Path | None:
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


# Names that archives, modules, sites and users share the rules of, and what is wrong with one.


#: As config/types.py has it for archives and sites.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name, or with the first number behind it that nobody has."""
    if not is_taken(name):
        return name
    return next(one for number in count(2) if not is_taken(one := f"{name}-{number}"))


def reason(error: ValidationError) -> str:
    """Why a value cannot be one of the model, with its key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {message(first)}" if key else message(first)


# What the scripts have set before they read their configuration, which may refer to it.
#
# One and the same wherever a file is read, by a command or by import: or `TO=/srv/${ARCHIVE}` would be one
# tree for ftpsync and another for the runmirrors beside it.


PUSH_KIND = "mhop"
_ASKED_NOTHING = {
    "ARCHIVE": "",
    "SYNCSTAGE1": "false",
    "SYNCSTAGE2": "false",
    "SYNCALL": "true",
    "SYNCMHOP": "false",
    "SYNCCALLBACK": "false",
}


def preset_of_ftpsync(name: str, where: ScriptPaths, asked: Mapping[str, str]) -> dict[str, str]:
    """Before ftpsync reads NAME.conf; `asked` is what its words say, ARCHIVE at least."""
    return {**_of_both(name, where), **_ASKED_NOTHING, **asked}


def preset_of_runmirrors(
    name: str, where: ScriptPaths, *, archive_option: str, kind: str = PUSH_KIND, from_ftpsync: bool = False
) -> dict[str, str]:
    """Before runmirrors reads NAME.conf; the rest is what it was told by -a, -k and -f."""
    told = {"CONF": archive_option, "PUSHKIND": kind, "FROMFTPSYNC": "true" if from_ftpsync else "false"}
    return {**_of_both(name, where), **told}


def preset_of_file(name: str, where: ScriptPaths) -> dict[str, str]:
    """Before either of them reads NAME.conf, where nobody has called it: what it has when timers do."""
    archive = name.partition("-")[2]
    if name.startswith("runmirrors"):
        return preset_of_runmirrors(name, where, archive_option=archive)
    return preset_of_ftpsync(name, where, {"ARCHIVE": archive})


def _of_both(name: str, where: ScriptPaths) -> dict[str, str]:
    ours = {"NAME": name, "LOGDIR": str(where.logs), "LOCKDIR": str(where.locks), "VERSION": VERSION}
    return {**ours, "BASEDIR": str(where.base)} if where.base else ours
