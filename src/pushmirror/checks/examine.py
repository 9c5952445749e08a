"""Run all checks of `pushmirror check`, in order.

Guaranteed: nothing is changed, at upstream, at sites or here, except a state database of an older schema; a
check that fails does not hide the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.checks import freshness, hub, incoming_push, machine, programs, signatures, upstream
from pushmirror.checks.finding import Finding, error, ok
from pushmirror.config.loader import load
from pushmirror.config.model import Config, Site
from pushmirror.errors import ConfigError
from pushmirror.system import clock


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration, or None, and the findings about it."""

    config: Config | None
    findings: tuple[Finding, ...]


def read(config_path: Path | None) -> Loaded:
    """Read the configuration."""
    try:
        config = load(config_path)
    except ConfigError as exc:
        todo = exc.hint or "correct the file"
        return Loaded(None, tuple(error("configuration", line, todo) for line in str(exc).splitlines()))
    archives, sites = _counted(len(config.archives), "archive"), _counted(len(config.sites), "site")
    return Loaded(config, (ok("configuration", f"{config.source}: {archives}, {sites}"),))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def examine(config: Config) -> Iterator[Finding]:
    """All findings, in the order in which to fix them."""
    yield from examine_machine(config)
    for archive in config.archives.values():
        yield from _looked_at(archive.name, machine.of_archive(archive, config.state))
        yield from upstream.of_archive(archive, clock.now())
        yield from _looked_at(archive.name, signatures.of_archive(archive))
    yield from _looked_at("way in", incoming_push.of_mirror(config))
    yield from _looked_at("what syncs", freshness.of_mirror(config))
    yield from _looked_at("status", freshness.of_archives(config))
    yield from _looked_at("sites", hub.of_hub(config))


def examine_sites(sites: Sequence[Site], config: Config) -> Iterator[Finding]:
    """The findings about these sites and their connections; takes as long as the slowest of them."""
    from pushmirror.checks import site  # asyncssh takes its time

    yield from _looked_at("push", hub.keys(config))
    yield from _looked_at("sites", iter(site.of_sites(sites, config)))


def examine_machine(config: Config) -> Iterator[Finding]:
    """The findings about what all archives share."""
    yield from machine.of_mirror(config.mirror)
    yield from programs.all_of(config)
    yield machine.clock_of(clock.now())
    yield from _looked_at("user", machine.user(config))
    yield from _looked_at("state", machine.of_state(config.state))


def _looked_at(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except OSError as exc:
        found = f"cannot read {exc.filename}: {exc.strerror}"
        yield error(subject, found, "run this as the user who runs the mirror")
