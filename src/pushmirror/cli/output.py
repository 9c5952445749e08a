"""Tables for people, JSON for programs.

Guaranteed: words that came over the network reach a terminal without its control characters.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES = {
    "ok": "green",
    "succeeded": "green",
    "warning": "yellow",
    "running": "cyan",
    "error": "red",
    "failed": "red",
    "died": "red",
}
_PIPE_WIDTH = 200  # columns where there is no terminal to fit


def print_json(value: object) -> None:
    """Print a value of dataclasses and plain types."""
    click.echo(json.dumps(as_json(value), indent=2, ensure_ascii=False))


def as_json(value: object) -> object:
    """A value of dataclasses as what json knows; times in ISO 8601."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case list() | tuple():
            return [as_json(item) for item in value]
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
    return value.value if isinstance(value, Enum) else value


def printable(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; cells that are a known outcome or level are coloured on a terminal."""
    console().print(table(columns, rows))


def console() -> Console:
    """Where tables go: as wide as the terminal; lines are not cut in a pipe."""
    from rich.console import Console

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process itself; `main` knows how

    return OurConsole(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table to print."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        words = ["" if cell is None else printable(str(cell)) for cell in row]
        made.add_row(*(Text(word, style=_STYLES.get(word, "")) for word in words))
    return made
