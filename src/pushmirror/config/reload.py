"""The configuration as it is on the disk now, for who lives longer than it: `serve`, and a push.

Guaranteed: what is returned is always usable. While the files have a mistake in them, the last good one
counts, and the mistake is logged once.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from pushmirror.config.loader import SITES, load
from pushmirror.config.model import Config
from pushmirror.errors import ConfigError

_log = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int], ...]  # name, mtime in ns, size


class CurrentConfig:
    """Calling it gives the configuration; its files are read again when they have changed."""

    def __init__(self, config: Config) -> None:
        assert config.source is not None
        self._source = config.source
        self._config = config
        self._seen: Stamp = ()
        self.mistake: ConfigError | None = None  # in the files as they are now, which therefore do not count

    def __call__(self) -> Config:
        """The configuration."""
        stamp = _stamp(self._source)
        if stamp != self._seen:  # also the first time: what changed since it was read would never be seen
            self._seen = stamp
            self._read()
        return self._config

    def _read(self) -> None:
        try:
            config = load(self._source)
        except ConfigError as exc:
            self.mistake = exc
            _log.warning("invalid configuration; keeping the previous one: %s", exc)
            return
        self.mistake = None
        if config != self._config:
            _log.info("the configuration has changed")
            self._config = config


def _stamp(source: Path) -> Stamp:
    """What tells one state of the files from another."""
    found = [facts_of(source)]
    with suppress(OSError), os.scandir(source.parent / SITES) as entries:
        found += sorted(facts_of(Path(entry)) for entry in entries if entry.name.endswith(".toml"))
    return tuple(found)


def facts_of(file: Path) -> tuple[str, int, int]:
    """What changes of a file when its text does; zeros if it is not there."""
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), status.st_mtime_ns, status.st_size
