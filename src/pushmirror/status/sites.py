"""The health of an archive's sites, from their states and the clock. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pushmirror.archive.generation import short
from pushmirror.config.model import Push, Site
from pushmirror.state.records import Generation, Phase, SiteState
from pushmirror.status.site import SiteStatus, SiteView, StatusContext, activity, behind
from pushmirror.status.words import Level, by_age, cut, listed, time_of_day

_URGENT = (Level.ERROR, Level.WARNING)


@dataclass(frozen=True, slots=True)
class SiteHealth:
    """The health of one site with one archive."""

    archive: str
    site: str
    state: SiteStatus
    level: Level
    generation: str | None  # the first digits of the generation that it confirmed to serve
    current: bool  # whether we serve that one
    since: datetime | None  # of this state, if known; late: when we published what it lacks
    activity: str  # what it does or waits for, or why it fails; empty: nothing
    last_line: str  # the last line of its answer
    exit_code: int | None  # of its last answer; None: there was none
    confirmed_at: datetime | None  # of its last confirmation
    next_try_at: datetime | None
    pushed_for: str | None = None  # the first digits of what it was pushed for and has not confirmed to serve
    behind: str = ""  # that and what it serves, in words


def summarise_sites(
    archive: str,
    sites: Sequence[Site],
    *,
    site_states: Mapping[str, SiteState],
    generations: Sequence[Generation],
    phases: Mapping[str, Phase],
    push: Push,
    now: datetime,
    pushing: bool | None = None,
    stale_after: timedelta = timedelta(hours=12),
) -> list[SiteHealth]:
    """The health of an archive's sites: first those that need attention, each in the given order.

    `site_states` and `phases` are by the name of the site; `generations` are what is known of the archive's,
    in any order; `pushing` says whether a push of the archive is under way, none where that is not known. A
    site that is late counts after the push deadline, a failing one after `report_after`; one that has lacked
    what we serve for `stale_after` is a warning whatever it does, and an error after three times that, unless
    it was paused by hand.
    """
    context = StatusContext(archive, sites, site_states, generations, phases, push, now, pushing, stale_after)
    found = [_health(one) for one in context.everyone]
    urgent = [one for level in _URGENT for one in found if one.level is level]
    return [*urgent, *(one for one in found if one.level not in _URGENT)]


def _health(one: SiteView) -> SiteHealth:
    site_state = one.site_state
    confirmed = [at for at in (site_state.stage1_at, site_state.stage2_at) if at]
    return SiteHealth(
        archive=site_state.archive,
        site=one.site.name,
        state=one.state,
        level=_level(one),
        generation=short(site_state.stage2),
        current=one.is_current,
        since=_since(one),
        activity=activity(one),
        last_line=cut(site_state.last_words),
        exit_code=site_state.exit_code,
        confirmed_at=max(confirmed, default=None),
        next_try_at=site_state.next_try_at,
        pushed_for=short(one.pushed_for),
        behind=behind(one),
    )


def _since(one: SiteView) -> datetime | None:
    match one.state:
        case SiteStatus.LIVE:
            return one.site_state.stage2_at
        case SiteStatus.STAGED:
            return one.site_state.stage1_at
        case SiteStatus.FAILING:
            return one.site_state.failing_since
        case SiteStatus.NEW | SiteStatus.PAUSED:  # the time of the pause is not stored
            return None
    return one.lacks_since


def _level(one: SiteView) -> Level:
    """The level by its status, or by its age if that is worse."""
    level = _level_of_doing(one)
    if one.state is SiteStatus.PAUSED or one.lacks_since is None or level is Level.ERROR:
        return level
    aged = by_age(one.context.now - one.lacks_since, one.context.stale_after)
    return level if aged is Level.OK else aged


def _level_of_doing(one: SiteView) -> Level:
    now, push, failing_since = one.context.now, one.context.push, one.site_state.failing_since
    if one.state is SiteStatus.FAILING and failing_since:
        return Level.ERROR if now - failing_since >= push.report_after else Level.WARNING
    if one.state is SiteStatus.LIVE and one.holds_back:
        return Level.WARNING
    if not one.state.is_behind or one.lacks_since is None:
        return Level.OK
    if one.is_unattended:
        return Level.WARNING
    first = one.state is SiteStatus.NEW and one.phase is Phase.TRIGGERED  # takes as long as its line needs
    return Level.RUNNING if first or now - one.lacks_since <= push.deadline else Level.WARNING


def attention_to(sites: Sequence[SiteHealth], now: datetime) -> Iterator[str]:
    """What needs attention: at most one sentence for all failing sites, and one for all late ones."""
    failing = [one for one in sites if one.state is SiteStatus.FAILING]
    if len(failing) == 1:
        yield f"{failing[0].site} {failing[0].activity}"
    elif failing:
        since = min(one.since for one in failing if one.since)
        names = listed([one.site for one in failing])
        yield f"{len(failing)} sites are failing, the first since {time_of_day(since, now)}: {names}"
    late = [one for one in sites if one.state is not SiteStatus.FAILING and one.level in _URGENT]
    if len(late) == 1:
        yield f"{late[0].site} ({late[0].state}): {late[0].activity}"
    elif late:
        counts = Counter(one.state for one in late)
        kinds = ", ".join(f"{count} {state}" for state, count in counts.items())
        are = f"behind ({kinds})" if len(counts) > 1 else late[0].state
        yield f"{len(late)} sites are {are}: {listed([one.site for one in late])}"
