"""Whether each archive is as fresh and whole as `status` wants it: the same summary, in one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pushmirror.cli.doctor.finding import Finding, error, ok, warning
from pushmirror.cli.doctor.places import has_database
from pushmirror.cli.health import health_of
from pushmirror.config.model import Config
from pushmirror.errors import StateError
from pushmirror.state.store import open_store
from pushmirror.status.level import Level
from pushmirror.status.summary import ArchiveHealth


def of_archives(config: Config) -> Iterator[Finding]:
    """One finding for each archive that has a past; trouble with the state is told of the state itself."""
    if not has_database(config.state):
        return
    try:
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            found = list(health_of(config, store, list(config.archives)))
    except StateError:
        return
    for one in found:
        if one.last_run_id is not None or one.generation is not None:
            yield judge(one)


def judge(health: ArchiveHealth) -> Finding:
    """What the level of an archive means, with the first of what needs attention."""
    subject, todo = f"status of {health.archive}", f"pushmirror status {health.archive}"
    if health.level in {Level.OK, Level.RUNNING}:
        return ok(subject, f"{health.level}: {health.last_run}")
    first, *others = health.attention or (health.last_run,)
    found = f"{first}{f' (and {len(others)} more)' if others else ''}"
    return (error if health.level is Level.ERROR else warning)(subject, found, todo)
