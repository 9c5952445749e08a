"""One site as it is seen in the light of an archive's other sites, its generations and the clock.

    new ──▶ late ──stage 1 confirmed──▶ staged ──stage 2 confirmed──▶ live ──something is published──▶ late
             any of them ──a trigger fails──▶ failing             paused: by hand, whatever else it is

Not the business of this module: what a site is to be told next. That is decided by the push, and comes in
as each site's phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from pushmirror.config.model import Push, Site
from pushmirror.errors import Exit
from pushmirror.state.records import Generation, Phase, Standing, is_digest


class SiteState(StrEnum):
    """How a site is doing, in one word."""

    LIVE = "live"  # it serves what we serve
    STAGED = "staged"  # it has stage 1 of what we serve, or are about to
    LATE = "late"  # it has not
    PAUSED = "paused"
    FAILING = "failing"  # it did not answer the last trigger with 0
    NEW = "new"  # it has never confirmed anything

    @property
    def is_behind(self) -> bool:
        """Whether the site has something yet to do."""
        return self in {SiteState.LATE, SiteState.STAGED, SiteState.NEW}


@dataclass(frozen=True)  # without slots: what is worked out once is kept in it
class Scene:
    """What all sites of one archive are seen against."""

    archive: str
    sites: Sequence[Site]
    standings: Mapping[str, Standing]  # by name of the site, of those that have one
    generations: Sequence[Generation]
    phases: Mapping[str, Phase]  # by name of the site
    push: Push
    now: datetime
    pushing: bool | None = None  # a push is under way; none: not known
    stale_after: timedelta = timedelta(hours=12)  # that a site may lack what we serve

    @cached_property
    def served(self) -> Generation | None:
        """What we serve."""
        return next((one for one in self.generations if one.replaced_at is None), None)

    @cached_property
    def everyone(self) -> list[Seen]:
        """All sites, in the given order."""
        return [
            Seen(site, self.standings.get(site.name) or Standing(self.archive, site.name), self)
            for site in self.sites
        ]

    @cached_property
    def delaying(self) -> list[Site]:
        """The sites whose stage 1 others wait for."""
        return [one.site for one in self.everyone if one.delays_others]

    @cached_property
    def gating(self) -> list[str]:
        """The names of the canaries that the others wait for."""
        return [one.site.name for one in self.everyone if one.gates_others]


@dataclass(frozen=True, slots=True)
class Seen:
    """One site."""

    site: Site
    standing: Standing
    scene: Scene

    @property
    def phase(self) -> Phase | None:
        """What it does or waits for; none: it was not asked about."""
        return self.scene.phases.get(self.site.name)

    @property
    def is_current(self) -> bool:
        """Whether it confirmed to serve what we serve."""
        return self.scene.served is not None and self.standing.stage2 == self.scene.served.digest

    @property
    def holds_back(self) -> bool:
        """Whether it is current but for suites, and said so by its exit code."""
        return self.is_current and self.standing.exit_code == Exit.HELD

    @property
    def has_stage1(self) -> bool:
        """Whether it has what our indices refer to."""
        served = self.scene.served
        return served is not None and served.digest in {self.standing.stage1, self.standing.stage2}

    @property
    def state(self) -> SiteState:
        """How it is doing."""
        if self.site.paused or self.phase is Phase.PAUSED:
            return SiteState.PAUSED
        if self.standing.failing_since:
            return SiteState.FAILING
        if self.is_current:
            return SiteState.LIVE
        if not self.standing.stage1 and not self.standing.stage2:
            return SiteState.NEW
        ready = self.has_stage1 or self.phase is Phase.CURRENT  # the latter: for what is published next
        return SiteState.STAGED if ready else SiteState.LATE

    @property
    def pushed_for(self) -> str | None:
        """The generation that it was woken for last and has not confirmed to serve; none: it owes nothing.

        Nor does it for a preparation that has only a name yet, or for what we do not serve yet ourselves.
        """
        standing = self.standing
        known = (standing.sent_generation, standing.tried, standing.stage1)  # the newest first
        last = next((one for one in known if one), None)
        return last if is_digest(last) and last != standing.stage2 and not self.is_current else None

    @property
    def lacks_since(self) -> datetime | None:
        """When we first published something that it does not have; none: it has everything."""
        has, known = self.standing.stage2, self.scene.generations
        if self.is_current or not known:
            return None
        replaced = [one.replaced_at for one in known if one.digest == has and one.replaced_at]
        if replaced:
            return max(replaced)
        if has:  # so old that it has been forgotten here
            return min(one.published_at for one in known)
        return self.scene.served.published_at if self.scene.served else None

    @property
    def delays_others(self) -> bool:
        """Whether staged sites wait for its stage 1; they do not when it has been failing for long."""
        if self.site.paused or not self.site.push.is_staged or self.has_stage1:
            return False
        since = self.standing.failing_since
        return since is None or self.scene.now < since + self.scene.push.deadline

    @property
    def is_abandoned(self) -> bool:
        """Whether whoever woke it is gone, and its answer with it."""
        return self.phase is Phase.TRIGGERED and self.scene.pushing is False

    @property
    def is_left_alone(self) -> bool:
        """Whether it is to be woken and nobody does it; where that cannot be seen, the deadline tells."""
        if self.phase is None or self.phase is Phase.CURRENT or self.lacks_since is None:
            return False
        if self.scene.pushing is None:
            return self.phase is Phase.DUE and self.scene.now - self.lacks_since > self.scene.push.deadline
        return not self.scene.pushing

    @property
    def gates_others(self) -> bool:
        """Whether it is a canary that the others wait for."""
        return self.site.canary and not self.site.paused and self.phase is not Phase.CURRENT
