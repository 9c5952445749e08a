"""Decide which triggers are due: a pure function of the sites, their states, the goal and the clock.

                 ┌──────── the hub publishes something newer: it all begins again ────────┐
                 ▼                                                                        │
    all     DUE ─all────▶ TRIGGERED ─0────────────────────────────────────────────▶ CURRENT
    staged  DUE ─stage1─▶ TRIGGERED ─0─▶ WAITING_FOR_STAGE1 ─barrier─▶ DUE ─stage2─▶ TRIGGERED ─0─▶ CURRENT
    mhop    as staged, and the site pushes its own staged sites before it answers stage 1
                              └─else─▶ BACKING_OFF ─back-off is over─▶ DUE
    WAITING_FOR_CANARY  in front of all of it, while a canary is not current;  PAUSED  by hand
    DELAYED             in front of it, too, until the site's delay is over

Guaranteed, under any order of events: no site gets stage 2 of a generation whose stage 1 it has not
confirmed; nothing that a site confirmed is sent to it again; a paused site is left alone; whoever is
not paused and answers becomes current. Deciding again is the recovery from everything: nothing is stored
here. Not the business of this module: carrying it out (`engine.py`), what an answer changes
(`push/site_state.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil

from pushmirror.config.model import Push, PushKind, Site
from pushmirror.state.records import Phase, SiteState, Stage

Targets = tuple[str | None, str | None]  # the published and the prepared generation


@dataclass(frozen=True, slots=True)
class Goal:
    """The generations that the sites of an archive should reach."""

    archive: str
    published: str | None  # the generation that we serve; none: nothing was published yet
    since: datetime  # when its push began; the deadline counts from here
    prepared: str | None = None  # the generation that is fetched but not published: stage 1 may begin
    delays_since: datetime | None = (
        None  # when a delay began that is not over yet, for an older goal; or none
    )

    @property
    def aim(self) -> Targets:
        """The part of it that makes it another goal."""
        return self.published, self.prepared

    @property
    def ahead(self) -> str | None:
        """The prepared generation, unless it is the published one."""
        return None if self.prepared == self.published else self.prepared


@dataclass(frozen=True, slots=True)
class Send:
    """A trigger that is due."""

    site: Site
    stage: Stage
    generation: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The triggers that are due now, and each site's phase."""

    sends: tuple[Send, ...]
    phases: Mapping[str, Phase]  # by name of the site
    reports: tuple[str, ...] = ()  # sites that have failed for long and are reported now, once
    wake_at: datetime | None = None  # when time alone changes this decision

    def among(self, names: Collection[str]) -> Decision:
        """The decision restricted to these sites."""
        return replace(
            self,
            sends=tuple(send for send in self.sends if send.site.name in names),
            phases={name: phase for name, phase in self.phases.items() if name in names},
            reports=tuple(name for name in self.reports if name in names),
        )

    def beside(self, other: Decision) -> Decision:
        """This decision for its sites, and the other one for all others."""
        rest = self.among(self.phases.keys() - other.phases.keys())
        moments = [at for at in (rest.wake_at, other.wake_at) if at]
        return Decision(
            sends=(*rest.sends, *other.sends),
            phases={**rest.phases, **other.phases},
            reports=(*rest.reports, *other.reports),
            wake_at=min(moments, default=None),
        )

    def sites_in(self, *phases: Phase) -> list[str]:
        """The names of the sites in any of these phases."""
        return [name for name, phase in self.phases.items() if phase in phases]


#: The next stage to send, by the kind of push and whether the site has confirmed stage 1.
_NEXT: dict[tuple[PushKind, bool], Stage] = {
    (PushKind.ALL, False): Stage.ALL,
    (PushKind.ALL, True): Stage.ALL,
    (PushKind.STAGED, False): Stage.STAGE1,
    (PushKind.STAGED, True): Stage.STAGE2,
    (PushKind.MHOP, False): Stage.STAGE1,
    (PushKind.MHOP, True): Stage.STAGE2,
}


def decide(
    sites: Sequence[Site], site_states: Mapping[str, SiteState], goal: Goal, rules: Push, now: datetime
) -> Decision:
    """Decide which triggers are due now.

    `sites` are the pushed sites of the goal's archive, `site_states` the states of those that have one, by
    name. Other sites are ignored.
    """
    everyone = _everyone(sites, site_states, goal)
    awaited = [one for one in everyone if one.is_willing]
    context = _Situation(
        goal, rules, now, canaries=_only(awaited, canary=True), others=_only(awaited, canary=False)
    )
    phases = {one.site.name: _phase(one, context) for one in everyone}
    due = [one for one in everyone if phases[one.site.name] is Phase.DUE]
    return Decision(
        sends=tuple(Send(one.site, *one.next) for one in due if one.next),
        phases=phases,
        reports=tuple(one.site.name for one in awaited if (at := one.report_at(rules)) and now >= at),
        wake_at=min(_moments(everyone, phases, context), default=None),
    )


