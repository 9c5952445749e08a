"""Runs `pushmirror verify` with small pieces, and holds it still after some of them, for tests that act then.

    python verify_holding.py PIECES MARK GO WORDS…

The file MARK says that the moment has come; it goes on when there is a file GO.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pushmirror.cli.main import main
from pushmirror.verify import plan as verify_plan
from pushmirror.verify import verifier as verify

_LONGEST_S = 60  # nobody goes on: the test has failed


def hold(pieces: int, mark: Path, go: Path) -> None:
    """Have a verify stop after so many pieces."""
    in_order = verify._in_order

    def held(*args: Any) -> Iterator[Any]:
        left = pieces
        for one in in_order(*args):
            if left == 0:
                _wait(mark, go)
            left -= 1
            yield one

    verify._in_order = held  # type: ignore[assignment]
    verify._SAVE_S = 0
    verify_plan._PIECE_FILES = 40


def _wait(mark: Path, go: Path) -> None:
    mark.touch()
    until = time.monotonic() + _LONGEST_S
    while not go.exists() and time.monotonic() < until:
        time.sleep(0.02)


if __name__ == "__main__":
    pieces, mark, go, *words = sys.argv[1:]
    hold(int(pieces), Path(mark), Path(go))
    sys.exit(main(words))
