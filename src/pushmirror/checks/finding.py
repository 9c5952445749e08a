"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass

from pushmirror.status.words import Level


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do."""

    level: Level
    subject: str
    found: str
    todo: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, todo: str) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding(Level.WARNING, subject, found, todo)


def error(subject: str, found: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(Level.ERROR, subject, found, todo)