def lacking_stage1(
    sites: Sequence[Site], site_states: Mapping[str, SiteState], goal: Goal, rules: Push, now: datetime
) -> list[str]:
    """The sites that an mhop hub waits for: those without stage 1 of the prepared generation."""
    awaited = (one for one in _everyone(sites, site_states, goal) if one.is_staged and one.is_willing)
    lacking = (one for one in awaited if not one.has_stage1_of(goal.prepared))
    return [one.site.name for one in lacking if not one.is_given_up(rules, now)]


def _everyone(sites: Iterable[Site], site_states: Mapping[str, SiteState], goal: Goal) -> list[_SiteView]:
    return [
        _SiteView(site, site_states.get(site.name, SiteState(goal.archive, site.name)), goal)
        for site in sites
    ]


@dataclass(frozen=True, slots=True)
class _SiteView:
    """A site and its state with the goal."""

    site: Site
    site_state: SiteState
    goal: Goal
    next: tuple[Stage, str] | None = field(init=False)  # what it needs, and of which generation

    def __post_init__(self) -> None:
        object.__setattr__(self, "next", self._next())

    def _next(self) -> tuple[Stage, str] | None:
        published, ahead = self.goal.published, self.goal.ahead
        if published and self.site_state.stage2 != published:
            return _NEXT[self.site.push, self.site_state.stage1 == published], published
        if ahead and self.is_staged and self.site_state.stage1 != ahead:
            return Stage.STAGE1, ahead
        return None

    @property
    def is_staged(self) -> bool:
        return self.site.push.is_staged

    @property
    def is_willing(self) -> bool:
        return not self.site.paused

    @property
    def is_in_flight(self) -> bool:
        return self.site_state.sent_stage is not None

    @property
    def is_past_barrier(self) -> bool:
        """Whether stage 2 of the published generation was sent to it: the barrier was open then."""
        site_state, published = self.site_state, self.goal.published
        is_sent = site_state.sent_stage is Stage.STAGE2 and site_state.sent_generation == published
        has_failed = site_state.tried == site_state.stage1 == published  # it had succeeded with stage 1
        return is_sent or has_failed or site_state.stage2 == published

    def has_stage1_of(self, generation: str | None) -> bool:
        """Whether it has the files that the indices of a generation refer to."""
        return generation in (self.site_state.stage1, self.site_state.stage2)

    def is_given_up(self, rules: Push, now: datetime) -> bool:
        """Whether it has failed for so long that others no longer wait for it; it is still retried."""
        since = self.site_state.failing_since
        return since is not None and now >= since + rules.deadline

    def report_at(self, rules: Push) -> datetime | None:
        """When it will have failed for so long that it is reported; None if it need not be."""
        since = self.site_state.failing_since
        if since is None or self.site_state.reported or self.next is None or not self.is_willing:
            return None
        return since + rules.report_after


@dataclass(frozen=True, slots=True)
class _Situation:
    """What a site's phase depends on besides its own state."""

    goal: Goal
    rules: Push
    now: datetime
    canaries: Sequence[_SiteView]  # not paused
    others: Sequence[_SiteView]  # the same
    is_open: Mapping[bool, bool] = field(init=False)  # the barrier, of the canaries and of the others

    def __post_init__(self) -> None:
        # Computed once, not per site: else every answer would cost sites times sites.
        object.__setattr__(self, "is_open", {canary: self._is_open(canary) for canary in (True, False)})

    def _is_open(self, canary: bool) -> bool:
        """Whether the barrier is open; canaries wait for canaries only, the others for the others."""
        group = [one for one in (self.canaries if canary else self.others) if one.is_staged]
        if any(one.is_past_barrier for one in group):
            return True  # once open it stays open, also for new sites
        since, deadline = self.began(canary), self.rules.deadline
        if not since - deadline <= self.now < since + deadline:
            return True  # also when the clock was set back to long before
        awaited = [one for one in group if not one.is_given_up(self.rules, self.now)]
        # Rounded: as a float, 0.28 of 25 is a little more than 7.
        enough = ceil(round(self.rules.quorum * len(awaited), 6))
        return sum(one.has_stage1_of(self.goal.published) for one in awaited) >= enough

    def began(self, canary: bool) -> datetime:
        """When a group could begin: canaries at once, the others once the last canary is current."""
        if canary:
            return self.goal.since
        ends = [one.site_state.stage2_at for one in self.canaries]
        return max([self.goal.since, *(end for end in ends if end)])

    def turn_of(self, site: Site) -> datetime:
        """When its delays are over; they are added."""
        at = self.delays_from(site)
        for wait in site.delay:
            until = at + wait.at_most
            at = min(until, max(at, self.staged_at)) if wait.until_stage1 and self.staged_at else until
        return at

    def delays_from(self, site: Site) -> datetime:
        """When its delays begin; a newer goal during a delay does not start it again."""
        since = self.goal.delays_since
        began = self.began(site.canary)
        return min(since, began) if since else began

    @property
    def staged_at(self) -> datetime | None:
        """When the barrier opened for sites that are not canaries; None: it is closed."""
        if not self.is_open[False]:
            return None
        began = self.began(canary=False)
        staged = [one.site_state.stage1_at for one in self.others if one.is_staged]
        return min(max([began, *(at for at in staged if at)]), began + self.rules.deadline)


