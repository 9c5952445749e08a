"""What every verb starts from: the configuration that was named, and the store it leads to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import printable

if TYPE_CHECKING:  # `pushmirror --help` must not wait for these
    from pushmirror.config.model import Archive, Config
    from pushmirror.errors import ConfigError
    from pushmirror.state.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line; verbs get it by `@click.pass_obj`."""

    config_path: Path | None = None  # as --config said

    def config(
        self,
        *,
        on_broken_sites: Callable[[ConfigError], None] | None = None,
        as_root: bool = False,
        is_told: bool = False,
    ) -> Config:
        """Read the configuration; raises ConfigError.

        With `on_broken_sites`, mistakes in the sites' files are given to it, and there are no sites. Root is
        then who owns the state (see whose.py), unless `as_root` says that nothing of the state is to be
        changed by this process; with `is_told` that is said on standard error.
        """
        from pushmirror.config.toml import load

        config = load(self.config_path, on_broken_sites=on_broken_sites)
        if as_root or os.geteuid() != 0:
            return config
        from pushmirror.whose import become_owner, require_readable

        said = become_owner(config)
        if not said:
            return config
        if is_told:
            with suppress(OSError):
                click.echo(f"pushmirror: {said}", err=True)
        config = load(config.source, on_broken_sites=on_broken_sites)
        require_readable(config)
        return config

    def as_owner(self, config: Config, change: Callable[[Store], object]) -> None:
        """Change something in the store as who owns it, and go on as who we are; raises PushmirrorError."""
        from pushmirror.system.users import as_user
        from pushmirror.whose import owner_of, user_numbered

        def act() -> str:
            with self.store(config) as store:
                change(store)
            return ""

        owner = owner_of(config.state.directory, config.archives.values())
        if os.geteuid() != 0 or owner == 0:
            act()
        else:
            as_user(user_numbered(owner, config.state.directory), act)

    @contextmanager
    def store(self, config: Config) -> Iterator[Store]:
        """The store of a configuration, closed in the end; raises StateError."""
        from pushmirror.state.store import open_store

        store = open_store(config.state.database_url, config.state.directory)
        try:
            yield store
        finally:
            store.close()

    def back_up(self, config: Config) -> None:
        """Make today's backup of the state if there is none; to be called when all else is done."""
        from pushmirror.state.backups import back_up_daily

        back_up_daily(config.state.database_url, config.state.directory)


def warn_of_broken_sites(exc: ConfigError) -> None:
    """Say on standard error that we go on without our sites; nobody's having gone away changes that."""
    what = [*str(exc).splitlines(), "until this is mended only a `serve` that runs already wakes our sites"]
    with suppress(OSError):
        for line in what:
            click.echo(f"pushmirror: warning: {printable(line)}", err=True)


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
