"""What time alone does to an archive's health: nothing stays good by standing still. Pure.

    our last success          ──stale_after──▶ warning ──three times that──▶ error
    upstream's last change    ──   the same, or twice what is usual there if that is longer

An archive without upstream is its owner's, who calls `sync` when it has changed: it becomes stale by neither.
A run under way is not warned of; once the last success is so old that it is an error, it is one all the same.
Where nothing is known yet of how often upstream changes, its age alone is a warning at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from pushmirror.config.types import span
from pushmirror.state.records import Generation
from pushmirror.status.archives import OWNER, ArchiveHealth
from pushmirror.status.words import Level, by_age, raised

_LEAST_GAPS = 2  # between changes, before they are called usual
_GAPS = 20  # the last of them
_UNUSUAL = 2  # times what is usual
_TO_COME = timedelta(hours=1)  # more than clocks are set back by in passing


def usual_gap(generations: Iterable[Generation]) -> timedelta | None:
    """How long it usually is between two changes of an archive; none: too few are known."""
    times = sorted(one.published_at for one in generations)
    gaps = sorted([after - before for before, after in pairwise(times)][-_GAPS:])
    return gaps[len(gaps) // 2] if len(gaps) >= _LEAST_GAPS else None


def with_age(
    health: ArchiveHealth,
    *,
    stale_after: timedelta,
    now: datetime,
    upstream_changed_at: datetime | None = None,
    usual: timedelta | None = None,
) -> ArchiveHealth:
    """An archive's health in the light of the clock.

    `upstream_changed_at` is what upstream's own files say, none where that is not known; `usual` is how long
    it is between two of its changes.
    """
    health = replace(health, upstream_changed_at=upstream_changed_at)
    if health.upstream == OWNER:
        return health
    found = [*_of_success(health, stale_after, now), *_of_change(health, stale_after, usual, now)]
    level = health.level
    for by, _ in found:
        level = raised(level, by)
    return replace(health, level=level, attention=(*health.attention, *(words for _, words in found)))


def _of_success(health: ArchiveHealth, stale_after: timedelta, now: datetime) -> Iterator[tuple[Level, str]]:
    last = health.last_success_at or health.published_at
    if last is None:  # the first run is to come, or takes as long as its line needs
        if (began := health.running_since) and by_age(now - began, stale_after) is Level.ERROR:
            yield Level.WARNING, f"the first run has been running for {span(now - began)}"
        return
    if last - now > _TO_COME:
        what = f"the last success was at {last:%Y-%m-%d %H:%M} UTC, which is in the future"
        todo = f"set this machine's clock if it is wrong, and run pushmirror sync {health.archive}"
        yield Level.WARNING, f"{what}: {todo}"
    level = by_age(now - last, stale_after)
    if level is Level.OK or (level is Level.WARNING and health.running_since):
        return
    todo = f"run pushmirror sync {health.archive}; pushmirror check shows what should start it"
    if health.running_since:
        todo = f"a run has been going on for {span(now - health.running_since)}"
    yield level, f"the last success was {span(now - last)} ago (stale_after: {span(stale_after)}): {todo}"


def _of_change(
    health: ArchiveHealth, stale_after: timedelta, usual: timedelta | None, now: datetime
) -> Iterator[tuple[Level, str]]:
    if (changed := health.upstream_changed_at) is None:
        return
    limit = max(stale_after, _UNUSUAL * usual) if usual else stale_after
    level = by_age(now - changed, limit)
    if level is Level.OK:
        return
    changes = f"upstream's last change was {span(now - changed)} ago"
    if usual:
        yield (
            level,
            f"{changes}, it usually changes every {span(usual)}: check whether upstream still works",
        )
    else:
        seldom = f"if it rarely changes, set stale_after in [archives.{health.archive}]"
        yield Level.WARNING, f"{changes}: check whether upstream still works; {seldom}"