def _phase(one: _SiteView, context: _Situation) -> Phase:
    for phase, holds in _PHASES:
        if holds(one, context):
            return phase
    return Phase.DUE


def _waits_for_canaries(one: _SiteView, context: _Situation) -> bool:
    if one.site.canary or one.next is None:
        return False
    # A canary without the prepared generation delays nobody's published one.
    gating = (context.goal.published, one.next[1])
    return any(canary.next is not None and canary.next[1] in gating for canary in context.canaries)


def _waits_for_its_delay(one: _SiteView, context: _Situation) -> bool:
    if not one.site.delay or one.next is None or one.next[0] is Stage.STAGE2:
        return False
    is_ahead = one.next[1] != context.goal.published  # the time of the preparation is unknown
    return not is_ahead and context.delays_from(one.site) <= context.now < context.turn_of(one.site)


def _is_backing_off(one: _SiteView, context: _Situation) -> bool:
    site_state = one.site_state
    if site_state.next_try_at is None or one.next is None or site_state.tried != one.next[1]:
        return False  # something newer than what it failed with is tried at once
    far = 2 * context.rules.retry_at_most  # a clock that was set back must not delay a site
    return context.now < site_state.next_try_at <= context.now + far


def _waits_for_stage1_of_others(one: _SiteView, context: _Situation) -> bool:
    return one.next is not None and one.next[0] is Stage.STAGE2 and not context.is_open[one.site.canary]


#: The reasons not to push a site: the first that applies is its phase; if none does, it is DUE.
_PHASES: tuple[tuple[Phase, Callable[[_SiteView, _Situation], bool]], ...] = (
    (Phase.TRIGGERED, lambda one, _: one.is_in_flight),
    (Phase.CURRENT, lambda one, _: one.next is None),
    (Phase.PAUSED, lambda one, _: not one.is_willing),
    (Phase.WAITING_FOR_CANARY, _waits_for_canaries),
    (Phase.DELAYED, _waits_for_its_delay),
    (Phase.BACKING_OFF, _is_backing_off),
    (Phase.WAITING_FOR_STAGE1, _waits_for_stage1_of_others),
)


def _moments(
    everyone: Iterable[_SiteView], phases: Mapping[str, Phase], context: _Situation
) -> Iterable[datetime]:
    """The future moments at which the same input leads to another decision."""
    rules, any_waits = context.rules, False  # for the stage 1 of others
    moments: list[datetime | None] = []
    for one in everyone:
        moments.append(one.report_at(rules))
        if phases[one.site.name] is Phase.BACKING_OFF:
            moments.append(one.site_state.next_try_at)
        if phases[one.site.name] is Phase.DELAYED:
            moments.append(context.turn_of(one.site))
            if any(wait.until_stage1 for wait in one.site.delay):  # it also waits for the waiting ones
                any_waits = True
                moments.append(context.began(canary=False) + rules.deadline)
        if phases[one.site.name] is Phase.WAITING_FOR_STAGE1:
            any_waits = True
            moments.append(context.began(one.site.canary) + rules.deadline)
    if any_waits:
        failing_since = (one.site_state.failing_since for one in everyone)
        moments += [since + rules.deadline for since in failing_since if since]
    return [moment for moment in moments if moment and moment > context.now]


def _only(sites: Iterable[_SiteView], *, canary: bool) -> list[_SiteView]:
    return [one for one in sites if one.site.canary is canary]
