"""One generation on its way down from the owner: what each mirror does now, and when it was triggered.

Read from the stores of all pushmirrors, as `status` does: a hub's has the triggers that it sent to its sites
and their answers, a mirror's own has what it serves. Times are in seconds from the change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pushmirror.lab.network import Network, Node
from pushmirror.lab.site import ARCHIVE
from pushmirror.push.engine import PushSnapshot
from pushmirror.state.records import Phase, SiteState, Stage, Trigger
from pushmirror.system import clock

_HELD_UP = (Phase.PAUSED, Phase.WAITING_FOR_CANARY, Phase.DELAYED)
_TRIES = 3  # of a site that fails; after that it is not waited for
_TRIGGERS = 200  # looked at for each hub
_WAITING = {
    Phase.WAITING_FOR_STAGE1: "stage 1 done, waits for the others",
    Phase.PAUSED: "paused by hand",
    Phase.WAITING_FOR_CANARY: "waits for the canaries",
    Phase.DELAYED: "waits for its delay",
    Phase.DUE: "push due",
}
_STAGES = {Stage.STAGE1: "stage 1", Stage.STAGE2: "stage 2", Stage.ALL: "all"}


class Mark(Enum):
    """The state of a mirror in a push."""

    WAITS = "waits"
    WORKS = "works"
    CURRENT = "current"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Now:
    """What one mirror does at this moment."""

    name: str
    depth: int  # below the owner
    mark: Mark
    activity: str
    seconds: float | None = None  # for how long; of a current mirror: from the change until it was


@dataclass(frozen=True, slots=True)
class Call:
    """A trigger, as the hub that sent it has stored it."""

    stage: Stage
    sent_s: float
    ended_s: float | None  # none: no answer yet
    exit_code: int | None  # none: no answer; then `answer` is the reason
    answer: str  # its last line

    @property
    def has_failed(self) -> bool:
        return self.ended_s is not None and self.exit_code != 0


@dataclass(frozen=True, slots=True)
class Passed:
    """How the generation reached one mirror."""

    name: str
    depth: int
    calls: tuple[Call, ...]  # in the order in which they were sent
    current_s: float | None  # when the mirror served it; none: not yet
    strategy_text: str = ""  # the strategy of the run that fetched it, and its reason; empty: unknown


class Passage:
    """The way of one generation of the owner's."""

    def __init__(self, made: Network, wanted: str, began: datetime) -> None:
        self._made = made
        self._wanted = wanted
        self._began = began

    def now(self) -> list[Now]:
        """What each mirror does, each after the one above it."""
        views = {hub.name: hub.view() for hub in self._made.hubs}
        return [self._now(node, views[self._made.above(node).name]) for node in self._made.mirrors]

    def is_over(self, seen: Sequence[Now]) -> bool:
        """Whether each mirror is current, or is held up, or its hub is."""
        held_up_hubs: set[str] = set()
        for one, node in zip(seen, self._made.mirrors, strict=True):
            held_up = one.mark is Mark.FAILS or node.place.above in held_up_hubs or self._is_held_up(node)
            if one.mark is not Mark.CURRENT and not held_up:
                return False
            if one.mark is not Mark.CURRENT:
                held_up_hubs.add(node.name)
        return True

    def passed(self) -> list[Passed]:
        """How it reached each mirror."""
        return [
            Passed(
                node.name, node.place.depth, tuple(self._calls(node)), self._current_s(node), self._by(node)
            )
            for node in self._made.mirrors
        ]

    def barriers(self, passed: Sequence[Passed]) -> Iterator[tuple[str, float, float]]:
        """For each hub with staged sites: when the last confirmed stage 1, and when the first got stage 2."""
        by_name = {one.name: one for one in passed}
        for hub in self._made.hubs:
            calls = [call for site in self._made.below(hub) for call in by_name[site.name].calls]
            ends = [call.ended_s for call in calls if call.stage is Stage.STAGE1 and call.exit_code == 0]
            begins = [call.sent_s for call in calls if call.stage is Stage.STAGE2]
            if ends and begins and None not in ends:
                yield hub.name, max(end for end in ends if end is not None), min(begins)

    # -- one mirror -----------------------------------------------------------------------------------

    def _now(self, node: Node, view: PushSnapshot) -> Now:
        site_state = view.site_states.get(node.name, SiteState(ARCHIVE, node.name))
        phase = view.decision.phases.get(node.name)
        mark, activity, since = self._state(node, phase, site_state)
        if mark is Mark.CURRENT:
            return Now(node.name, node.place.depth, mark, activity, self._current_s(node))
        spent = (clock.now() - since).total_seconds() if since else None
        return Now(node.name, node.place.depth, mark, activity, spent)

    def _state(
        self, node: Node, phase: Phase | None, site_state: SiteState
    ) -> tuple[Mark, str, datetime | None]:
        if site_state.stage2 == self._wanted and self._current_s(node) is not None:
            return Mark.CURRENT, "current", None
        if phase is Phase.TRIGGERED and site_state.sent_stage:
            return Mark.WORKS, _STAGES[site_state.sent_stage], site_state.sent_at
        if phase is Phase.BACKING_OFF:
            mark = Mark.FAILS if site_state.attempts >= _TRIES else Mark.WORKS
            return mark, f"failed, attempt {site_state.attempts}: {site_state.last_words}", None
        words = _WAITING.get(phase, f"waits for {node.place.above}") if phase else "is not a site"
        if phase is Phase.CURRENT and site_state.stage1 == self._wanted:  # the hub has not published it yet
            return Mark.WAITS, f"has stage 1, {words}", site_state.stage1_at
        return Mark.WAITS, words, site_state.stage1_at if phase is Phase.WAITING_FOR_STAGE1 else None

    def _is_held_up(self, node: Node) -> bool:
        return self._made.above(node).view().decision.phases.get(node.name) in _HELD_UP

    def _calls(self, node: Node) -> Iterator[Call]:
        store = self._made.above(node).store
        for one in reversed(store.triggers(archive=ARCHIVE, site=node.name, limit=_TRIGGERS)):
            if one.sent_at >= self._began:
                yield self._call(one)

    def _call(self, one: Trigger) -> Call:
        lines = one.output.strip().splitlines()
        ended_s = self._seconds(one.ended_at) if one.ended_at else None
        last = lines[-1] if lines else ""
        return Call(one.stage, self._seconds(one.sent_at), ended_s, one.exit_code, last)

    def _current_s(self, node: Node) -> float | None:
        served = node.served
        if served is None or served.digest != self._wanted:
            return None
        return self._seconds(served.published_at)

    def _by(self, node: Node) -> str:
        served = node.served
        if served is None or served.digest != self._wanted or served.run_id is None:
            return ""
        return node.store.run(served.run_id).strategy_text

    def _seconds(self, at: datetime) -> float:
        return round((at - self._began).total_seconds(), 3)
