"""What a trigger and its answer change in where a site stands. Pure; `decide.py` draws the whole life."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pushmirror.config.model import Push
from pushmirror.errors import Exit
from pushmirror.push.decide import Send
from pushmirror.state.records import Stage, Standing

CONFIRMING = {Exit.OK, Exit.HELD}  # exit codes of a site that has what it was woken for, or all it can have
_MOST_DOUBLINGS = 30  # of the first pause; by then any two durations of a configuration have met


def sent(standing: Standing, send: Send, now: datetime) -> Standing:
    """A trigger is on its way."""
    return replace(standing, sent_stage=send.stage, sent_generation=send.generation, sent_at=now)


def unanswered(standing: Standing) -> Standing:
    """Whoever sent the trigger is gone, and its answer with it: neither confirmed nor failed."""
    return replace(standing, sent_stage=None, sent_generation=None, sent_at=None)


def forgiven(standing: Standing) -> Standing:
    """The operator says that all is well again: earlier failures neither delay a trigger nor count."""
    return replace(standing, tried=None, attempts=0, failing_since=None, next_try_at=None, reported=False)


def at_once(standing: Standing) -> Standing:
    """It does not rest any longer: somebody wants to see it tried."""
    return replace(standing, next_try_at=None)


def anew(standing: Standing) -> Standing:
    """It has confirmed nothing, and is tried at once."""
    return replace(at_once(standing), stage1=None, stage2=None)


def confirmed(
    standing: Standing, send: Send, now: datetime, *, last_words: str, exit_code: int = 0
) -> Standing:
    """The site has that stage of that generation, if it was not replaced and came back.

    It ended with one of CONFIRMING: with HELD, all that it can have of it.
    """
    still_counts = standing.sent_generation == send.generation
    standing = replace(forgiven(unanswered(standing)), exit_code=exit_code, last_words=last_words)
    if not still_counts:
        return standing
    if send.stage is not Stage.STAGE2:
        standing = replace(standing, stage1=send.generation, stage1_at=now)
    if send.stage is not Stage.STAGE1:
        standing = replace(standing, stage2=send.generation, stage2_at=now)
    return standing


def failed(
    standing: Standing,
    send: Send,
    now: datetime,
    *,
    rules: Push,
    jitter: float,
    exit_code: int | None,
    last_words: str,
) -> Standing:
    """The site ended with something else, or did not answer (`exit_code` is none): it rests.

    Each pause is twice as long as the one before, times `jitter` (about 1), so that sites that failed
    together do not all come back together.
    """
    # The factor is bounded, not the product: doubled a few times, a duration of days overflows the calendar.
    at_most = rules.retry_at_most / rules.retry_after
    pause = rules.retry_after * min(2 ** min(standing.attempts, _MOST_DOUBLINGS), at_most)
    return replace(
        unanswered(standing),
        tried=send.generation,
        attempts=standing.attempts + 1,
        failing_since=standing.failing_since or now,
        next_try_at=now + pause * jitter,
        exit_code=exit_code,
        last_words=last_words,
    )
