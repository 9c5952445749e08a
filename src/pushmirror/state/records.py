"""The values that the state database keeps. Times are aware and in UTC.

request ──begin_run──▶ run (running) ──end_run──▶ succeeded | failed
   ▲                        │
   ├────end_run─────────────┼──▶ interrupted: a signal ended it; requests without an answer wait again
   └───────recover──────────┴──▶ died: its process is gone; they wait again, too
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

OWNER_SCAN = "stock"  # the strategy of an owner's run, which scans its own tree only
_DIGEST = re.compile("[0-9a-f]{64}")


def is_digest(generation: str | None) -> bool:
    """Whether this is the digest of a generation, and not a name for one whose digest is not known yet."""
    return generation is not None and _DIGEST.fullmatch(generation) is not None


class Stage(StrEnum):
    """Which part of a sync is asked for."""

    STAGE1 = "stage1"
    STAGE2 = "stage2"
    ALL = "all"


class Outcome(StrEnum):
    """How a run ended, if it has."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # by a signal; its requests wait for the next run
    DIED = "died"  # its process disappeared while it was running


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked for a run."""

    id: int
    archive: str
    stage: Stage
    mhop: bool
    trigger: str  # what caused it: ssh, cron, manual …
    client: str  # address of the client; empty: this machine
    words: str  # the words of the trigger, as received
    generation: str | None  # the digest that the push named, if it did
    arrived_at: datetime
    run_id: int | None = None  # the run that serves it; none, with an exit code: it needed none
    exit_code: int | None = None  # the answer; none: it has none yet
    message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sync."""

    id: int
    archive: str
    stage: Stage
    strategy: str  # the one used; empty: not chosen yet
    trigger: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome
    exit_code: int | None
    generation: str | None  # the digest that it published
    message: str
    stats: Mapping[str, int | float]
    log: str  # path of its log file; empty: it has none
    why: str = ""  # why that strategy

    @property
    def strategy_text(self) -> str:
        """The strategy and why, in words: `by manifest: 3 steps`; empty when it used none."""
        if self.strategy in {"", OWNER_SCAN}:
            return ""
        return f"by {self.strategy}: {self.why}" if self.why else f"by {self.strategy}"


@dataclass(frozen=True, slots=True)
class Generation:
    """One published state of an archive."""

    archive: str
    digest: str
    published_at: datetime
    replaced_at: datetime | None  # none: it is being served
    run_id: int | None  # the run that published it, which may have been pruned since


@dataclass(frozen=True, slots=True)
class SiteState:
    """What one site has confirmed of one archive, and its pending or failed trigger.

    sent_* ──answered 0──▶ stage1 | stage2 = the generation        (the trigger `all` confirms both at once)
       └────anything else─▶ failing_since, attempts + 1, next_try_at
    """

    archive: str
    site: str
    stage1: str | None = None  # the generation whose stage 1 it confirmed last, by our digest
    stage1_at: datetime | None = None
    stage2: str | None = None  # the generation it confirmed to serve
    stage2_at: datetime | None = None
    sent_stage: Stage | None = None  # of the trigger that it has not answered yet
    sent_generation: str | None = None  # none, though a trigger was sent: its answer will not count
    sent_at: datetime | None = None
    tried: str | None = None  # the generation that its last failure was about
    attempts: int = 0  # that failed since the last success
    failing_since: datetime | None = None  # when the first of these failed
    next_try_at: datetime | None = None
    exit_code: int | None = None  # of the last answer; none: there was no answer, `last_words` says why
    last_words: str = ""  # the last line of the last answer
    reported: bool = False  # that it has been failing for long was reported


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger that was sent, and its answer."""

    id: int
    archive: str
    site: str
    stage: Stage
    generation: str
    sent_at: datetime
    ended_at: datetime | None = None  # none: no answer yet, or our process ended before it came
    exit_code: int | None = None  # none: there was no answer; `output` says why
    output: str = ""  # what the site printed, at most 64 KiB


@dataclass(frozen=True, slots=True)
class Preparation:
    """A generation that is fetched but not published: the sites of an mhop hub may begin with stage 1."""

    archive: str
    generation: str
    prepared_at: datetime


class Phase(StrEnum):
    """Where a site is in getting an archive's newest generation."""

    CURRENT = "current"
    PAUSED = "paused"
    TRIGGERED = "triggered"  # a trigger was sent and has no answer yet
    DUE = "due"  # a trigger is to be sent now
    WAITING_FOR_CANARY = "waiting_for_canary"  # the canaries are not current yet
    DELAYED = "delayed"  # its configured delay is not over yet
    WAITING_FOR_STAGE1 = "waiting_for_stage1"  # it has stage 1, others have not
    BACKING_OFF = "backing_off"  # it failed, and gets another trigger later
