"""How long a site waits after others before it is woken, as a value: "10min", or "10min or stage1".

The second kind ends before its time when the staged sites have stage 1: the DELAY lines of runmirrors.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import PlainValidator

from pushmirror.config.values import parse_duration

_OR_STAGE1 = "or stage1"


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait."""

    at_most: timedelta
    until_stage1: bool = False  # or until the staged sites have stage 1, whatever comes first

    def __str__(self) -> str:
        told = f"{self.at_most.total_seconds():.0f}s"
        return f"{told} {_OR_STAGE1}" if self.until_stage1 else told


def parse_delay(value: object) -> Wait:
    """A Wait from its text; ValueError says what was expected."""
    if isinstance(value, Wait):
        return value
    text = value if isinstance(value, str) else ""
    duration = text.removesuffix(_OR_STAGE1)
    try:
        return Wait(parse_duration(duration.strip()), until_stage1=duration != text)
    except ValueError as exc:
        raise ValueError('expected a duration such as "10min", or "10min or stage1"') from exc


Delay = Annotated[Wait, PlainValidator(parse_delay)]
