"""One push of one archive, carried out: decide, send what is due, listen, decide again.

    look ──▶ decide ──▶ send ──▶ wait for an answer, news or the clock ──┐
     ▲                                                                   │
     └───────────────────────────────────────────────────────────────────┘

Guaranteed: what is sent is in the store before it is sent, and what was answered before anything follows
from it, so whoever is killed here can be succeeded by anybody. The caller holds the archive's push lock.
Not the business of this module: what is due (`decide.py`), connections (`wire.py`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic

from pushmirror.config.model import Config, Push, Site
from pushmirror.errors import PushmirrorError, TriggerFailed
from pushmirror.hooks import run_hook_beside
from pushmirror.push import standing as stands
from pushmirror.push.decide import Decision, Goal, Send, decide
from pushmirror.push.trigger import words_to
from pushmirror.push.watch import View, Watch
from pushmirror.push.wire import Answer, Wire
from pushmirror.state.records import Phase, Standing, Trigger
from pushmirror.state.store import Store
from pushmirror.system import clock

_log = logging.getLogger(__name__)
_NEWS_S = 0.5  # between two looks at what others may have changed: generations, sites, standings
_JITTER = (0.8, 1.2)
_KEPT_TRIGGERS = 20_000  # per archive
_IN_USE = (Phase.TRIGGERED, Phase.HELD, Phase.DUE)  # a connection to such a site is worth keeping

Over = Callable[[Decision], bool]
Aim = tuple[str | None, str | None]  # the published and the prepared generation


def aim_of(store: Store, archive: str) -> Aim:
    """What the sites of an archive are to reach now."""
    served, prepared = store.latest_generation(archive), store.preparation(archive)
    return served.digest if served else None, prepared.generation if prepared else None


def chosen(sites: Iterable[Site], only: frozenset[str]) -> list[Site]:
    """The sites of these names; all of them, if there are no names."""
    return [site for site in sites if not only or site.name in only]


def settled(decision: Decision) -> bool:
    """Whether nothing more happens without a retry, a canary's recovery, news or the operator."""
    return not decision.sites_in(Phase.TRIGGERED, Phase.DUE, Phase.HELD)


def finished(decision: Decision) -> bool:
    """Whether nothing more happens without news or the operator, retries included."""
    return settled(decision) and not decision.sites_in(Phase.RESTING, Phase.GATED)


@dataclass(frozen=True, slots=True)
class _Heard:
    """How one trigger ended."""

    send: Send
    trigger: Trigger
    answer: Answer | None  # none: there was none, and `error` says why
    error: str
    seconds: float


