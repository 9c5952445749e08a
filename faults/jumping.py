"""Runs `pushmirror` under a clock that is wrong by as many seconds as a file says; may hold it at a moment.

    python jumping.py FILE WORDS…
    python jumping.py FILE hold before|after send|answered STAGE NUMBER MARK WORDS…

What follows `hold` is told in tests/stopping.py.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pushmirror.system import clock


def jump_with(file: Path) -> None:
    """Let the clock be wrong by what the file says at each look; before anything else is imported."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(file.read_text()))

    clock.now = now


def main() -> int:
    """As `pushmirror WORDS`."""
    file, *words = sys.argv[1:]
    jump_with(Path(file))
    if words[0] == "hold":
        from stopping import hold

        _, when, method, stage, number, mark, *words = words
        hold(when, method, stage, int(number), Path(mark))
    from pushmirror.cli.main import main as pushmirror

    return pushmirror(words)


if __name__ == "__main__":
    sys.exit(main())
