"""What is remembered of a mirror's life, as values. Times are aware and in UTC.

request ──begin_run──▶ run (running) ──end_run──▶ succeeded | failed
   ▲                        │
   ├────interrupt_run───────┼──▶ interrupted: a signal ended it; requests without an answer wait again
   └───────recover──────────┴──▶ died: its process is gone; they wait again, too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
    run_id: int | None = None  # the run that serves it
    exit_code: int | None = None  # its answer
    message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sync."""

    id: int
    archive: str
    stage: Stage
    strategy: str  # the one taken
    trigger: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome
    exit_code: int | None
    generation: str | None  # the digest that is published at its end
    message: str
    stats: Mapping[str, int | float]
    log: str  # path of its log file; empty: it has none


@dataclass(frozen=True, slots=True)
class Generation:
    """One published state of an archive."""

    archive: str
    digest: str
    published_at: datetime
    replaced_at: datetime | None  # none: this is the one being served
    run_id: int | None  # the run itself may have been pruned since
