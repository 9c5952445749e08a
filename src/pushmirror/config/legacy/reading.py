"""The variables of one of archvsync's bash files, evaluated by bash.

Guaranteed: the values are those that the script itself would have seen. Not the business of this module:
where the file is (`places.py`), and what the variables mean.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path

from pushmirror.config.legacy.texts import read_bytes
from pushmirror.config.legacy.values import Variables
from pushmirror.system.bash import evaluate


def read_variables(
    file: Path | None, *, environment: Mapping[str, str], preset: Mapping[str, str]
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
    read_bytes(file)  # bash would say less of a file that is missing, or far too large
    found = evaluate(file, environment=surroundings, preset=preset)
    exported = found.exported & found.values.keys()
    return Variables(file, found.values, seen, found.functions, exported, preset)


def own_user() -> str:
    """The name of the user that runs this."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user is often a number only
        return str(os.geteuid())
