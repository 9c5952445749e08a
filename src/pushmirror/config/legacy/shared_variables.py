"""Variables that ftpsync.conf and runmirrors.conf both have, and the kinds of their values.

Pure. Not the business of this module: what becomes of a number or a span that is none; it is None here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pushmirror.config.legacy.values import Logs, Variables
from pushmirror.system.bash import function_argv

_SPAN = re.compile(r"(\d+\.?\d*|\.\d+)([smhd]?)", re.ASCII)
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Shared:
    """What a configuration says of mail, logs and hooks."""

    variables: Variables
    home: Path  # `~`
    here: Path  # what relative paths are relative to, unless there is a BASEDIR

    def mailed(self) -> tuple[str, ...]:
        """Who gets mail."""
        get = self.variables.get
        return tuple((get("MAILTO") or get("LOGNAME")).replace(",", " ").split())

    def logs(self, name: str, directory: Path, keep: int) -> Logs:
        """Where the script of this name logs; `directory` unless another one is told."""
        get = self.variables.get
        directory = Path(self.path(get("LOGDIR") or str(directory)))
        return Logs(directory, Path(self.path(get("LOG") or f"{directory}/{name}.log")), keep)

    def hooks(self, count: int) -> tuple[tuple[str, ...], ...]:
        """HOOK1 and so on as words; those that are not set are empty."""
        return tuple(self._hook(number) for number in range(1, count + 1))

    def warnings(self, count: int) -> Iterator[str]:
        """What is to be known of these hooks."""
        for number in range(1, count + 1):
            name = next(iter(self.variables.get(f"HOOK{number}").split()), "")
            if name in self.variables.functions:
                yield (
                    f"HOOK{number}: {name} is a function: bash sources {self.variables.file} anew to run it, "
                    "and what it sets has no effect on a run"
                )

    def path(self, value: str) -> str:
        """A path as the script sees it."""
        if value.startswith("~/"):
            return f"{self.home}{value[1:]}"
        return value if value.startswith("/") else f"{self.variables.get('BASEDIR') or self.here}/{value}"

    def _hook(self, number: int) -> tuple[str, ...]:
        """A hook's arguments count (archvsync.md, 29), and it may be a function of the file."""
        words = tuple(self.variables.get(f"HOOK{number}").split())
        if words and self.variables.file and words[0] in self.variables.functions:
            return function_argv(self.variables.file, words, self.variables.preset)
        return (self.path(words[0]), *words[1:]) if words and "/" in words[0] else words


def span(told: str) -> timedelta | None:
    """A span as sleep(1) takes it: seconds, or with s, m, h or d behind; a year at most."""
    match = _SPAN.fullmatch(told)
    if not match:
        return None
    return timedelta(seconds=min(float(match[1]) * _UNITS_S[match[2]], _LONGEST.total_seconds()))


def number(told: str, *, least: int = 0) -> int | None:
    """A whole number; what is below `least` is none, nor is what no script could count with."""
    if not re.fullmatch(r"-?\d{1,10}", told, re.ASCII):
        return None
    return int(told) if int(told) >= least else None
