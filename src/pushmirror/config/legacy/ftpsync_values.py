"""The values of an ftpsync.conf, checked: numbers, spans, and sections of our model.

Guaranteed: a wrong value is an error that names file and variable, also where our model is what refuses it;
no password is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pushmirror.config.explain import message
from pushmirror.config.legacy.places import Places
from pushmirror.config.legacy.shared_variables import Shared, number, span
from pushmirror.config.legacy.values import Variables
from pushmirror.config.legacy.variables import VARIABLES
from pushmirror.config.types import WrongKey
from pushmirror.errors import ConfigError, Exit

_Made = TypeVar("_Made", bound=BaseModel)


@dataclass
class Checked:
    """The variables of one file."""

    variables: Variables
    places: Places

    def __post_init__(self) -> None:
        self.get = self.variables.get
        self.shared = Shared(self.variables, Path(self.get("HOME", "/")), self.places.here)
        self.path = self.shared.path

    def refuse(self, what: str, hint: str | None = None, *, as_there: bool = True) -> NoReturn:
        """What the script refuses, too, ends with its exit code."""
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
        """A part of the model; its errors as those of the variables they come from."""
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
