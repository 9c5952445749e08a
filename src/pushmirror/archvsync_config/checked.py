"""Check values of ftpsync.conf and runmirrors.conf: numbers, time spans, paths, mail, logs and hooks. Pure.

Guaranteed: a wrong value is an error that names file and variable, also if our model refuses it; no password
is in an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pushmirror.archvsync_config.key_names import VARIABLES
from pushmirror.archvsync_config.places import ScriptPaths
from pushmirror.archvsync_config.values import Logs, Variables
from pushmirror.config.problems import message
from pushmirror.config.types import WrongKey
from pushmirror.errors import ConfigError, Exit
from pushmirror.system.bash import function_argv

_SPAN = re.compile(r"(\d+\.?\d*|\.\d+)([smhd]?)", re.ASCII)
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Shared:
    """The settings of mail, logs and hooks, which both files have."""

    variables: Variables
    home: Path  # `~`
    here: Path  # for relative paths, unless BASEDIR is set

    def mailed(self) -> tuple[str, ...]:
        """The recipients of mail."""
        get = self.variables.get
        return tuple((get("MAILTO") or get("LOGNAME")).replace(",", " ").split())

    def logs(self, name: str, directory: Path, keep: int) -> Logs:
        """Where the script of this name logs; in `directory` unless the file sets another."""
        get = self.variables.get
        directory = Path(self.path(get("LOGDIR") or str(directory)))
        return Logs(directory, Path(self.path(get("LOG") or f"{directory}/{name}.log")), keep)

    def hooks(self, count: int) -> tuple[tuple[str, ...], ...]:
        """HOOK1 and so on as words; empty if not set."""
        return tuple(self._hook(number) for number in range(1, count + 1))

    def warnings(self, count: int) -> Iterator[str]:
        """Warnings about these hooks."""
        for number in range(1, count + 1):
            name = next(iter(self.variables.get(f"HOOK{number}").split()), "")
            if name in self.variables.functions:
                yield (
                    f"HOOK{number}: {name} is a function: bash sources {self.variables.file} again, "
                    "and variables that it sets have no effect"
                )

    def path(self, value: str) -> str:
        """A path as the script sees it."""
        if value.startswith("~/"):
            return f"{self.home}{value[1:]}"
        return value if value.startswith("/") else f"{self.variables.get('BASEDIR') or self.here}/{value}"

    def _hook(self, number: int) -> tuple[str, ...]:
        """A hook as words, with arguments (archvsync.md, 29); it may be a function of the file."""
        words = tuple(self.variables.get(f"HOOK{number}").split())
        if words and self.variables.file and words[0] in self.variables.functions:
            return function_argv(self.variables.file, words, self.variables.preset)
        return (self.path(words[0]), *words[1:]) if words and "/" in words[0] else words


def span(text: str) -> timedelta | None:
    """A time span as for sleep(1), with s, m, h or d; None if it is no span, or above a year."""
    match = _SPAN.fullmatch(text)
    if not match:
        return None
    return timedelta(seconds=min(float(match[1]) * _UNITS_S[match[2]], _LONGEST.total_seconds()))


def number(text: str, *, least: int = 0) -> int | None:
    """A whole number; None if it is below `least` or too large for the scripts."""
    if not re.fullmatch(r"-?\d{1,10}", text, re.ASCII):
        return None
    return int(text) if int(text) >= least else None


_Made = TypeVar("_Made", bound=BaseModel)


@dataclass
class Checked:
    """The variables of one file."""

    variables: Variables
    places: ScriptPaths

    def __post_init__(self) -> None:
        self.get = self.variables.get
        self.shared = Shared(self.variables, Path(self.get("HOME", "/")), self.places.here)
        self.path = self.shared.path

    def refuse(self, what: str, hint: str | None = None, *, as_there: bool = True) -> NoReturn:
        """The error of a value that the script refuses, too, with its exit code."""
        error = ConfigError(f"{self.variables.file or 'the environment'}: {what}", hint=hint)
        if as_there:
            error.exit_code = Exit.FAILED
        raise error

    def number(self, variable: str, value: str, *, least: int = 0) -> int:
        """A value as a number."""
        found = number(value, least=least)
        if found is None:
            self.refuse(f"{variable}: expected a number, found {value!r}")
        return found

    def count(self, variable: str, default: str) -> int:
        """A variable as a number."""
        return self.number(variable, self.get(variable, default))

    def span(self, variable: str, default: str) -> timedelta:
        """A variable as a span."""
        value = self.get(variable, default)
        found = span(value)
        if found is None:
            self.refuse(f"{variable}: expected seconds, found {value!r}")
        return found

    def made(self, kind: type[_Made], keys: Mapping[str, Any]) -> _Made:
        """A section of the model; its errors name the variables."""
        try:
            return kind(**keys)
        except ValidationError as exc:
            self.refuse("; ".join(map(_told, exc.errors(include_url=False))))


def _told(error: ErrorDetails) -> str:
    wrong = error.get("ctx", {}).get("error")
    if isinstance(wrong, WrongKey):
        return f"{VARIABLES.get(wrong.key, wrong.key)}: {wrong.what}"
    what = message(error)
    if not error["loc"]:
        return what
    key = str(error["loc"][0])
    found = f", found {error['input']!r}" if key in VARIABLES and key != "proxy" else ""
    return f"{VARIABLES.get(key, key)}: {what}{found}"
