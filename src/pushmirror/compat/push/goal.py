"""What a call of runmirrors makes the goal of a push: sites are woken whatever they have confirmed before.

Nobody who calls runmirrors says what there is to fetch. Where the store knows what is served, that is the
goal, anew; where it does not, as with an archive that pushmirror never looked at, a generation is made up.
A preparation is made up for the stage 1 that comes before its publication, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pushmirror.compat.push.sites import Course
from pushmirror.config.model import Site
from pushmirror.push.standing import anew, at_once
from pushmirror.state.records import Standing

if TYPE_CHECKING:
    from pushmirror.state.store import Store

_MADE_UP = " by runmirrors"


def aim(store: Store, archive: str, sites: Iterable[Site], course: Course, now: datetime) -> None:
    """Have these sites woken as the caller says, whatever they have."""
    if course.is_ahead:
        _prepare(store, archive, now)
    elif course.is_stage2:
        _publish_for_stage2(store, archive, sites, now)
    elif _is_unknown(store, archive):
        store.publish_generation(archive, _new(now), None, now)
    else:
        store.change_standings(archive, _forgotten)


def stage1_was_had(store: Store, archive: str, sites: Iterable[Site]) -> None:
    """Stage 2 is to follow: if nobody was woken for the stage 1 of what is served, all have had it."""
    served = store.latest_generation(archive)
    staged = {site.name for site in sites if site.push.is_staged}
    known = store.standings(archive)
    if served is None or any(_was_woken(one, served.digest) for name, one in known.items() if name in staged):
        return
    standings = [known.get(name, Standing(archive, name)) for name in staged]
    store.put_standings(
        replace(one, stage1=served.digest) for one in standings if one.stage2 != served.digest
    )


def _prepare(store: Store, archive: str, now: datetime) -> None:
    prepared = store.preparation(archive)
    if prepared is None or _is_made_up(prepared.generation):
        store.prepare(archive, _new(now))
        return

    def again(one: Standing) -> Standing:
        return replace(_forgotten(one), stage2=one.stage2) if one.stage1 == prepared.generation else one

    store.change_standings(archive, again)


def _publish_for_stage2(store: Store, archive: str, sites: Iterable[Site], now: datetime) -> None:
    """Whoever was woken for stage 1 and failed gets it first; without such a call all have had it."""
    prepared = store.preparation(archive)
    ahead = prepared.generation if prepared and _is_made_up(prepared.generation) else None
    had_it = {name for name, one in store.standings(archive).items() if ahead and one.stage1 == ahead}
    if _is_unknown(store, archive):
        store.publish_generation(archive, ahead or _new(now), None, now)
    elif ahead:
        store.unprepare(archive)
    served = store.latest_generation(archive)
    assert served is not None
    known = store.standings(archive)
    for site in sites:
        one = known.get(site.name, Standing(archive, site.name))
        stage1 = served.digest if site.push.is_staged and (not ahead or site.name in had_it) else None
        # Answers that are on their way to an earlier stage 2 are not to this one.
        sent = one.sent_generation if one.sent_generation == ahead else None
        known[site.name] = replace(at_once(one), stage1=stage1, stage2=None, sent_generation=sent)
    store.put_standings(known.values())


def _is_unknown(store: Store, archive: str) -> bool:
    """Whether nobody but us has ever said what is served."""
    served = store.latest_generation(archive)
    return served is None or _is_made_up(served.digest)


def _was_woken(one: Standing, generation: str) -> bool:
    return generation in (one.stage1, one.tried, one.sent_generation)


def _forgotten(one: Standing) -> Standing:
    """It has confirmed nothing, nor does what it is about to confirm count: we were called after that."""
    return replace(anew(one), sent_generation=None)


def _new(now: datetime) -> str:
    return f"{now:%y%m%d-%H%M%S.%f}{_MADE_UP}"


def _is_made_up(generation: str) -> bool:
    return generation.endswith(_MADE_UP)
