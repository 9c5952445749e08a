"""Turns what happened, and the clock, into how each archive is doing.

The one place that judges: command line, web page, metrics and alerts all show what is decided here. It
reads no clock, no database and no disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile

from pushmirror.archive.generation import short
from pushmirror.config.types import span
from pushmirror.errors import Exit
from pushmirror.state.records import Generation, Outcome, Request, Run, Stage
from pushmirror.status.site import SiteStatus
from pushmirror.status.sites import SiteHealth, attention_to
from pushmirror.status.suites import SuiteHealth, attention_to_suite
from pushmirror.status.words import Level, ago, raised

OWNER = "owner"  # shown for an archive without upstream
_PATIENCE = timedelta(minutes=10)  # after which a push without a run needs attention


@dataclass(frozen=True, slots=True)
class ArchiveHealth:
    """How one archive is doing."""

    archive: str
    level: Level
    generation: str | None  # the first digits of the served one's digest
    published_at: datetime | None  # when it was
    published_age_s: float | None
    last_success_at: datetime | None  # the last time that the tree was known to be current
    last_run_id: int | None
    last_outcome: Outcome | None
    last_run: str  # in a few words
    running_since: datetime | None
    pending: int  # requests that no run serves yet
    attention: tuple[str, ...]  # what needs attention, one sentence each
    strategy: str = ""  # of the last run; empty: it did not get so far
    stalled_since: datetime | None = None  # since when the current run has received nothing
    why: str = ""  # that one
    strategy_text: str = ""  # both, in words
    asked_generation: str | None = None  # the first digits of the last push's generation; None: it named none
    asked_at: datetime | None = None  # of the last request
    behind: str = ""  # as text, if that is not served and no run has found out why
    verified_at: datetime | None = None  # end of the last `pushmirror verify`
    verified_problems: int | None = None  # names that it found wrong and that were not repaired
    verified: str = ""  # both, in words; empty: never
    upstream: str = OWNER  # its URL, without a password; `owner` when the archive is made here
    upstream_changed_at: datetime | None = None  # when it did last, as its own files say
    live: int = 0  # of the pushed sites: those that serve what we serve
    sites: tuple[SiteHealth, ...] = ()  # those that need attention first
    suites: tuple[SuiteHealth, ...] = ()  # those that need attention


def summarise(
    archives: Iterable[str],
    runs: Iterable[Run],
    generations: Iterable[Generation],
    pending: Iterable[Request],
    now: datetime,
    *,
    asked: Iterable[Request] = (),
) -> list[ArchiveHealth]:
    """The health of each of the archives, in their order; the events may come in any order.

    `asked` is what each of them was asked for last.
    """
    newest_first = sorted(runs, key=lambda run: run.id, reverse=True)
    served = {generation.archive: generation for generation in generations if generation.replaced_at is None}
    waiting = sorted(pending, key=lambda request: request.id)
    last_asked = {request.archive: request for request in asked}
    return [
        _health(
            archive,
            [run for run in newest_first if run.archive == archive],
            served.get(archive),
            [request for request in waiting if request.archive == archive],
            now,
            asked=last_asked.get(archive),
        )
        for archive in archives
    ]


def with_sites(health: ArchiveHealth, sites: Sequence[SiteHealth], now: datetime) -> ArchiveHealth:
    """An archive's health together with that of its sites: a site in trouble is trouble of the archive."""
    return replace(
        health,
        level=_raised(health.level, (site.level for site in sites)),
        attention=(*health.attention, *attention_to(sites, now)),
        live=sum(site.state is SiteStatus.LIVE for site in sites),
        sites=tuple(sites),
    )


def with_stall(health: ArchiveHealth, since: datetime | None, now: datetime) -> ArchiveHealth:
    """An archive's health with since when its run has received nothing; not what an earlier run has left."""
    if since is None or health.running_since is None or since < health.running_since:
        return health
    last_run = f"{health.last_run}, stalled for {span(now - since)}"
    return replace(health, stalled_since=since, last_run=last_run)


def with_suites(health: ArchiveHealth, suites: Sequence[SuiteHealth], now: datetime) -> ArchiveHealth:
    """An archive's health together with that of its suites: trouble of one is a warning, the rest is good."""
    troubled = tuple(one for one in suites if one.level is not Level.OK)
    words = [line for one in troubled for line in attention_to_suite(one, now)]
    return replace(
        health,
        level=_raised(health.level, (one.level for one in troubled)),
        attention=(*health.attention, *words),
        suites=troubled,
    )


def _raised(level: Level, others: Iterable[Level]) -> Level:
    for by in others:
        level = raised(level, by)
    return level


def with_verified(
    health: ArchiveHealth,
    at: datetime,
    problems: Mapping[str, int],
    now: datetime,
    *,
    is_certain: bool = True,
    upstream_lacks: int = 0,
    is_weak: bool = False,
) -> ArchiveHealth:
    """An archive's health with what its last verify found, each kind of problem by its name.

    Files that upstream lacks, too, are none; with `is_weak` some suites were compared by weak hashes alone.
    It is not `is_certain` if there was more that could not be verified. Problems are an error until they are
    repaired, however well later runs end: these look at what changes.
    """
    found = [f"{number} {what}" for what, number in problems.items() if number]
    if found:
        number, _, what = found[0].partition(" ")
        found[0] = f"{number} file{'s' if number != '1' else ''} {what}"
    elif is_certain:
        found = ["complete except for files missing upstream" if upstream_lacks else "complete"]
    if not is_certain:
        found.append("not everything was checked")
    if is_weak:
        found.append("some by weak hashes only")
    level, attention = health.level, health.attention
    if sum(problems.values()):
        level = Level.ERROR
        attention = (
            *attention,
            f"the verify of {ago(at, now)} found {', '.join(found)}: {_repaired(health)}",
        )
    elif not is_certain:
        level = raised(level, Level.WARNING)
        todo = f"see why: pushmirror verify {health.archive}"
        attention = (*attention, f"the verify of {ago(at, now)} did not check everything: {todo}")
    return replace(
        health,
        level=level,
        attention=attention,
        verified_at=at,
        verified_problems=sum(problems.values()),
        verified=f"verified {ago(at, now)}, {', '.join(found)}",
    )


