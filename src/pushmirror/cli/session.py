"""What every verb starts from: the configuration that was named, and the store it leads to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `pushmirror --help` must not wait for these
    from pushmirror.config.model import Archive, Config
    from pushmirror.state.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line; verbs get it by `@click.pass_obj`."""

    config_path: Path | None = None  # as --config said

    def config(self) -> Config:
        """Read the configuration; raises ConfigError."""
        from pushmirror.config.toml import load

        return load(self.config_path)

    @contextmanager
    def store(self, config: Config) -> Iterator[Store]:
        """The store of a configuration, closed in the end; raises StateError."""
        from pushmirror.state.sql import open_store

        store = open_store(config.state.database_url, config.state.directory)
        try:
            yield store
        finally:
            store.close()


def archive_named(config: Config, name: str) -> Archive:
    """One archive of the configuration; UsageError names the others when there is none."""
    from pushmirror.config.explain import did_you_mean
    from pushmirror.errors import UsageError

    if name not in config.archives:
        known = ", ".join(config.archives) or "none"
        raise UsageError(
            f"there is no archive {name!r} in {config.source}{did_you_mean(name, config.archives)}",
            hint=f"archives there: {known}",
        )
    return config.archives[name]
