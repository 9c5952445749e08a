"""One site's status with one archive, as text: its state, activity and reason. Pure.

    new ──▶ late ──stage 1 confirmed──▶ staged ──stage 2 confirmed──▶ live ──something is published──▶ late
             any of them ──a trigger fails──▶ failing             paused: by hand, whatever else it is

Not the business of this module: which trigger is next; the push decides that, and a site's phase says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from pushmirror.archive.generation import short
from pushmirror.config.model import Push, Site
from pushmirror.config.types import span
from pushmirror.errors import Exit
from pushmirror.state.records import Generation, Phase, SiteState, Stage, is_digest
from pushmirror.status.words import ago, cut, listed, time_of_day

_STAGES = {Stage.STAGE1: " for stage 1", Stage.STAGE2: " for stage 2"}

#: The meaning of a shell's messages.
_MEANING = {126: "its forced command cannot be run", 127: "its forced command was not found"}


def activity(one: SiteView) -> str:
    """What it does or waits for, or why it fails; empty if it is current."""
    if one.state is SiteStatus.PAUSED:
        lacks = (
            f", lacks what was published {ago(one.lacks_since, one.context.now)}" if one.lacks_since else ""
        )
        return f"paused by hand{lacks}"
    if one.state is SiteStatus.FAILING:
        return f"{_failed(one)}, {_next_try(one)}: {_why(one)}"
    in_words = _BY_PHASE.get(one.phase)
    return in_words(one) if in_words else ""


def behind(one: SiteView) -> str:
    """What it was pushed for, and what it serves; empty if that is the same, or it was not pushed."""
    if one.pushed_for is None:
        return ""
    at = short(one.site_state.stage2)
    return f"pushed {short(one.pushed_for)}, {f'serves {at}' if at else 'has confirmed none yet'}"


def _failed(one: SiteView) -> str:
    since = time_of_day(one.site_state.failing_since or one.context.now, one.context.now)
    attempts = one.site_state.attempts
    return f"failed {attempts} times since {since}" if attempts > 1 else f"failed at {since}"


def _next_try(one: SiteView) -> str:
    if one.phase is Phase.TRIGGERED:
        triggered = f"triggered again {ago(one.site_state.sent_at, one.context.now)}"
        return f"{triggered}, but {_unheard(one)}" if one.is_orphaned else triggered
    if one.phase is Phase.WAITING_FOR_CANARY:
        return _waiting_for_canary(one)
    if one.context.pushing is False:
        return "pushmirror serve or the next push will retry; neither is running"
    at = one.site_state.next_try_at
    return f"next try in {span(at - one.context.now)}" if at and at > one.context.now else "retry due"


def _why(one: SiteView) -> str:
    """The result of the last trigger, with the site's output if there is any."""
    words, code = one.site_state.last_words, one.site_state.exit_code
    said = cut(words)
    if code is None:  # with the reason and what to do
        more = f"; see pushmirror check --site {one.site.name}" if said != words else ""
        return f"{said}{more}" if said else "no answer"
    meaning = _MEANING.get(code, "")
    result = f"exit code {code} ({meaning})" if meaning and meaning not in said else f"exit code {code}"
    return f"{result}, {said}" if said else f"{result}, no output"


def _woken(one: SiteView) -> str:
    stage = _STAGES.get(one.site_state.sent_stage or Stage.ALL, "")
    triggered = f"triggered{stage} {ago(one.site_state.sent_at, one.context.now)}"
    if one.is_orphaned:
        return f"{triggered}, but {_unheard(one)}"
    return f"{triggered}, no answer yet"


def _unheard(one: SiteView) -> str:
    return f"its answer was lost (the push process is gone): {_push(one)}"


def _waiting_for_canary(one: SiteView) -> str:
    canaries = one.context.gating
    return f"waits for the canar{'y' if len(canaries) == 1 else 'ies'} {listed(canaries)}{_unpushed(one)}"


def _delayed(one: SiteView) -> str:
    return f"waits for its delay of {' and '.join(map(str, one.site.delay))}{_unpushed(one)}"


def _held(one: SiteView) -> str:
    """What a site at the barrier waits for: canaries for canaries only, the others for each other."""
    others = [other.name for other in one.context.delaying if other.canary is one.site.canary]
    awaited = f"{len(others)} other{'' if len(others) == 1 else 's'}: {listed(others)}"
    return f"stage 1 done, waits for {awaited}{_unpushed(one)}"


def _unpushed(one: SiteView) -> str:
    return f"; no push is running: {_push(one)}" if one.context.pushing is False else ""


def _due(one: SiteView) -> str:
    has = "stage 1 done, " if one.state is SiteStatus.STAGED else ""
    if one.is_unattended:
        return f"{has}push due, but nothing is pushing: {_push(one)}"
    return f"{has}push due"


def _push(one: SiteView) -> str:
    return f"run pushmirror serve, or pushmirror push {one.context.archive}"


def _ready(one: SiteView) -> str:
    if one.holds_back:
        return f"holds suites back: {cut(one.site_state.last_words) or 'not reported which'}"
    if one.state is SiteStatus.STAGED:
        return "stage 1 done, waits until it is published here"
    return "" if one.context.served else "nothing is published here yet"


_BY_PHASE: dict[Phase | None, Callable[[SiteView], str]] = {
    Phase.TRIGGERED: _woken,
    Phase.WAITING_FOR_CANARY: _waiting_for_canary,
    Phase.DELAYED: _delayed,
    Phase.WAITING_FOR_STAGE1: _held,
    Phase.DUE: _due,
    Phase.BACKING_OFF: _next_try,
    Phase.CURRENT: _ready,
}


