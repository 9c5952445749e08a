"""The variables of one of archvsync's bash files, evaluated by bash.

Guaranteed: the values are those that the script itself would have seen. Not the business of this module:
where the file is (`archvsync/places.py`), and what the variables mean.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path

from pushmirror.archvsync.values import Variables
from pushmirror.errors import ConfigError
from pushmirror.system.bash import evaluate

# The text of a file that may be older than UTF-8.
#
# Guaranteed: what is decoded here can be written as UTF-8 again; it is never dropped nor replaced. Not the
# business of this module: passwords, whose bytes count (importing/rsyncd_conf.py).


_LARGEST = 16 * 1024 * 1024  # bytes of one file


def read_bytes(file: Path) -> bytes:
    """A file's content; ConfigError when it cannot be read, or is far too large to be one of these files."""
    try:
        with file.open("rb") as handle:
            data = handle.read(_LARGEST + 1)
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}") from exc
    if len(data) > _LARGEST:
        raise ConfigError(f"{file}: expected at most {_LARGEST} bytes")
    return data


def read_text(file: Path, warnings: list[str] | None = None) -> str:
    """A file's text; with `warnings`, it is told there when it was not in UTF-8."""
    data = read_bytes(file)
    if warnings is not None and not is_utf8(data):
        warnings.append(f"{file}: is not UTF-8 and was read as ISO 8859-1: check names and paths")
    return decoded(data)


def is_utf8(data: bytes) -> bool:
    """Whether it is text in UTF-8, or in ASCII."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decoded(data: bytes) -> str:
    """Text in UTF-8, else in ISO 8859-1, in which every byte is a character."""
    return data.decode("utf-8" if is_utf8(data) else "latin-1")


def mended(text: str) -> str:
    """Text that was decoded with the error handler surrogateescape, as it should have been."""
    return decoded(text.encode("utf-8", "surrogateescape"))


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
