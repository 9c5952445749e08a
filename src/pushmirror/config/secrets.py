"""Password files: nobody else may read them, and what is in them never becomes part of the configuration."""

from __future__ import annotations

from pathlib import Path

from pushmirror.system.files import is_private


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
