"""What a site does, waits for or suffers from, in words that a tired person understands."""

from __future__ import annotations

from collections.abc import Callable

from pushmirror.state.records import Phase, Stage
from pushmirror.status.seen import Seen, SiteState
from pushmirror.status.words import ago, clock, cut, listed, short, span

_STAGES = {Stage.STAGE1: " for stage 1", Stage.STAGE2: " for stage 2"}

#: What a shell means, for its own words say it only to who knows it.
_MEANING = {126: "its forced command cannot be run", 127: "its forced command was not found"}


def doing(one: Seen) -> str:
    """What it does or waits for, and why it fails; empty when there is nothing to say."""
    if one.state is SiteState.PAUSED:
        lacks = f", lacks what was published {ago(one.lacks_since, one.scene.now)}" if one.lacks_since else ""
        return f"paused by hand{lacks}"
    if one.state is SiteState.FAILING:
        return f"{_failed(one)}, {_next_try(one)}: {_why(one)}"
    in_words = _BY_PHASE.get(one.phase)
    return in_words(one) if in_words else ""


def owes(one: Seen) -> str:
    """What it was woken for, and what it serves; empty when that is the same, or it was not woken."""
    if one.pushed_for is None:
        return ""
    at = short(one.standing.stage2)
    return f"pushed for {short(one.pushed_for)}, {f'is at {at}' if at else 'has confirmed none yet'}"


def _failed(one: Seen) -> str:
    since = clock(one.standing.failing_since or one.scene.now, one.scene.now)
    attempts = one.standing.attempts
    return f"failed {attempts} times since {since}" if attempts > 1 else f"failed at {since}"


def _next_try(one: Seen) -> str:
    if one.phase is Phase.TRIGGERED:
        woken = f"woken again {ago(one.standing.sent_at, one.scene.now)}"
        return f"{woken}, but {_unheard(one)}" if one.is_abandoned else woken
    if one.phase is Phase.GATED:
        return _gated(one)
    if one.scene.pushing is False:
        return "is tried again by pushmirror serve or the next push, and neither is running"
    at = one.standing.next_try_at
    return f"again in {span(at - one.scene.now)}" if at and at > one.scene.now else "to be woken again now"


def _why(one: Seen) -> str:
    """What came of the last trigger, in the site's own words where it had any."""
    words, code = one.standing.last_words, one.standing.exit_code
    said = cut(words)
    if code is None:  # we say why, and at the end what to do
        more = f"; see pushmirror check --site {one.site.name}" if said != words else ""
        return f"{said}{more}" if said else "there was no answer"
    meaning = _MEANING.get(code, "")
    told = f"exit code {code} ({meaning})" if meaning and meaning not in said else f"exit code {code}"
    return f"{told}, {said}" if said else f"{told}, without a word"


def _woken(one: Seen) -> str:
    stage = _STAGES.get(one.standing.sent_stage or Stage.ALL, "")
    woken = f"woken{stage} {ago(one.standing.sent_at, one.scene.now)}"
    if one.is_abandoned:
        return f"{woken}, but {_unheard(one)}"
    return f"{woken}, has not answered yet"


def _unheard(one: Seen) -> str:
    return f"nobody waits for its answer any more: {_push(one)}"


def _gated(one: Seen) -> str:
    canaries = one.scene.gating
    return f"waits for the canar{'y' if len(canaries) == 1 else 'ies'} {listed(canaries)}{_unpushed(one)}"


def _delayed(one: Seen) -> str:
    return f"waits for its delay of {' and '.join(map(str, one.site.delay))}{_unpushed(one)}"


def _held(one: Seen) -> str:
    """A canary waits for the other canaries only, the others for each other."""
    others = [other.name for other in one.scene.delaying if other.canary is one.site.canary]
    awaited = f"{len(others)} other{'' if len(others) == 1 else 's'}: {listed(others)}"
    return f"has stage 1, waits for {awaited}{_unpushed(one)}"


def _unpushed(one: Seen) -> str:
    return f"; nobody pushes: {_push(one)}" if one.scene.pushing is False else ""


def _due(one: Seen) -> str:
    has = "has stage 1, " if one.state is SiteState.STAGED else ""
    if one.is_left_alone:
        return f"{has}is to be woken, and nobody does it: {_push(one)}"
    return f"{has}is to be woken now"


def _push(one: Seen) -> str:
    return f"run pushmirror serve, or pushmirror push {one.scene.archive}"


def _ready(one: Seen) -> str:
    if one.holds_back:
        return f"holds suites back: {cut(one.standing.last_words) or 'it did not say which'}"
    if one.state is SiteState.STAGED:
        return "has stage 1, waits until it is published here"
    return "" if one.scene.served else "nothing is published here yet"


_BY_PHASE: dict[Phase | None, Callable[[Seen], str]] = {
    Phase.TRIGGERED: _woken,
    Phase.GATED: _gated,
    Phase.DELAYED: _delayed,
    Phase.HELD: _held,
    Phase.DUE: _due,
    Phase.RESTING: _next_try,
    Phase.CURRENT: _ready,
}
