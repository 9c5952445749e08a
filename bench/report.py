"""What the benchmark says: progress to people, tables to RESULTS.md."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (head, *rows)
    ]
    lines.insert(
        1, "|".join("-" * (width + (1 if n in (0, len(widths) - 1) else 2)) for n, width in enumerate(widths))
    )
    return "\n".join(
        f"|{'' if n == 1 else ' '}{line}{'' if n == 1 else ' '}|" for n, line in enumerate(lines)
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and lowest and highest where there are several."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"
