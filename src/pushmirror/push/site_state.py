"""How a trigger and its answer change a site's state. Pure; `decide.py` has the picture of all phases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pushmirror.config.model import Push
from pushmirror.errors import Exit
from pushmirror.push.decide import Send
from pushmirror.state.records import SiteState, Stage

CONFIRMING = {Exit.OK, Exit.HELD}  # exit codes of a site that has what was pushed, or all it can have
_MOST_DOUBLINGS = 30  # of the first pause; by then any two durations of a configuration have met


def mark_sent(site_state: SiteState, send: Send, now: datetime) -> SiteState:
    """A trigger was sent."""
    return replace(site_state, sent_stage=send.stage, sent_generation=send.generation, sent_at=now)


def mark_unanswered(site_state: SiteState) -> SiteState:
    """The process that sent the trigger is gone: neither confirmed nor failed."""
    return replace(site_state, sent_stage=None, sent_generation=None, sent_at=None)


def reset_failures(site_state: SiteState) -> SiteState:
    """Forget earlier failures: they neither delay a trigger nor count."""
    return replace(site_state, tried=None, attempts=0, failing_since=None, next_try_at=None, reported=False)


def retry_now(site_state: SiteState) -> SiteState:
    """End the back-off: it is tried now."""
    return replace(site_state, next_try_at=None)


def reset(site_state: SiteState) -> SiteState:
    """Forget what it confirmed, and try it now."""
    return replace(retry_now(site_state), stage1=None, stage2=None)


def mark_confirmed(
    site_state: SiteState, send: Send, now: datetime, *, last_words: str, exit_code: int = 0
) -> SiteState:
    """The site has that stage of that generation.

    It ended with a code of CONFIRMING; with HELD it has all that it can have.
    """
    still_counts = site_state.sent_generation == send.generation
    site_state = replace(
        reset_failures(mark_unanswered(site_state)), exit_code=exit_code, last_words=last_words
    )
    if not still_counts:
        return site_state
    if send.stage is not Stage.STAGE2:
        site_state = replace(site_state, stage1=send.generation, stage1_at=now)
    if send.stage is not Stage.STAGE1:
        site_state = replace(site_state, stage2=send.generation, stage2_at=now)
    return site_state


def mark_failed(
    site_state: SiteState,
    send: Send,
    now: datetime,
    *,
    rules: Push,
    jitter: float,
    exit_code: int | None,
    last_words: str,
) -> SiteState:
    """The site ended with another code, or did not answer (`exit_code` is None): it backs off.

    Each pause is twice as long as the one before, times `jitter` (about 1), so that sites that failed
    together are not all retried together.
    """
    # The factor is bounded, not the product: doubled a few times, a duration of days overflows the calendar.
    at_most = rules.retry_at_most / rules.retry_after
    pause = rules.retry_after * min(2 ** min(site_state.attempts, _MOST_DOUBLINGS), at_most)
    return replace(
        mark_unanswered(site_state),
        tried=send.generation,
        attempts=site_state.attempts + 1,
        failing_since=site_state.failing_since or now,
        next_try_at=now + pause * jitter,
        exit_code=exit_code,
        last_words=last_words,
    )
