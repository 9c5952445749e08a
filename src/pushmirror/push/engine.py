"""One push of one archive, carried out: decide, send what is due, listen, decide again.

    look ──▶ decide ──▶ send ──▶ wait for an answer, news or the clock ──┐
     ▲                                                                   │
     └───────────────────────────────────────────────────────────────────┘

Guaranteed: a trigger is stored before it is sent, and an answer before anything follows from it, so that any
process can continue for a killed one. The caller holds the archive's push lock.
Not the business of this module: what is due (`decide.py`), connections (`ssh/`).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pushmirror.archive.generation import short
from pushmirror.config.model import Config, Push, Site
from pushmirror.push import site_state
from pushmirror.push.decide import Decision, Goal, Send, Targets, decide
from pushmirror.push.hooks import PushHooks
from pushmirror.push.in_flight import InFlight, TriggerResult
from pushmirror.push.trigger_sender import TriggerSender
from pushmirror.state.records import Phase, SiteState
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.store import Store


@dataclass(frozen=True, slots=True)
class PushSnapshot:
    """A push at one moment."""

    goal: Goal
    sites: Sequence[Site]
    site_states: Mapping[str, SiteState]  # by name of the site
    decision: Decision


class PushObserver(Protocol):
    """Observes a push."""

    def on_decision(self, view: PushSnapshot) -> None:
        """A decision was made."""

    def on_answer(self, send: Send, site_state: SiteState, seconds: float) -> None:
        """A site answered, or failed to; `site_state` is its new state."""


class SilentObserver:
    """Ignores everything."""

    def on_decision(self, view: PushSnapshot) -> None:
        """Ignored."""

    def on_answer(self, send: Send, site_state: SiteState, seconds: float) -> None:
        """Ignored."""


_log = logging.getLogger(__name__)
_NEWS_S = 0.5  # between two readings of what others may have changed
_PRUNE_S = 3600.0  # between two prunings of old triggers
_JITTER = (0.8, 1.2)
_KEPT_TRIGGERS = 20_000  # per archive
_KEPT_OUTPUTS = 1_000  # of these; each may be of 64 KiB
_IN_USE = (
    Phase.TRIGGERED,
    Phase.WAITING_FOR_STAGE1,
    Phase.DUE,
)  # a connection to such a site is worth keeping

Over = Callable[[Decision], bool]
Refused = Callable[[Config, str, datetime], str]  # the site's name; since when; why, or nothing


def never_refused(_: Config, site: str, since: datetime) -> str:  # noqa: ARG001  any site, at any time
    """No login was refused."""
    return ""


def targets_of(store: Store, archive: str) -> Targets:
    """The generations that the sites of an archive should reach now."""
    served, prepared = store.latest_generation(archive), store.preparation(archive)
    return served.digest if served else None, prepared.generation if prepared else None


def chosen(sites: Iterable[Site], only: frozenset[str]) -> list[Site]:
    """The sites of these names; all of them, if there are no names."""
    return [site for site in sites if not only or site.name in only]


def decided(
    sites: Iterable[Site],
    site_states: Mapping[str, SiteState],
    goal: Goal,
    rules: Push,
    now: datetime,
    *,
    only: frozenset[str],
    hurried: frozenset[str] = frozenset(),
) -> Decision:
    """Decide for the sites of these names: they wait for canaries, not for others' stage 1 or delays.

    The same holds for sites that are `hurried` among all sites; the others' barrier ignores these.
    """
    if hurried and not only:
        others = [site for site in sites if site.canary or site.name not in hurried]
        alone = decided(sites, site_states, goal, rules, now, only=hurried)
        return decide(others, site_states, goal, rules, now).beside(alone)
    awaited = [site for site in sites if not only or site.name in only or site.canary]
    if only:
        awaited = [site.model_copy(update={"delay": ()}) for site in awaited]
    decision = decide(awaited, site_states, goal, rules, now)
    return decision.among(only) if only else decision


def is_quiet(decision: Decision) -> bool:
    """Whether nothing happens until a retry, a canary's recovery, a new goal or the operator."""
    return not decision.sites_in(Phase.TRIGGERED, Phase.DUE, Phase.WAITING_FOR_STAGE1, Phase.DELAYED)


