"""Runs `pushmirror`, and holds it still at one moment of a push, for tests that kill it there.

    python stopping.py before|after add_triggers|record_answer STAGE NUMBER MARK WORDS…

The moment is around the NUMBER-th call of that method of the store that is about STAGE; the file MARK says
that it has come.
"""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pushmirror.cli.main import main
from pushmirror.state.records import SiteState, Trigger
from pushmirror.state.store import Store

_LONGEST_S = 60  # nobody kills us: the test has failed


def hold(when: str, method: str, stage: str, number: int, mark: Path) -> None:
    """Have the method stop at the moment."""
    original, calls = getattr(Store, method), 0

    def held(store: Store, first: Any, *args: Any, **more: Any) -> Any:
        nonlocal calls
        first = first if isinstance(first, Trigger) else list(first)
        calls += _stage(first) == stage
        is_now = _stage(first) == stage and calls == number
        if is_now and when == "before":
            _stop(mark)
        result = original(store, first, *args, **more)
        if is_now:
            _stop(mark)
        return result

    setattr(Store, method, held)


def _stage(first: Trigger | Iterable[SiteState]) -> str | None:
    return first.stage if isinstance(first, Trigger) else next(iter(first)).sent_stage


def _stop(mark: Path) -> None:
    mark.touch()
    time.sleep(_LONGEST_S)
    os._exit(99)


if __name__ == "__main__":
    when, method, stage, number, mark, *words = sys.argv[1:]
    hold(when, method, stage, int(number), Path(mark))
    sys.exit(main(words))
