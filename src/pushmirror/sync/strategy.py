"""The ways to learn what changed; each fills in a Survey, and all that follows is the same for all of them.

Today there is one, `full`: upstream's listing of the whole tree. `index` and `manifest` are being built:
`by_index.py` and `by_manifest.py`, asked by `question.Question`, chosen by `choice.choices`, each raising
`errors.Unusable` where it cannot answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.generation import TreeDigest
from pushmirror.archive.selection import STAGE1_RULES
from pushmirror.config.model import Strategy
from pushmirror.state.records import Stage
from pushmirror.sync.published import Published
from pushmirror.sync.survey import Comparison, Survey, scanner
from pushmirror.sync.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Question:
    """What a strategy is asked."""

    upstream: Upstream
    tree: Path
    stage: Stage
    pinned: Published  # upstream's state that the answer should be about
    leave_out: Callable[[str], bool]  # tree paths that are not compared
    empty: Path  # an empty directory to use


def full(question: Question) -> Survey:
    """Compare rsync's listing of the whole tree with the disk, both read at the same time."""
    scan = scanner(question.tree, leave_out=question.leave_out)
    digest = None if question.pinned.suites else TreeDigest()
    comparison = Comparison(question.tree, scan, digest=digest)
    rules = STAGE1_RULES if question.stage is Stage.STAGE1 else ()
    question.upstream.listing(comparison.take, empty=question.empty, rules=rules)
    return comparison.finish()


STRATEGIES: dict[Strategy, Callable[[Question], Survey]] = {Strategy.FULL: full}


def choose(wanted: Strategy) -> tuple[Strategy, str]:
    """The strategy to take, and why."""
    if wanted in STRATEGIES:
        return wanted, "as configured"
    if wanted is Strategy.AUTO:
        return Strategy.FULL, "the only one that any rsync daemon offers"
    return Strategy.FULL, f"{wanted.value} is not available in this version"
