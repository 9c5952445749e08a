"""Collect the input of `status`: the store, and the files beside it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pushmirror.status.age import usual_gap, with_age
from pushmirror.status.archives import (
    OWNER,
    ArchiveHealth,
    summarise,
    with_sites,
    with_stall,
    with_suites,
    with_verified,
)
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.config.model import Archive, Config
    from pushmirror.state.records import Generation
    from pushmirror.state.store import Store
    from pushmirror.state.suites import SuiteRecord
    from pushmirror.status.sites import SiteHealth

_RUNS = 50  # read per archive: enough to see since when it fails
_GENERATIONS = 200  # read per archive: a site's generation may be months old
_TRACE = "project/trace/master"  # of the archive's origin
_TRACE_BYTES = 4096  # of it that are read


def health_of(
    config: Config, store: Store, names: Sequence[str], chosen: Container[str] = ()
) -> Iterator[ArchiveHealth]:
    """The health of these archives now, with all sites or the chosen ones."""
    from pushmirror.fetch.stall import stalled_file, stalled_since
    from pushmirror.state.suites import read_suites, suites_path
    from pushmirror.status.suites import summarise_suites

    now = clock.now()
    names = [name for name in names if name in config.archives]
    found = summarise(
        names,
        [run for name in names for run in store.runs(name, limit=_RUNS)],
        [served for name in names if (served := store.latest_generation(name))],
        [request for name in names for request in store.pending(name)],
        now,
        asked=[asked for name in names if (asked := store.latest_request(name))],
    )
    for one in found:
        archive, generations = config.archives[one.archive], store.generations(one.archive, _GENERATIONS)
        sites = sites_of(config, store, archive, generations)
        suites = read_suites(suites_path(config.state.directory, archive.name))
        health = replace(one, upstream=str(archive.upstream or OWNER))
        stalled = stalled_since(stalled_file(config.state.directory, archive.name))
        health = _with_last_verify(with_stall(health, stalled, now), config, now)
        health = with_suites(health, summarise_suites(suites, now), now)
        health = with_age(
            health,
            stale_after=archive.stale_after,
            upstream_changed_at=_changed_at(archive, suites),
            usual=usual_gap(generations),
            now=now,
        )
        yield with_sites(health, [site for site in sites if not chosen or site.site in chosen], now)


def _changed_at(archive: Archive, suites: Sequence[SuiteRecord]) -> datetime | None:
    """When the archive's origin changed it last, by the served Release files and the origin's trace."""
    from pushmirror.archive.trace import parse_trace

    dates = [suite.date for suite in suites if suite.date]
    with suppress(OSError), (archive.path / _TRACE).open("rb") as file:
        if date := parse_trace(file.read(_TRACE_BYTES).decode("utf-8", "replace")).date:
            dates.append(date)
    return max(dates, default=None)


def _with_last_verify(health: ArchiveHealth, config: Config, now: datetime) -> ArchiveHealth:
    from pushmirror.verify.checkpoint import directory_of, last_verified

    last = last_verified(directory_of(config.state.directory, health.archive))
    if last is None:
        return health
    problems = {"missing": last.missing, "wrong": last.wrong, "unreadable": last.unreadable}
    return with_verified(
        health,
        last.ended_at,
        problems,
        now,
        is_certain=not last.notes,
        upstream_lacks=last.upstream,
        is_weak=bool(last.weak),
    )


def sites_of(
    config: Config, store: Store, archive: Archive, generations: Sequence[Generation]
) -> list[SiteHealth]:
    """The health of the sites that we push an archive to, now."""
    from pushmirror.push.decide import Goal, decide
    from pushmirror.push.lock import PushLock
    from pushmirror.status.sites import summarise_sites

    name, now = archive.name, clock.now()
    sites = config.sites_of(name)
    if not sites:
        return []
    site_states = store.site_states(name)
    served = next((one for one in generations if one.replaced_at is None), None)
    prepared = store.preparation(name)
    goal = Goal(
        name,
        published=served.digest if served else None,
        since=now,  # only the push process knows when it began
        prepared=prepared.generation if prepared else None,
    )
    return summarise_sites(
        name,
        sites,
        site_states=site_states,
        generations=generations,
        phases=decide(sites, site_states, goal, config.push, now).phases,
        push=config.push,
        now=now,
        pushing=PushLock(config.state.directory, name).is_taken(),
        stale_after=archive.stale_after,
    )
