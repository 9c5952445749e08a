"""Passwords: read when needed, from files that nobody else can read, never part of the configuration."""

from __future__ import annotations

from pathlib import Path

from pushmirror.config.model import Archive
from pushmirror.errors import ConfigError
from pushmirror.system.files import is_private


def read_password(archive: Archive) -> str | None:
    """The password for an archive's upstream: the first line of its file; none when it needs none.

    Raises ConfigError when the file is missing, empty or readable by others.
    """
    file = archive.password_file
    if file is None:
        return None
    wrong = what_is_wrong(file)
    if wrong:
        raise ConfigError(f"archives.{archive.name}.password_file: {wrong}")
    try:
        return _first_line(file)
    except OSError as exc:
        raise ConfigError(
            f"archives.{archive.name}.password_file: {file} cannot be read: {exc.strerror}",
            hint="run pushmirror as the user who owns the password file",
        ) from exc


def what_is_wrong(file: Path) -> str | None:
    """Why a password file cannot be used, as far as this user can see."""
    try:
        if not file.is_file():
            return f"{file} is {'not a file' if file.exists() else 'missing'}"
        if not is_private(file):
            mode = file.stat().st_mode & 0o777
            return f"{file} has mode {mode:04o}, expected one that only its owner can read: chmod 600 {file}"
        return None if _first_line(file) else f"{file} is empty, expected the password on its first line"
    except PermissionError:
        return None  # another user's; `status` may still be asked for by this one
    except (OSError, UnicodeDecodeError):
        return f"{file} cannot be read as text"


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return lines.readline().rstrip("\r\n")
