"""Check that something starts syncs (pushes, timers, cron, systemd), and the health of archives.

Guaranteed: only files are read, as far as this user may; an unreadable file counts as none.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.checks.machine import has_database
from pushmirror.config.model import Archive, Config
from pushmirror.errors import StateError
from pushmirror.health import health_of
from pushmirror.state.records import Request
from pushmirror.state.store import open_store
from pushmirror.status.archives import ArchiveHealth
from pushmirror.status.words import Level, ago, listed
from pushmirror.system import clock

_CRON = ("etc/crontab", "etc/cron.d/*", "etc/cron.hourly/*", "etc/cron.daily/*", "var/spool/cron/crontabs/*")
_UNITS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
)
_OWN_UNITS = (".config/systemd/user",)  # below the home
_STARTS = re.compile(r"\bpushmirror\b.*\bsync\b|\bftpsync(-cron)?\b")
_LATELY = 3  # times `stale_after`
_MOST_BYTES = 256 * 1024  # of a file that are read


def of_mirror(config: Config, root: Path = Path("/"), home: Path | None = None) -> Iterator[Finding]:
    """One finding for each archive with an upstream."""
    archives = [archive for archive in config.archives.values() if archive.upstream]
    if not archives:
        return
    by_files = [*cron(root), *timers(root, home or Path("~").expanduser())]
    asked = _last_requests(config)
    for archive in archives:
        yield judge(archive, asked.get(archive.name), by_files, clock.now(), config.source)


def judge(
    archive: Archive, asked: Request | None, by_files: list[str], now: datetime, source: Path | None = None
) -> Finding:
    """The finding about what starts an archive's syncs."""
    subject = f"what syncs {archive.name}"
    found = list(by_files)
    if asked and asked.trigger != "manual" and now - asked.arrived_at < _LATELY * archive.stale_after:
        found.insert(0, f"triggered by {asked.trigger} {ago(asked.arrived_at, now)}")
    if found:
        return ok(subject, listed(found))
    program = [str(Path(shutil.which("pushmirror") or "/usr/local/bin/pushmirror"))]
    named = ["--config", str(source)] if source else []
    command = shlex.join([*program, *named, "sync", "--quiet", "-T", "cron", archive.name])
    line = shlex.quote(f"17 5,17 * * * {_user(archive)} {command}".replace("%", r"\%"))
    return warning(
        subject,
        "nothing: no recent push, and no cron file or timer that this user can read runs sync",
        f"as root: echo {line} >> /etc/cron.d/pushmirror; and ask your upstream to push",
    )


def _user(archive: Archive) -> str:
    """The owner of the tree, present or future."""
    try:
        return archive.path.owner()
    except (KeyError, OSError):
        return pwd.getpwuid(os.geteuid()).pw_name


def cron(root: Path) -> Iterator[str]:
    """The cron files that start a sync."""
    for pattern in _CRON:
        for file in _glob(root, pattern):
            if _starts(file):
                yield f"/{file.relative_to(root)}"


def timers(root: Path, home: Path) -> Iterator[str]:
    """The enabled systemd timers, of the system and of this user, whose service syncs."""
    directories = [root / one for one in _UNITS] + [home / one for one in _OWN_UNITS]
    for directory in directories:
        for timer in _glob(directory, "timers.target.wants/*.timer"):
            service = _service_of(timer)
            if any(_starts(place / service) for place in directories):
                yield timer.name


def _service_of(timer: Path) -> str:
    named = re.search(r"^Unit=(\S+)", _text(timer), re.MULTILINE)
    return named[1] if named else f"{timer.stem}.service"


def _starts(file: Path) -> bool:
    lines = (line for line in _text(file).splitlines() if not line.lstrip().startswith("#"))
    return any(map(_STARTS.search, lines))


def _text(file: Path) -> str:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(_MOST_BYTES).decode("utf-8", "replace")
    return ""


def _glob(directory: Path, pattern: str) -> list[Path]:
    with suppress(OSError):
        return sorted(one for one in directory.glob(pattern) if one.is_file() and os.access(one, os.R_OK))
    return []


def _last_requests(config: Config) -> dict[str, Request]:
    if not has_database(config.state):
        return {}
    try:
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            found = {name: store.latest_request(name) for name in config.archives}
    except StateError:  # reported by the check of the state
        return {}
    return {name: one for name, one in found.items() if one}


def of_archives(config: Config) -> Iterator[Finding]:
    """One finding for each archive with runs; errors of the state are reported by the check of the state."""
    if not has_database(config.state):
        return
    try:
        with closing(open_store(config.state.database_url, config.state.directory)) as store:
            found = list(health_of(config, store, list(config.archives)))
    except StateError:
        return
    for one in found:
        if one.last_run_id is not None or one.generation is not None:
            yield judge_health(one)


def judge_health(health: ArchiveHealth) -> Finding:
    """The finding for an archive's health, with the first thing that needs attention."""
    subject, todo = f"status of {health.archive}", f"pushmirror status {health.archive}"
    if health.level in {Level.OK, Level.RUNNING}:
        return ok(subject, f"{health.level}: {health.last_run}")
    first, *others = health.attention or (health.last_run,)
    found = f"{first}{f' (and {len(others)} more)' if others else ''}"
    return (error if health.level is Level.ERROR else warning)(subject, found, todo)