class Pusher:
    """Pushes one archive's sites for as long as it is asked to."""

    def __init__(
        self,
        archive: str,
        config: Callable[[], Config],
        store: Store,
        wire: Wire,
        watch: Watch,
        *,
        only: frozenset[str] = frozenset(),
    ) -> None:
        """`config` gives the configuration as it is now; `only` names the sites to push, empty: all."""
        self._archive = archive
        self._config = config
        self._store = store
        self._wire = wire
        self._watch = watch
        self._only = only
        self._goal = Goal(archive, None, clock.now())
        self._rules = Push()
        self._sites: Sequence[Site] = ()
        self._standings: dict[str, Standing] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by name of the site
        self._connected: dict[str, Site] = {}
        self._heard: asyncio.Queue[_Heard] = asyncio.Queue()
        self._announced: Aim | None = None  # what the hook before a push was last run for
        self._concluded = True  # and the one after it
        self._news_at = 0.0  # monotonic: when to look for news again

    async def run(self, over: Over) -> Decision:
        """Push until `over` says of a decision that it is enough; returns that decision."""
        self._recover()
        try:
            while True:
                self._take_news()
                decision = self._decide()
                self._report(decision)
                await self._release(decision)
                if settled(decision):
                    await self._conclude(decision)
                if over(decision):
                    return decision
                if decision.sends and self._announced != self.aim:
                    await self._announce()  # and decide again: it may have taken long
                elif decision.sends:
                    self._send(decision.sends)
                else:
                    await self._wait(decision.wake_at)
        finally:
            await self._stop()

    # -- look and decide ------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Whoever sent what is unanswered is gone: we have the lock."""
        self._disown()
        self._store.prune_triggers(self._archive, _KEPT_TRIGGERS)

    def _disown(self) -> None:
        """Nobody listens any more for the answers that are still to come."""
        found = self._store.standings(self._archive).values()
        orphans = [stands.unanswered(one) for one in found if one.sent_stage]
        if orphans:
            _log.info("triggers that nobody listens to any more: %s", ", ".join(one.site for one in orphans))
            self._store.put_standings(orphans)

    def _take_news(self) -> None:
        """What others may have changed: the generation, the sites, and what is known of them."""
        if monotonic() < self._news_at:
            return
        self._news_at = monotonic() + _NEWS_S
        published, prepared = aim_of(self._store, self._archive)
        if published != self._goal.published or not self._goal.published:
            self._goal = Goal(self._archive, published, since=clock.now())
            _log.info("goal: generation %.12s", published or "none")
        self._goal = replace(self._goal, prepared=prepared)
        config = self._config()
        self._rules, self._sites = config.push, chosen(config.sites_of(self._archive), self._only)
        self._standings = self._known()

    def _known(self) -> dict[str, Standing]:
        """Where the sites are; but who is under way we know ourselves, for others write to the store too."""
        found = self._store.standings(self._archive)
        for name, one in found.items():
            if one.sent_stage and name not in self._tasks:
                found[name] = stands.unanswered(one)
        for name in self._tasks:
            ours = self._standings[name]
            one = found.get(name, ours)
            if not one.sent_stage:  # its site is not to be woken again before this run of it has ended
                one = replace(one, sent_stage=ours.sent_stage, sent_at=ours.sent_at)
            found[name] = one
        return found

    def _decide(self) -> Decision:
        decision = decide(self._sites, self._standings, self._goal, self._rules, clock.now())
        self._watch.looked(View(self._goal, self._sites, self._standings, decision))
        return decision

    @property
    def aim(self) -> Aim:
        """The generations that were worked towards, as of the last look."""
        return self._goal.published, self._goal.prepared

    def _report(self, decision: Decision) -> None:
        """Say once that a site has been failing for long."""
        changed = []
        for name in decision.reports:
            one = self._standings[name]
            _log.warning(
                "%s has been failing since %s (%d attempts): %s",
                *(name, one.failing_since, one.attempts, one.last_words),
            )
            self._standings[name] = replace(one, reported=True)
            changed.append(self._standings[name])
        if changed:
            self._store.put_standings(changed)

    async def _announce(self) -> None:
        """The hook before a push, once for each goal; it may take its time."""
        self._announced, self._concluded = self.aim, False
        await self._hook("before_push", {"sites": str(len(self._sites))})
        self._news_at = 0.0

    async def _conclude(self, decision: Decision) -> None:
        """The hook after a push, when every site is current, fails or is left alone."""
        if self._announced == self.aim and not self._concluded:
            self._concluded = True
            late = [name for name, phase in decision.phases.items() if phase is not Phase.CURRENT]
            await self._hook("after_push", {"sites": str(len(self._sites)), "late": " ".join(sorted(late))})

    async def _hook(self, name: str, facts: dict[str, str]) -> None:
        """A hook that fails is told of; that sites wait for something else is no reason to let them wait."""
        archive = self._config().archives.get(self._archive)
        generation = {"generation": self._goal.ahead or self._goal.published or ""}
        if archive is None:
            return
        try:
            await run_hook_beside(archive, name, generation | facts)
        except PushmirrorError as exc:
            _log.warning("%s; the push goes on", exc)

    # -- send and listen ------------------------------------------------------------------------------

    def _send(self, sends: Sequence[Send]) -> None:
        now = clock.now()
        for send in sends:
            name = send.site.name
            before = self._standings.get(name, Standing(self._archive, name))
            self._standings[name] = stands.sent(before, send, now)
        triggers = self._store.send(self._standings[send.site.name] for send in sends)
        for send, trigger in zip(sends, triggers, strict=True):
            _log.info("%s: %s of %.12s", send.site.name, send.stage, send.generation)
            self._connected[send.site.name] = send.site
            self._tasks[send.site.name] = asyncio.create_task(self._trigger(send, trigger))

    async def _trigger(self, send: Send, trigger: Trigger) -> None:
        began, answer, error = monotonic(), None, ""
        try:
            answer = await self._wire.trigger(send.site, words_to(send.site, self._archive, send.stage))
        except TriggerFailed as exc:
            error = f"{exc}; {exc.hint}" if exc.hint else str(exc)
        except Exception as exc:  # noqa: BLE001  logged whole
            _log.exception("a mistake in pushmirror")  # one site's trouble must not end the others' push
            error = f"{type(exc).__name__}: {exc}"
        self._heard.put_nowait(_Heard(send, trigger, answer, error, monotonic() - began))

    async def _wait(self, wake_at: datetime | None) -> None:
        """Until a site answers, it is time to look for news, or the clock changes the decision."""
        wait_s = max(0.0, self._news_at - monotonic())
        if wake_at:
            wait_s = min(wait_s, max(0.0, (wake_at - clock.now()).total_seconds()))
        try:
            async with asyncio.timeout(wait_s):  # wait_for() of Python 3.11 may lose a cancellation
                heard = await self._heard.get()
        except TimeoutError:
            return
        self._take(heard)
        while not self._heard.empty():
            self._take(self._heard.get_nowait())

    def _take(self, heard: _Heard) -> None:
        """Remember an answer, and what it changes."""
        name = heard.send.site.name
        del self._tasks[name]
        code = heard.answer.exit_code if heard.answer else None
        output = heard.answer.output if heard.answer else heard.error
        after = self._store.answered(heard.trigger, self._change(heard), exit_code=code, output=output)
        if after is None:
            return  # the site is gone
        before, self._standings[name] = self._standings.get(name, after), after
        if code == 0:
            _log.info("%s: %s confirmed after %.1f s", name, heard.send.stage, heard.seconds)
        else:
            level = logging.INFO if before.attempts else logging.WARNING  # the first time is news
            _log.log(level, "%s: %s failed (%s): %s", name, heard.send.stage, code, after.last_words)
        self._watch.answered(heard.send, after, heard.seconds)

    def _change(self, heard: _Heard) -> Callable[[Standing], Standing]:
        """What an answer changes in where its site stands."""
        words = heard.error or last_words(heard.answer)
        if heard.answer and heard.answer.exit_code == 0:
            return partial(stands.confirmed, send=heard.send, now=clock.now(), last_words=words)
        return partial(
            stands.failed,
            send=heard.send,
            now=clock.now(),
            rules=self._rules,
            jitter=random.uniform(*_JITTER),  # noqa: S311  nothing secret
            exit_code=heard.answer.exit_code if heard.answer else None,
            last_words=words,
        )

    # -- let go ---------------------------------------------------------------------------------------

    async def _release(self, decision: Decision) -> None:
        """Connections are for the way from stage 1 to stage 2, not for good."""
        for name in [*self._connected]:
            if decision.phases.get(name) not in _IN_USE and name not in self._tasks:
                await self._wire.release(self._connected.pop(name))

    async def _stop(self) -> None:
        """Nobody will listen any more: what is unanswered is unknown."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        try:
            while not self._heard.empty():
                self._take(self._heard.get_nowait())  # it came just before
            self._tasks.clear()
            self._disown()
        finally:
            await self._wire.close()


_MOST_WORDS = 300  # characters of an answer's last line that are shown
_MEANING = {
    126: "its forced command cannot be run",
    127: "its forced command was not found",
    255: "its ssh or forced command failed",
}


def last_words(answer: Answer | None) -> str:
    """The last line that a site said, or what its exit code means."""
    if answer is None:
        return ""
    lines = [line.strip() for line in answer.output.splitlines() if line.strip()]
    if lines:
        return lines[-1][:_MOST_WORDS]
    return "" if answer.exit_code == 0 else _MEANING.get(answer.exit_code, "it said nothing")
