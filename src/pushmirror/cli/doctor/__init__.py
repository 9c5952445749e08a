"""Looks at everything a mirror depends on, and says what to do about what is not in order.

Guaranteed: nothing is changed, at upstream or here, but a state database of an older schema; one part
that cannot be looked at hides no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pushmirror.cli.doctor import places, programs, signatures, upstream
from pushmirror.cli.doctor.finding import Finding, error, ok
from pushmirror.config.model import Config
from pushmirror.config.toml import load
from pushmirror.errors import ConfigError
from pushmirror.system import clock


def examine(config_path: Path | None) -> Iterator[Finding]:
    """All findings, in the order in which a newcomer would put them right."""
    try:
        config = load(config_path)
    except ConfigError as exc:
        for line in str(exc).splitlines():
            yield error("configuration", line, exc.hint or "correct the file")
        return
    yield ok("configuration", f"{config.source}: {len(config.archives)} archives, {len(config.sites)} sites")
    yield from examine_machine(config)
    for archive in config.archives.values():
        yield from _looked_at(archive.name, places.of_archive(archive))
        yield from upstream.of_archive(archive, clock.now())
        yield from _looked_at(archive.name, signatures.of_archive(archive))


def examine_machine(config: Config) -> Iterator[Finding]:
    """What all archives share."""
    yield from places.of_mirror(config.mirror)
    yield from programs.all_of(config)
    yield places.clock_of(clock.now())
    yield from _looked_at("state", places.of_state(config.state))
    yield from _looked_at("push", places.of_push(config))


def _looked_at(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except OSError as exc:
        found = f"{exc.filename} cannot be looked at: {exc.strerror}"
        yield error(subject, found, "run this as the user who runs the mirror")
