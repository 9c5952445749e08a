"""What is remembered of a mirror's life, as values. Times are aware and in UTC.

request ──begin_run──▶ run (running) ──end_run──▶ succeeded | failed
   ▲                        │
   ├────interrupt_run───────┼──▶ interrupted: a signal ended it; requests without an answer wait again
   └───────recover──────────┴──▶ died: its process is gone; they wait again, too
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

STOCK = "stock"  # in the place of a strategy: an owner's run, which looks at its own tree only
_DIGEST = re.compile("[0-9a-f]{64}")


def is_digest(generation: str | None) -> bool:
    """Whether this is a generation that others know, too, and not a name for one that is not known yet."""
    return generation is not None and _DIGEST.fullmatch(generation) is not None


class Stage(StrEnum):
    """Which part of a sync is asked for."""

    STAGE1 = "stage1"
    STAGE2 = "stage2"
    ALL = "all"


class Outcome(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # by a signal; what was asked for still waits
    DIED = "died"  # its process was gone before it could say how it ended


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked for a run."""

    id: int
    archive: str
    stage: Stage
    mhop: bool
    trigger: str  # what woke us: ssh, cron, manual …
    client: str  # address of who asked; empty: this machine
    words: str  # the words as they came in
    generation: str | None  # the digest that was asked for, when the push named it
    arrived_at: datetime
    run_id: int | None = None  # the run that serves it; none, with an answer: it needed none
    exit_code: int | None = None  # its answer
    message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sync."""

    id: int
    archive: str
    stage: Stage
    strategy: str  # the one taken; empty: it is not known yet, or no run came so far
    trigger: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome
    exit_code: int | None
    generation: str | None  # the digest that is published at its end
    message: str
    stats: Mapping[str, int | float]
    log: str  # path of its log file; empty: it has none
    why: str = ""  # that strategy

    @property
    def by(self) -> str:
        """How it learnt what had changed, in words: `by manifest: 3 steps`; empty when it did not ask."""
        if self.strategy in {"", STOCK}:
            return ""
        return f"by {self.strategy}: {self.why}" if self.why else f"by {self.strategy}"


@dataclass(frozen=True, slots=True)
class Generation:
    """One published state of an archive."""

    archive: str
    digest: str
    published_at: datetime
    replaced_at: datetime | None  # none: this is the one being served
    run_id: int | None  # the run itself may have been pruned since


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one site is with one archive, by its own answers; all generations are digests of ours.

    sent_* ──answered 0──▶ stage1 | stage2 = the generation        (the trigger `all` confirms both at once)
       └────anything else─▶ failing_since, attempts + 1, next_try_at
    """

    archive: str
    site: str
    stage1: str | None = None  # the generation whose stage 1 it confirmed last
    stage1_at: datetime | None = None
    stage2: str | None = None  # the generation it confirmed to serve
    stage2_at: datetime | None = None
    sent_stage: Stage | None = None  # of the trigger that it has not answered yet
    sent_generation: str | None = None  # none, though a trigger is out: its answer comes too late to count
    sent_at: datetime | None = None
    tried: str | None = None  # the generation that its last failure was about
    attempts: int = 0  # that failed since the last success
    failing_since: datetime | None = None  # when the first of them failed
    next_try_at: datetime | None = None
    exit_code: int | None = None  # of the last answer; none: there was no answer, `last_words` say why
    last_words: str = ""  # the last line of the last answer
    reported: bool = False  # that it has been failing for long


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger that was sent, and what came of it."""

    id: int
    archive: str
    site: str
    stage: Stage
    generation: str
    sent_at: datetime
    ended_at: datetime | None = None  # none: no answer yet, or we did not live to hear it
    exit_code: int | None = None  # none: there was no answer; `output` says why
    output: str = ""  # what the site said, at most 64 KiB


@dataclass(frozen=True, slots=True)
class Preparation:
    """A generation that is fetched but not published: an mhop hub's sites may begin with stage 1."""

    archive: str
    generation: str
    prepared_at: datetime


class Phase(StrEnum):
    """What a site is doing about an archive's newest generation, or waiting for."""

    CURRENT = "current"
    PAUSED = "paused"
    TRIGGERED = "triggered"  # it has been woken and has not answered yet
    DUE = "due"  # it is to be woken now
    GATED = "gated"  # the canaries are not current yet
    DELAYED = "delayed"  # its configured delay is not over yet
    HELD = "held"  # it has stage 1; others have not
    RESTING = "resting"  # it failed, and is tried again later