class SiteStatus(StrEnum):
    """A site's status in one word."""

    LIVE = "live"  # serves what we serve
    STAGED = "staged"  # has stage 1 of what we serve, or are about to serve
    LATE = "late"  # does not serve it
    PAUSED = "paused"
    FAILING = "failing"  # the last trigger's exit code was not 0
    NEW = "new"  # has never confirmed anything

    @property
    def is_behind(self) -> bool:
        """Whether the site lacks something."""
        return self in {SiteStatus.LATE, SiteStatus.STAGED, SiteStatus.NEW}


@dataclass(frozen=True)  # no slots, for cached properties
class StatusContext:
    """What the status of all sites of one archive depends on."""

    archive: str
    sites: Sequence[Site]
    site_states: Mapping[str, SiteState]  # by name of the site, of those that have one
    generations: Sequence[Generation]
    phases: Mapping[str, Phase]  # by name of the site
    push: Push
    now: datetime
    pushing: bool | None = None  # whether a push is in progress; None: unknown
    stale_after: timedelta = timedelta(hours=12)  # that a site may lack what we serve

    @cached_property
    def served(self) -> Generation | None:
        """What we serve."""
        return next((one for one in self.generations if one.replaced_at is None), None)

    @cached_property
    def everyone(self) -> list[SiteView]:
        """All sites, in the given order."""
        return [
            SiteView(site, self.site_states.get(site.name) or SiteState(self.archive, site.name), self)
            for site in self.sites
        ]

    @cached_property
    def delaying(self) -> list[Site]:
        """The sites whose stage 1 others wait for."""
        return [one.site for one in self.everyone if one.delays_others]

    @cached_property
    def gating(self) -> list[str]:
        """The names of the canaries that the others wait for."""
        return [one.site.name for one in self.everyone if one.is_awaited_canary]


@dataclass(frozen=True, slots=True)
class SiteView:
    """One site."""

    site: Site
    site_state: SiteState
    context: StatusContext

    @property
    def phase(self) -> Phase | None:
        """What it does or waits for; None: unknown."""
        return self.context.phases.get(self.site.name)

    @property
    def is_current(self) -> bool:
        """Whether it has confirmed that it serves what we serve."""
        return self.context.served is not None and self.site_state.stage2 == self.context.served.digest

    @property
    def holds_back(self) -> bool:
        """Whether it is current except for suites that it holds back, by its exit code."""
        return self.is_current and self.site_state.exit_code == Exit.HELD

    @property
    def has_stage1(self) -> bool:
        """Whether it has the files that our indices refer to."""
        served = self.context.served
        return served is not None and served.digest in {self.site_state.stage1, self.site_state.stage2}

    @property
    def state(self) -> SiteStatus:
        """Its status."""
        if self.site.paused or self.phase is Phase.PAUSED:
            return SiteStatus.PAUSED
        if self.site_state.failing_since:
            return SiteStatus.FAILING
        if self.is_current:
            return SiteStatus.LIVE
        if not self.site_state.stage1 and not self.site_state.stage2:
            return SiteStatus.NEW
        ready = self.has_stage1 or self.phase is Phase.CURRENT  # the latter: for what is published next
        return SiteStatus.STAGED if ready else SiteStatus.LATE

    @property
    def pushed_for(self) -> str | None:
        """The generation that it was last pushed for and has not confirmed to serve; None: there is none.

        A preparation without a digest, and what we do not serve ourselves yet, do not count.
        """
        site_state = self.site_state
        known = (site_state.sent_generation, site_state.tried, site_state.stage1)  # the newest first
        last = next((one for one in known if one), None)
        return last if is_digest(last) and last != site_state.stage2 and not self.is_current else None

    @property
    def lacks_since(self) -> datetime | None:
        """When we first published something that it lacks; None: it has everything."""
        has, known = self.site_state.stage2, self.context.generations
        if self.is_current or not known:
            return None
        replaced = [one.replaced_at for one in known if one.digest == has and one.replaced_at]
        if replaced:
            return max(replaced)
        if has:  # so old that it was pruned here
            return min(one.published_at for one in known)
        return self.context.served.published_at if self.context.served else None

    @property
    def delays_others(self) -> bool:
        """Whether staged sites wait for its stage 1; they do not if it has failed for long."""
        if self.site.paused or not self.site.push.is_staged or self.has_stage1:
            return False
        since = self.site_state.failing_since
        return since is None or self.context.now < since + self.context.push.deadline

    @property
    def is_orphaned(self) -> bool:
        """Whether the process that sent the last trigger is gone, and its answer with it."""
        return self.phase is Phase.TRIGGERED and self.context.pushing is False

    @property
    def is_unattended(self) -> bool:
        """Whether it is due and no process pushes it; if that is unknown, the deadline decides."""
        if self.phase is None or self.phase is Phase.CURRENT or self.lacks_since is None:
            return False
        if self.context.pushing is None:
            return (
                self.phase is Phase.DUE and self.context.now - self.lacks_since > self.context.push.deadline
            )
        return not self.context.pushing

    @property
    def is_awaited_canary(self) -> bool:
        """Whether it is a canary that the others wait for."""
        return self.site.canary and not self.site.paused and self.phase is not Phase.CURRENT
