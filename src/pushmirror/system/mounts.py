"""Which directories below another one are mount points: file systems of their own, or bind mounts."""

from __future__ import annotations

import re
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\(\d{3})")  # proc(5): blanks, tabs, newlines and backslashes


def mounts_below(directory: Path, table: str | None = None) -> list[str]:
    """The mount points below a directory, relative to it; none where the kernel does not tell.

    `table` is the text of mountinfo, the kernel's own by default. No name can be renamed across one of these.
    """
    if table is None:
        try:
            table = _TABLE.read_text("utf-8", "surrogateescape")
        except OSError:
            return []
    prefix = f"{directory.resolve()}/"
    points = {_unescaped(fields[4]) for line in table.splitlines() if len(fields := line.split(" ")) > 5}
    return sorted(point.removeprefix(prefix) for point in points if point.startswith(prefix))


def _unescaped(word: str) -> str:
    encoded = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), word)
    return encoded.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
