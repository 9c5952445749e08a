"""The variables of one of archvsync's bash files: read by us where that is sure, by bash where not.

Guaranteed: the values are those that the script itself would have seen, and `by_bash` says why bash was
asked. Not the business of this module: where the file is (`places.py`), and what the variables mean.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pushmirror.config.legacy import bash
from pushmirror.config.legacy.texts import read_bytes
from pushmirror.config.legacy.values import Variables
from pushmirror.system.bash import Evaluated
from pushmirror.system.bash import evaluate as by_bash


class Evaluate(Protocol):
    """As `system.bash.evaluate`."""

    def __call__(
        self, file: Path, *, environment: Mapping[str, str], preset: Mapping[str, str]
    ) -> Evaluated: ...


def read_variables(
    file: Path | None,
    *,
    environment: Mapping[str, str],
    preset: Mapping[str, str],
    substitutions: bash.Substitutions | None = None,
    evaluate: Evaluate = by_bash,
) -> Variables:
    """The variables of a file, on top of those that the script sets and of the environment.

    `preset` are the variables that the script has set before it sources the file: they win over the
    environment's, and come as a part of it. LOGNAME and HOSTNAME are always there: the scripts die where the
    first is not set (archvsync.md, 31), and bash sets the other by itself. Raises ConfigError.
    """
    surroundings = {"HOSTNAME": socket.gethostname(), **environment}
    surroundings["LOGNAME"] = environment.get("LOGNAME") or own_user()
    seen = {**surroundings, **preset}
    if file is None:
        return Variables(None, {}, seen, preset=preset)
    text = read_bytes(file).decode("utf-8", "surrogateescape")  # what goes on has the bytes of an old file
    try:
        found = bash.read(text, known=seen, substitutions=substitutions or SUBSTITUTIONS)
    except bash.NeedsBash as exc:
        told = evaluate(file, environment=surroundings, preset=preset)
        exported = told.exported & told.values.keys()
        return Variables(file, told.values, seen, str(exc), told.functions, exported, preset)
    exported = frozenset(name for name in found.values if name in found.exported or name in environment)
    return Variables(file, found.values, seen, exported=exported, preset=preset)


def own_user() -> str:
    """The name of the user that runs this."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user is often a number only
        return str(os.geteuid())


def _full_host_name() -> str | None:
    try:
        found = socket.getaddrinfo(
            socket.gethostname(), None, type=socket.SOCK_DGRAM, flags=socket.AI_CANONNAME
        )
    except (OSError, UnicodeError):
        return None  # the program fails, and so does the file
    return found[0][3] or None


def _short_host_name() -> str:
    return socket.gethostname().partition(".")[0]


def _user_name() -> str | None:
    name = own_user()
    return None if name.isdigit() else name


#: Commands whose output is the same without running them.
SUBSTITUTIONS: bash.Substitutions = {
    "hostname": socket.gethostname,
    "hostname -f": _full_host_name,
    "hostname --fqdn": _full_host_name,
    "hostname --long": _full_host_name,
    "hostname -s": _short_host_name,
    "hostname --short": _short_host_name,
    "whoami": _user_name,
    "id -un": _user_name,
}