def _repaired(health: ArchiveHealth) -> str:
    """How to repair what a verify found."""
    if health.upstream == OWNER:
        return f"repair the tree, then: pushmirror verify {health.archive}"
    return f"pushmirror verify {health.archive} --repair"


def _health(
    archive: str,
    runs: Sequence[Run],
    served: Generation | None,
    waiting: Sequence[Request],
    now: datetime,
    *,
    asked: Request | None,
) -> ArchiveHealth:
    last = next(iter(runs), None)
    ended = [run for run in runs if run.outcome is not Outcome.RUNNING]
    success = next((run for run in ended if _made_current(run)), None)
    running = next((run for run in runs if run.outcome is Outcome.RUNNING), None)
    attention = tuple(_attention(ended, served, waiting, running, now))
    return ArchiveHealth(
        archive=archive,
        level=_level(ended, running, attention),
        generation=short(served.digest) if served else None,
        published_at=served.published_at if served else None,
        published_age_s=max(0.0, (now - served.published_at).total_seconds()) if served else None,
        last_success_at=_last_success(success, asked),
        last_run_id=last.id if last else None,
        last_outcome=last.outcome if last else None,
        last_run=in_words(last, now) if last else "no run yet",
        running_since=running.started_at if running else None,
        pending=len(waiting),
        attention=attention,
        strategy=last.strategy if last else "",
        why=last.why if last else "",
        strategy_text=last.strategy_text if last else "",
        asked_generation=short(asked.generation) if asked else None,
        asked_at=asked.arrived_at if asked else None,
        behind=_behind(asked, served, success, now),
    )


def _last_success(success: Run | None, asked: Request | None) -> datetime | None:
    """The last success, also of a push or timer that needed no run."""
    needed_none = asked is not None and asked.run_id is None and asked.exit_code == Exit.OK
    times = [success.ended_at if success else None, asked.arrived_at if asked and needed_none else None]
    return max((at for at in times if at), default=None)


def _behind(asked: Request | None, served: Generation | None, success: Run | None, now: datetime) -> str:
    """What a push announced and is not served, until a run has found out upstream's state."""
    if asked is None or asked.generation is None or (served and served.digest == asked.generation):
        return ""
    if success and success.started_at >= asked.arrived_at:
        return ""
    serving = f"serves {short(served.digest)}" if served else "serves nothing yet"
    return f"{short(asked.generation)} was announced {ago(asked.arrived_at, now)}, {serving}"


def in_words(run: Run, now: datetime) -> str:
    """One run as short text: stage, result, time."""
    what = "" if run.stage is Stage.ALL else f"{run.stage} "
    if run.outcome is Outcome.RUNNING:
        return f"{what}running for {span(now - run.started_at)}"
    code = f" ({run.exit_code})" if run.exit_code else ""
    when = f" {span(now - run.ended_at)} ago" if run.ended_at else ""
    return f"{what}{'held' if _held_suites_back(run) else run.outcome}{code}{when}"


def _level(ended: Sequence[Run], running: Run | None, attention: Sequence[str]) -> Level:
    if running:
        return Level.RUNNING
    judged = next((run for run in ended if run.outcome is not Outcome.INTERRUPTED), None)
    if judged and judged.outcome is not Outcome.SUCCEEDED:
        return Level.ERROR
    return Level.WARNING if attention else Level.OK


def _made_current(run: Run) -> bool:
    """Whether a run made the tree current; stage 1 alone publishes nothing. Held suites do not count."""
    return run.outcome is Outcome.SUCCEEDED and run.stage is not Stage.STAGE1


def _held_suites_back(run: Run) -> bool:
    return run.outcome is Outcome.SUCCEEDED and run.exit_code == Exit.HELD


def _attention(
    ended: Sequence[Run],
    served: Generation | None,
    waiting: Sequence[Request],
    running: Run | None,
    now: datetime,
) -> Iterator[str]:
    failed = list(takewhile(lambda run: run.outcome is not Outcome.SUCCEEDED, ended))
    if failed and not running:
        why = failed[0].message or f"it {failed[0].outcome}"
        if failed[0].outcome is Outcome.INTERRUPTED:
            why = f"it was {why}"
        if len(failed) > 1:
            yield f"the last {len(failed)} runs did not succeed, the last because {why}"
        else:
            yield f"run {failed[0].id} did not succeed: {why}"
    publishing = next((run for run in ended if run.stage is not Stage.STAGE1), None)
    if publishing and (withheld := publishing.stats.get("withheld_deletions")):
        yield (
            f"run {publishing.id} did not delete {withheld:.0f} files (above max_files or max_share): "
            f"check whether upstream really removed them, then: "
            f"pushmirror sync {publishing.archive} --allow-mass-delete"
        )
    if publishing and _held_suites_back(publishing):
        yield f"run {publishing.id}: {publishing.message}"
    if served is None and not running:
        yield "nothing has been published yet"
    if waiting and not running and now - waiting[0].arrived_at > _PATIENCE:
        yield f"a request ({waiting[0].trigger}) has been waiting for {span(now - waiting[0].arrived_at)}"