def is_finished(decision: Decision) -> bool:
    """Whether nothing happens until a new goal or the operator: no retry is due later, either."""
    return is_quiet(decision) and not decision.sites_in(Phase.BACKING_OFF, Phase.WAITING_FOR_CANARY)


class PushLoop:
    """Pushes one archive's sites until it is told to end."""

    def __init__(
        self,
        archive: str,
        config: Callable[[], Config],
        store: Store,
        sender: TriggerSender,
        watch: PushObserver,
        *,
        only: frozenset[str] = frozenset(),
        hurried: Callable[[], frozenset[str]] = frozenset,
        refused: Refused = never_refused,
    ) -> None:
        """`config` returns the current configuration; `only` names the sites to push, empty: all.

        `hurried` returns sites that were named since its last call, while all are pushed; `refused` returns
        why our rsync daemon refused a failed site.
        """
        self._archive = archive
        self._config = config
        self._store = store
        self._watch = watch
        self._only = only
        self._refused = refused
        self._news_of_hurry = hurried
        self._hurried: frozenset[str] = frozenset()  # for the goal of now
        self._flight = InFlight(sender)
        self._around = PushHooks(archive, config)
        self._goal = Goal(archive, None, clock.now())
        self._delayed = False  # whether a site was waiting for its delay at the last look
        self._rules = Push()
        self._sites: Sequence[Site] = ()
        self._site_states: dict[str, SiteState] = {}
        self._news_at = 0.0  # monotonic: when to read the store again
        self._prune_at = 0.0  # monotonic: when to prune old triggers

    async def run(self, over: Over) -> Decision:
        """Push until `over` is true of a decision; returns that decision."""
        self._drop_orphans()
        try:
            while True:
                await self._refresh()
                decision = self._decide()
                self._report(decision)
                await self._release(decision)
                if is_quiet(decision):
                    self._around.conclude(self._goal, decision)
                if over(decision):
                    await self._around.finish()
                    return decision
                if not decision.sends:
                    await self._listen(decision.wake_at)
                elif self._around.has_announced(self._goal):
                    await self._send(decision.sends)
                else:
                    await self._around.announce(self._goal, len(decision.phases))
                    self._news_at = 0.0  # and decide again: the hook may have taken long
        finally:
            await self._stop()

    # -- look and decide ------------------------------------------------------------------------------

    def _drop_orphans(self) -> None:
        """Give up triggers of a dead process: their answers are lost, for we have the lock."""
        orphans = self._store.change_site_states(self._archive, site_state.mark_unanswered)
        if orphans:
            _log.info(
                "abandoned triggers (their process is gone): %s", ", ".join(one.site for one in orphans)
            )

    async def _refresh(self) -> None:
        """Read what others may have changed: the goal, the sites and their states."""
        if monotonic() < self._news_at:
            return
        self._news_at = monotonic() + _NEWS_S
        self._forget_old_triggers()
        published, prepared = targets_of(self._store, self._archive)
        if published != self._goal.published:
            _log.info("goal: generation %s", short(published))
        if published != self._goal.published or not published:
            since = (self._goal.delays_since or self._goal.since) if self._delayed else None
            self._goal = Goal(self._archive, published, since=clock.now(), delays_since=since)
            self._hurried = frozenset()
        if not self._only:
            self._hurried |= self._news_of_hurry()
        self._goal = replace(self._goal, prepared=prepared)
        config = self._config()
        self._rules, self._sites = config.push, config.sites_of(self._archive)
        if moved := await self._flight.give_up_moved({site.name: site for site in self._sites}):
            _log.info("cancelled: the address of these sites changed: %s", ", ".join(moved))
            self._store.change_site_states(self._archive, site_state.mark_unanswered, only=moved)
        self._site_states = self._known()

    def _forget_old_triggers(self) -> None:
        if monotonic() >= self._prune_at:
            self._prune_at = monotonic() + _PRUNE_S
            self._store.prune_triggers(self._archive, _KEPT_TRIGGERS, keep_output=_KEPT_OUTPUTS)

    def _known(self) -> dict[str, SiteState]:
        """The stored states of the sites, with our own triggers in flight."""
        found = self._store.site_states(self._archive)
        for name, one in found.items():
            if one.sent_stage and name not in self._flight:
                found[name] = site_state.mark_unanswered(one)
        for name in self._flight:
            ours = self._site_states[name]
            one = found.get(name, ours)
            if not one.sent_stage:  # the site is not triggered again before its run has ended
                one = replace(one, sent_stage=ours.sent_stage, sent_at=ours.sent_at)
            found[name] = one
        return found

    def _decide(self) -> Decision:
        facts = self._site_states, self._goal, self._rules, clock.now()
        decision = decided(self._sites, *facts, only=self._only, hurried=self._hurried)
        self._delayed = bool(decision.sites_in(Phase.DELAYED))
        sites = chosen(self._sites, self._only)
        self._watch.on_decision(PushSnapshot(self._goal, sites, self._site_states, decision))
        return decision

    @property
    def aim(self) -> Targets:
        """The current goal."""
        return self._goal.aim

    def _report(self, decision: Decision) -> None:
        """Report once that a site has failed for long."""
        for name in decision.reports:
            one = self._site_states[name]
            _log.warning(
                "%s has been failing since %s (%d attempts): %s",
                *(name, one.failing_since, one.attempts, one.last_words),
            )
            self._site_states[name] = replace(one, reported=True)
        if decision.reports:
            mark = partial(replace, reported=True)
            self._store.change_site_states(self._archive, mark, only=decision.reports)

    # -- send and listen ------------------------------------------------------------------------------

    async def _send(self, sends: Sequence[Send]) -> None:
        now = clock.now()
        for send in sends:
            name = send.site.name
            before = self._site_states.get(name, SiteState(self._archive, name))
            self._site_states[name] = site_state.mark_sent(before, send, now)
        triggers = self._store.add_triggers(self._site_states[send.site.name] for send in sends)
        for send, trigger in zip(sends, triggers, strict=True):
            _log.info("%s: %s of %s", send.site.name, send.stage, short(send.generation))
            await self._flight.send(send, trigger)

    async def _listen(self, wake_at: datetime | None) -> None:
        """Wait until a site answers, the store is to be read again, or time changes the decision."""
        wait_s = max(0.0, self._news_at - monotonic())
        if wake_at:
            wait_s = min(wait_s, max(0.0, (wake_at - clock.now()).total_seconds()))
        for heard in await self._flight.hear(wait_s):
            self._take(heard)

    def _take(self, heard: TriggerResult) -> None:
        """Store an answer and the site's new state."""
        name, code = heard.send.site.name, heard.exit_code
        change = self._change(heard)
        after = self._store.record_answer(heard.trigger, change, exit_code=code, output=heard.output)
        if after is None:
            return  # the site is gone
        before, self._site_states[name] = self._site_states.get(name, after), after
        if code in site_state.CONFIRMING:
            _log.info("%s: %s confirmed after %.1f s", name, heard.send.stage, heard.seconds)
            if before.failing_since:
                _log.info("%s works again; it had been failing since %s", name, before.failing_since)
        else:
            level = logging.INFO if before.attempts else logging.WARNING  # the first time is news
            how = "no answer" if code is None else code
            _log.log(level, "%s: %s failed (%s): %s", name, heard.send.stage, how, after.last_words)
        self._watch.on_answer(heard.send, after, heard.seconds)

    def _change(self, heard: TriggerResult) -> Callable[[SiteState], SiteState]:
        """The site's state after an answer."""
        if heard.exit_code in site_state.CONFIRMING:
            return partial(
                site_state.mark_confirmed,
                send=heard.send,
                now=clock.now(),
                last_words=heard.last_words,
                exit_code=int(heard.exit_code),
            )
        since = clock.now() - timedelta(seconds=heard.seconds)
        refused = self._refused(self._config(), heard.send.site.name, since)
        return partial(
            site_state.mark_failed,
            send=heard.send,
            now=clock.now(),
            rules=self._rules,
            jitter=random.uniform(*_JITTER),  # noqa: S311  nothing secret
            exit_code=heard.exit_code,
            last_words=f"{refused}; {heard.last_words}" if refused else heard.last_words,
        )

    # -- let go ---------------------------------------------------------------------------------------

    async def _release(self, decision: Decision) -> None:
        """Close connections of sites that get no further stage now."""
        for name in self._flight.connected:
            if decision.phases.get(name) not in _IN_USE:
                await self._flight.release(name)

    async def _stop(self) -> None:
        """End: triggers without an answer become unknown."""
        try:
            for heard in await self._flight.stop():
                self._take(heard)
            self._drop_orphans()
        finally:
            await self._around.stop()
            await self._flight.close()
