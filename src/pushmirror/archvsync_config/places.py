"""Where archvsync's commands find their files and write their logs, and what the scripts preset.

    of the package   ~/.config/ftpsync, /etc/ftpsync   ~/.local/log/ftpsync   ~/.local/lock/ftpsync
    of the tarball   BASE/etc, then those two          BASE/log               BASE/locks

BASE is BASEDIR of the environment, else the directory above the command's; but only if it has configuration
files of archvsync in its `etc`: operators of the package export BASEDIR=$HOME because runmirrors dies without
it (archvsync.md, 23). A symbolic link to a command is not followed: it is a command of its own.
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

from pushmirror.archvsync_config.values import VERSION
from pushmirror.config.problems import message

_PACKAGES = Path("/etc/ftpsync")
_OURS = ("ftpsync*.conf", "runmirrors*.conf")


@dataclass(frozen=True, slots=True)
class ScriptPaths:
    """The directories of one command."""

    config: tuple[Path, ...]  # in the order of the search
    logs: Path
    locks: Path
    base: Path | None  # of a tarball
    here: Path = Path("/")  # for relative paths in the files

    @classmethod
    def of(cls, environment: Mapping[str, str], argv0: str = "") -> ScriptPaths:
        """The directories of the command that was called by this name."""
        home = _home(environment)
        config = (home / ".config/ftpsync", _PACKAGES)
        base = _base(argv0, environment)
        told = environment.get("BASEDIR")  # the scripts change to it, else they stay in the current directory
        here = Path(told).absolute() if told else base or Path.cwd()
        if base is None:
            return cls(config, home / ".local/log/ftpsync", home / ".local/lock/ftpsync", None, here)
        return cls((base / "etc", *config), base / "log", base / "locks", base, here)


def config_name(name: str) -> str:
    """The configuration file's name for a script's name, without characters that could lead elsewhere."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def find(where: ScriptPaths, file_name: str) -> Path | None:
    """The first file of this name; None if there is none."""
    candidates = (directory / config_name(file_name) for directory in where.config)
    return next(filter(os.path.isfile, candidates), None)  # in an unreadable directory there is none


def _home(environment: Mapping[str, str]) -> Path:
    """The home directory, as `~` in bash."""
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


#: As config/types.py has it for archives and sites.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name, or the name with the first free number."""
    if not is_taken(name):
        return name
    return next(one for number in count(2) if not is_taken(one := f"{name}-{number}"))


def reason(error: ValidationError) -> str:
    """Why the model refuses a value, with its key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {message(first)}" if key else message(first)


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
    """The variables that ftpsync sets before it reads NAME.conf; `asked`: by its arguments."""
    return {**_of_both(name, where), **_ASKED_NOTHING, **asked}


def preset_of_runmirrors(
    name: str, where: ScriptPaths, *, archive_option: str, kind: str = PUSH_KIND, from_ftpsync: bool = False
) -> dict[str, str]:
    """The variables that runmirrors sets before it reads NAME.conf, also by -a, -k and -f."""
    told = {"CONF": archive_option, "PUSHKIND": kind, "FROMFTPSYNC": "true" if from_ftpsync else "false"}
    return {**_of_both(name, where), **told}


def preset_of_file(name: str, where: ScriptPaths) -> dict[str, str]:
    """The variables before either of them reads NAME.conf when a timer calls it, for `import`."""
    archive = name.partition("-")[2]
    if name.startswith("runmirrors"):
        return preset_of_runmirrors(name, where, archive_option=archive)
    return preset_of_ftpsync(name, where, {"ARCHIVE": archive})


def _of_both(name: str, where: ScriptPaths) -> dict[str, str]:
    ours = {"NAME": name, "LOGDIR": str(where.logs), "LOCKDIR": str(where.locks), "VERSION": VERSION}
    return {**ours, "BASEDIR": str(where.base)} if where.base else ours
