"""The health of an archive's suites, from their stored records and the clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pushmirror.state.suites import SuiteRecord
from pushmirror.status.words import Level, listed, time_of_day

_FINGERPRINT = 16  # last digits of a fingerprint: a long key id


class SuiteState(StrEnum):
    """A suite's state in a word or two."""

    CURRENT = "current"  # upstream's state is published here
    HELD = "held back"  # an older state, complete and verified
    ABSENT = "never published"


@dataclass(frozen=True, slots=True)
class SuiteHealth:
    """The health of one suite."""

    suite: str  # the directory of its Release file, relative to the tree
    names: tuple[str, ...]  # links that lead to it
    state: SuiteState
    level: Level
    date: datetime | None  # of the served state, by its Release file
    valid_until: datetime | None  # the same
    expired: bool  # expired: apt refuses it
    signed_by: tuple[str, ...]  # fingerprints; empty: signatures are not checked
    weak: str  # MD5Sum or SHA1, where its Release file has nothing stronger
    held_since: datetime | None
    reason: str  # why it is held back
    hint: str  # what to do about it
    missing: int  # files that upstream's indices name and upstream lacks or has wrong
    missing_paths: tuple[str, ...]  # the first of them

    @property
    def short_keys(self) -> tuple[str, ...]:
        """The signing keys in their usual short form."""
        return tuple(key[-_FINGERPRINT:] for key in self.signed_by)


def summarise_suites(records: Sequence[SuiteRecord], now: datetime) -> list[SuiteHealth]:
    """The health of each suite, in their order."""
    return [_health(one, now) for one in records]


def attention_to_suite(suite: SuiteHealth, now: datetime) -> Iterator[str]:
    """What needs attention: a sentence for each problem."""
    if suite.held_since:
        what = "is held back" if suite.state is SuiteState.HELD else "is not published"
        todo = f"; {suite.hint}" if suite.hint else ""
        since = time_of_day(suite.held_since, now)
        yield f"{suite.suite} {what} since {since}: {suite.reason or 'unknown'}{todo}"
    if suite.missing:
        files = "1 file" if suite.missing == 1 else f"{suite.missing} files"
        named = f": {listed(suite.missing_paths, of=suite.missing)}" if suite.missing_paths else ""
        yield f"{suite.suite} names {files} that are missing or wrong upstream{named}"
    if suite.expired and suite.valid_until:
        until = time_of_day(suite.valid_until, now)
        yield f"{suite.suite} was valid until {until}, so apt rejects it: check whether upstream still works"
    if suite.weak:
        yield f"{suite.suite} has no hash stronger than {suite.weak}, so its files are not verified"


def _health(record: SuiteRecord, now: datetime) -> SuiteHealth:
    expired = record.valid_until is not None and record.valid_until < now
    state = SuiteState.CURRENT
    if not record.served:
        state = SuiteState.ABSENT
    elif record.is_held:
        state = SuiteState.HELD
    troubled = state is not SuiteState.CURRENT or record.missing or expired or record.weak
    return SuiteHealth(
        suite=record.directory,
        names=record.names,
        state=state,
        level=Level.WARNING if troubled else Level.OK,
        date=record.date,
        valid_until=record.valid_until,
        expired=expired,
        signed_by=record.signed_by,
        weak=record.weak,
        held_since=record.held_since,
        reason=record.reason,
        hint=record.hint,
        missing=record.missing,
        missing_paths=record.missing_paths,
    )
