"""A configuration that follows its files, for `serve` and pushes.

Guaranteed: it is always valid. While the files have an error, the last valid one counts, and the error is
logged once.
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
    """Calling it returns the configuration; changed files are read again."""

    def __init__(self, config: Config) -> None:
        assert config.source is not None
        self._source = config.source
        self._config = config
        self._seen: Stamp = ()
        self.mistake: ConfigError | None = None  # the error of the present files, which do not count

    def __call__(self) -> Config:
        """The configuration."""
        stamp = _stamp(self._source)
        if stamp != self._seen:  # also the first time, so that no change is missed
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
    """Changes when one of the files does."""
    found = [facts_of(source)]
    with suppress(OSError), os.scandir(source.parent / SITES) as entries:
        found += sorted(facts_of(Path(entry)) for entry in entries if entry.name.endswith(".toml"))
    return tuple(found)


def facts_of(file: Path) -> tuple[str, int, int]:
    """A file's name, mtime and size; zeros if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), status.st_mtime_ns, status.st_size
