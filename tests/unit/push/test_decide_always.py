"""Under any order of events: nothing is sent too early, twice or to the wrong site, and all become current.

`Hub` is a push server without ssh and disk: it decides, carries out and hears answers. What must hold is
judged from what `Hub` itself saw happen, not from the site states that `decide` is given.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pushmirror.config.model import Push, PushKind, Site
from pushmirror.config.types import Wait
from pushmirror.push import site_state
from pushmirror.push.decide import Decision, Goal, Send, decide
from pushmirror.state.records import Phase, SiteState, Stage

ARCHIVE = "debian"
T0 = datetime(2026, 7, 11, 10, tzinfo=UTC)
AGES = timedelta(days=1000)
NAMES = st.sampled_from("abcdef")
GENERATIONS = st.sampled_from(["g1", "g2", "g3"])  # few, so that the hub often goes back to an older one
MINUTES = st.integers(1, 60).map(lambda minutes: timedelta(minutes=minutes))
KINDS = st.sampled_from([PushKind.STAGED, PushKind.STAGED, PushKind.MHOP, PushKind.ALL])
FIVE, TEN = timedelta(minutes=5), timedelta(minutes=10)
DELAYS = st.sampled_from(
    [
        (),
        (),
        (),
        (Wait(FIVE),),
        (Wait(TEN, until_stage1=True),),
        (Wait(FIVE), Wait(TEN, until_stage1=True), Wait(FIVE)),
    ]
)
STAGED = (PushKind.STAGED, PushKind.MHOP)
PARTS = {
    Stage.STAGE1: {Stage.STAGE1},
    Stage.STAGE2: {Stage.STAGE2},
    Stage.ALL: {Stage.STAGE1, Stage.STAGE2},
}
MOST_STEPS = 200  # to become current when everybody answers


class Store:
    """What the store of a hub remembers about a push, and forgets when another generation is served."""

    def __init__(self) -> None:
        self.served: str | None = None
        self.prepared: str | None = None
        self.site_states: dict[str, SiteState] = {}

    def publish(self, generation: str) -> None:
        if generation != self.served:
            self._forget(generation, stage1=generation != self.prepared, stage2=True)
            self.served, self.prepared = generation, None

    def prepare(self, generation: str) -> None:
        if generation not in (self.served, self.prepared):
            self._forget(generation, stage1=True, stage2=False)
        self.prepared = generation

    def _forget(self, generation: str, *, stage1: bool, stage2: bool) -> None:
        for name, one in self.site_states.items():
            kept1 = None if stage1 and one.stage1 == generation else one.stage1
            kept2 = None if stage2 and one.stage2 == generation else one.stage2
            sent = None if stage1 and one.sent_generation == generation else one.sent_generation
            self.site_states[name] = replace(one, stage1=kept1, stage2=kept2, sent_generation=sent)


class Seen:
    """What happened, told independently of site states."""

    def __init__(self) -> None:
        self.confirmed: set[tuple[str, Stage, str]] = set()  # and still counts
        self.current_at: dict[str, datetime] = {}  # when a site confirmed stage 2 last
        self.failing_since: dict[str, datetime] = {}
        self.reported: set[str] = set()
        self.rests: dict[str, tuple[str, datetime]] = {}  # from which generation, and until when at least
        self.past_barrier: set[bool] = set()  # canaries, others: somebody was sent stage 2 of what is served

    def has(self, site: Site, stage: Stage, generation: str | None) -> bool:
        return (site.name, stage, generation or "") in self.confirmed

    def answered(self, send: Send, now: datetime) -> None:
        name, parts = send.site.name, PARTS[send.stage]
        # What it confirmed of another generation earlier is no longer what it has.
        self.confirmed = {fact for fact in self.confirmed if fact[0] != name or fact[1] not in parts}
        self.confirmed |= {(name, part, send.generation) for part in parts}
        if Stage.STAGE2 in parts:
            self.current_at[name] = now
        self.is_well(name)

    def forget(self, name: str) -> None:
        self.confirmed = {fact for fact in self.confirmed if fact[0] != name}
        self.current_at.pop(name, None)
        self.is_well(name)

    def is_well(self, name: str) -> None:
        self.failing_since.pop(name, None)
        self.reported.discard(name)
        self.rests.pop(name, None)


class Hub(RuleBasedStateMachine):
    """A push server, its sites, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.since = T0
        self.store, self.seen = Store(), Seen()
        self.sites: dict[str, Site] = {}
        self.in_flight: dict[str, tuple[Send, datetime]] = {}
        self.silent: set[str] = set()  # in flight, and will never answer
        self.outdated: set[str] = set()  # in flight from an earlier life of a generation
        self.alive = True

    @initialize(
        quorum=st.sampled_from([1.0, 1.0, 0.67, 0.5, 0.3]),
        deadline=st.sampled_from([1, 10, 120]),
        sites=st.dictionaries(NAMES, st.tuples(KINDS, st.booleans(), DELAYS), min_size=1, max_size=6),
        canaries=st.integers(0, 2),
    )
    def set_up(
        self,
        quorum: float,
        deadline: int,
        sites: dict[str, tuple[PushKind, bool, tuple[Wait, ...]]],
        canaries: int,
    ) -> None:
        self.rules = Push(quorum=quorum, deadline=timedelta(minutes=deadline))
        for number, (name, (kind, paused, delay)) in enumerate(sites.items()):
            self._put(name, kind, canary=number < canaries, paused=paused and number % 3 == 0, delay=delay)
        self._publish("g1")

    # -- what happens -----------------------------------------------------------------------------------

    @rule(generation=GENERATIONS)
    def publish(self, generation: str) -> None:
        self._publish(generation)

    @rule(generation=GENERATIONS)
    def prepare(self, generation: str) -> None:
        if generation not in (self.store.served, self.store.prepared):
            self._no_longer_counts(generation, Stage.STAGE1)
            self._outdate(generation)
        self.store.prepare(generation)

    @precondition(lambda self: self.store.prepared)
    @rule()
    def publish_what_is_prepared(self) -> None:
        self._publish(self.store.prepared or "")

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def a_site_answers(self, data: st.DataObject) -> None:
        self._answer(data.draw(st.sampled_from(sorted(self.in_flight))))

    @precondition(lambda self: self.in_flight)
    @rule()
    def all_sites_answer(self) -> None:
        for name in [*self.in_flight]:
            self._answer(name)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), jitter=st.floats(0.8, 1.2), exit_code=st.sampled_from([1, 127, 255, None]))
    def a_site_fails(self, data: st.DataObject, jitter: float, exit_code: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.in_flight)))
        send, _ = self._heard(name)
        facts = {"rules": self.rules, "jitter": jitter, "exit_code": exit_code, "last_words": "no"}
        self.store.site_states[name] = site_state.mark_failed(
            self.store.site_states[name], send, self.now, **facts
        )
        self.seen.failing_since.setdefault(name, self.now)
        self.seen.rests[name] = send.generation, self.now + 0.8 * self.rules.retry_after

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def a_site_hangs(self, data: st.DataObject) -> None:
        self.silent.add(data.draw(st.sampled_from(sorted(self.in_flight))))

    @rule(span=MINUTES)
    def time_passes(self, span: timedelta) -> None:
        self.now += span

    @precondition(lambda self: self.alive and self._decide().wake_at)
    @rule()
    def time_passes_until_it_matters(self) -> None:
        self.now = self._decide().wake_at or self.now

    @rule(name=NAMES, kind=KINDS, canary=st.booleans(), delay=DELAYS)
    def a_site_is_added(self, name: str, kind: PushKind, canary: bool, delay: tuple[Wait, ...]) -> None:
        if name not in self.sites:
            self._put(name, kind, canary=canary, paused=False, delay=delay)

    @precondition(lambda self: len(self.sites) > 1)
    @rule(data=st.data())
    def a_site_is_removed(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.sites)))
        del self.sites[name]
        self.in_flight.pop(name, None)
        self.store.site_states.pop(name, None)
        self.silent.discard(name)
        self.outdated.discard(name)
        self.seen.forget(name)

    @rule(name=NAMES)
    def a_site_is_paused_or_resumed(self, name: str) -> None:
        if name in self.sites:
            self.sites[name] = self.sites[name].model_copy(update={"paused": not self.sites[name].paused})

    @precondition(lambda self: self.alive)
    @rule()
    def the_hub_dies(self) -> None:
        self.alive = False
        self.in_flight.clear()
        self.silent.clear()
        self.outdated.clear()

    @precondition(lambda self: not self.alive)
    @rule()
    def the_hub_starts_again(self) -> None:
        for name, one in self.store.site_states.items():
            self.store.site_states[name] = site_state.mark_unanswered(one) if one.sent_stage else one
        self.alive = True

    # -- what always holds: after each event the hub, if it lives, does what is due -----------------------

    @invariant()
    def what_is_due_is_sent_and_may_be(self) -> None:
        if not self.alive or not self.store.served:
            return
        decision = self._decide()
        for send in decision.sends:
            self._judge(send)
        for send in decision.sends:
            self._carry_out(send)
        for name in decision.reports:
            assert name not in self.seen.reported and self.seen.failing_since[name] < self.now
            self.seen.reported.add(name)
            self.store.site_states[name] = replace(self.store.site_states[name], reported=True)
        after = self._decide()
        assert not after.sends and not after.reports
        self._time_alone_changes_nothing_before(after)

    def teardown(self) -> None:
        """All answer from now on, but others than canaries may hang: whoever is willing becomes current."""
        if not self.store.served:
            return
        if not self.alive:
            self.the_hub_starts_again()
        hopeless = {name for name in self.silent if not self.sites[name].canary}
        for _ in range(MOST_STEPS):
            self.what_is_due_is_sent_and_may_be()
            decision = self._decide()
            answering = self.in_flight.keys() - hopeless
            if answering:
                self._answer(min(answering))
            elif decision.wake_at:
                self.now = decision.wake_at
            else:
                break
        willing = {name for name, site in self.sites.items() if not site.paused} - hopeless
        assert {name for name in willing if decision.phases[name] is not Phase.CURRENT} == set()
        served = self.store.served
        assert all(self.seen.has(self.sites[name], Stage.STAGE2, served) for name in willing)

    # -- how it is judged ---------------------------------------------------------------------------------

    def _judge(self, send: Send) -> None:
        """Whether this trigger may be sent to this site at this moment."""
        site, stage, generation = send.site, send.stage, send.generation
        assert self.sites[site.name] == site and not site.paused
        assert site.name not in self.in_flight
        failed_with, rests_until = self.seen.rests.get(site.name, ("", self.now))
        assert generation != failed_with or self.now >= rests_until
        assert not all(self.seen.has(site, part, generation) for part in PARTS[stage])
        assert (stage is Stage.ALL) == (site.push is PushKind.ALL)
        if generation == self.store.served:
            assert site.canary or all(
                self.seen.has(canary, Stage.STAGE2, generation) for canary in self._willing(canary=True)
            )
            assert stage is Stage.STAGE2 or self.now >= self._delayed_until(site)
        else:
            assert (stage, generation) == (Stage.STAGE1, self.store.prepared)
            assert self.seen.has(site, Stage.STAGE2, self.store.served)
        if stage is Stage.STAGE2:
            assert self.seen.has(site, Stage.STAGE1, generation)
            assert self._may_pass_the_barrier(canary=site.canary)

    def _began(self, *, canary: bool) -> datetime:
        """When the canaries, or the others, could begin."""
        ends = (
            [] if canary else [self.seen.current_at.get(one.name, T0) for one in self._willing(canary=True)]
        )
        return max([self.since, *ends])

    def _delayed_until(self, site: Site) -> datetime:
        """The earliest moment at which its delays can be over."""
        ends_early = self._may_pass_the_barrier(canary=False)
        waits = [wait.at_most for wait in site.delay if not (wait.until_stage1 and ends_early)]
        return self._began(canary=site.canary) + sum(waits, timedelta())

    def _may_pass_the_barrier(self, *, canary: bool) -> bool:
        if canary in self.seen.past_barrier or self.now >= self._began(canary=canary) + self.rules.deadline:
            return True
        long_ago = self.now - self.rules.deadline
        awaited = [
            one
            for one in self._willing(canary=canary)
            if one.push in STAGED and self.seen.failing_since.get(one.name, self.now) > long_ago
        ]
        have = [
            one
            for one in awaited
            if self.seen.has(one, Stage.STAGE1, self.store.served)
            or self.seen.has(one, Stage.STAGE2, self.store.served)
        ]
        return len(have) >= self.rules.quorum * len(awaited) - 0.001

    def _time_alone_changes_nothing_before(self, decision: Decision) -> None:
        end = decision.wake_at or self.now + AGES
        assert end > self.now
        for moment in (self.now + (end - self.now) / 2, end - timedelta.resolution):
            later = self._decide(moment)
            assert (later.sends, later.phases, later.reports) == ((), decision.phases, ())

    # -- what the hub does --------------------------------------------------------------------------------

    def _decide(self, now: datetime | None = None) -> Decision:
        goal = Goal(ARCHIVE, self.store.served, self.since, self.store.prepared)
        return decide([*self.sites.values()], self.store.site_states, goal, self.rules, now or self.now)

    def _carry_out(self, send: Send) -> None:
        name = send.site.name
        before = self.store.site_states.get(name, SiteState(ARCHIVE, name))
        self.store.site_states[name] = site_state.mark_sent(before, send, self.now)
        self.in_flight[name] = send, self.now
        if send.stage is Stage.STAGE2:
            self.seen.past_barrier.add(send.site.canary)

    def _answer(self, name: str) -> None:
        counts = name not in self.outdated
        send, _ = self._heard(name)
        before = self.store.site_states[name]
        self.store.site_states[name] = site_state.mark_confirmed(before, send, self.now, last_words="yes")
        self.seen.answered(send, self.now) if counts else self.seen.is_well(name)

    def _heard(self, name: str) -> tuple[Send, datetime]:
        self.silent.discard(name)
        self.outdated.discard(name)
        return self.in_flight.pop(name)

    def _outdate(self, generation: str) -> None:
        """What is on its way from an earlier life of a generation says nothing of this one."""
        self.outdated |= {name for name, (send, _) in self.in_flight.items() if send.generation == generation}

    def _publish(self, generation: str) -> None:
        if generation == self.store.served:
            return
        self._no_longer_counts(generation, Stage.STAGE2)
        if generation != self.store.prepared:
            self._no_longer_counts(generation, Stage.STAGE1)
            self._outdate(generation)
        self.store.publish(generation)
        self.since = self.now
        self.seen.past_barrier = set()

    def _no_longer_counts(self, generation: str, stage: Stage) -> None:
        self.seen.confirmed = {fact for fact in self.seen.confirmed if fact[1:] != (stage, generation)}

    def _put(self, name: str, kind: PushKind, *, canary: bool, paused: bool, delay: tuple[Wait, ...]) -> None:
        facts = {"host": "site.example.com", "user": "archvsync", "archives": (ARCHIVE,), "delay": delay}
        self.sites[name] = Site(name=name, push=kind, canary=canary, paused=paused, **facts)

    def _willing(self, *, canary: bool) -> list[Site]:
        return [site for site in self.sites.values() if site.canary is canary and not site.paused]


TestHub = Hub.TestCase
TestHub.settings = settings(
    report_multiple_bugs=False,
    max_examples=int(os.environ.get("PUSHMIRROR_EXAMPLES", "500")),
    stateful_step_count=40,
    deadline=None,
)
