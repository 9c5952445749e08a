"""Read the variables of one of archvsync's bash files, evaluated by bash.

Guaranteed: the values are those that the script would see; text that is not UTF-8 is read as ISO 8859-1, so
that nothing is dropped and all can be written as UTF-8. Not the business of this module: where the file is
(`places.py`), what the variables mean, and passwords, whose bytes count
(importing/rsyncd_conf.py).
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path

from pushmirror.archvsync_config.values import Variables
from pushmirror.errors import ConfigError
from pushmirror.system.bash import evaluate

_LARGEST = 16 * 1024 * 1024  # bytes of one file


def read_bytes(file: Path) -> bytes:
    """A file's content; ConfigError if it cannot be read or is too large to be one of these files."""
    try:
        with file.open("rb") as handle:
            data = handle.read(_LARGEST + 1)
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}") from exc
    if len(data) > _LARGEST:
        raise ConfigError(f"{file}: expected at most {_LARGEST} bytes")
    return data


def read_text(file: Path, warnings: list[str] | None = None) -> str:
    """A file's text; a warning is added to `warnings` if it is not UTF-8."""
    data = read_bytes(file)
    if warnings is not None and not is_utf8(data):
        warnings.append(f"{file}: is not UTF-8 and was read as ISO 8859-1: check names and paths")
    return decoded(data)


def is_utf8(data: bytes) -> bool:
    """Whether it is UTF-8 text."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decoded(data: bytes) -> str:
    """Decode UTF-8, else ISO 8859-1, in which every byte is a character."""
    return data.decode("utf-8" if is_utf8(data) else "latin-1")


def mended(text: str) -> str:
    """Decode text again that was decoded with the error handler surrogateescape."""
    return decoded(text.encode("utf-8", "surrogateescape"))


def read_variables(
    file: Path | None, *, environment: Mapping[str, str], preset: Mapping[str, str]
) -> Variables:
    """The variables of a file, beside the script's presets and the environment.

    `preset` are the variables that the script sets before it sources the file: they replace the
    environment's. LOGNAME and HOSTNAME are always set: the scripts fail without the first (archvsync.md, 31),
    and bash sets the other by itself. Raises ConfigError.
    """
    surroundings = {"HOSTNAME": socket.gethostname(), **environment}
    surroundings["LOGNAME"] = environment.get("LOGNAME") or own_user()
    seen = {**surroundings, **preset}
    if file is None:
        return Variables(None, {}, seen, preset=preset)
    read_bytes(file)  # our error says more of a missing or too large file than bash's
    found = evaluate(file, environment=surroundings, preset=preset)
    exported = found.exported & found.values.keys()
    return Variables(file, found.values, seen, found.functions, exported, preset)


def own_user() -> str:
    """The name of the current user."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user is often a number only
        return str(os.geteuid())
