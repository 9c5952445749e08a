"""What every command starts from: the configuration, the store, the log on stderr, shared options."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import printable

if TYPE_CHECKING:
    from pushmirror.config.model import Archive, Config, Site
    from pushmirror.errors import ConfigError
    from pushmirror.state.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line; commands get it by `@click.pass_obj`."""

    config_path: Path | None = None  # as --config said

    def config(
        self,
        *,
        on_broken_sites: Callable[[ConfigError], None] | None = None,
        as_root: bool = False,
        is_told: bool = False,
    ) -> Config:
        """Read the configuration; raises ConfigError.

        With `on_broken_sites`, errors in the sites' files are passed to it, and there are no sites. Root then
        becomes the owner of the state (see ownership.py), unless `as_root` says that this process changes
        nothing of the state; with `is_told` that is reported on stderr.
        """
        from pushmirror.config.loader import load

        config = load(self.config_path, on_broken_sites=on_broken_sites)
        if as_root or os.geteuid() != 0:
            return config
        from pushmirror.ownership import become_owner, require_readable

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
        """Change something in the store as its owner, without giving up our own rights; raises
        PushmirrorError.
        """
        from pushmirror.ownership import owner_of, user_numbered
        from pushmirror.system.users import as_user

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
        """The store of a configuration, closed at the end; raises StateError."""
        from pushmirror.state.store import open_store

        store = open_store(config.state.database_url, config.state.directory)
        try:
            yield store
        finally:
            store.close()

    def back_up(self, config: Config) -> None:
        """Make today's backup of the state if there is none; call it at the end of a command."""
        from pushmirror.state.backups import back_up_daily

        back_up_daily(config.state.database_url, config.state.directory)


def warn_of_broken_sites(exc: ConfigError) -> None:
    """Warn on stderr that the sites' files are invalid; a closed stderr is ignored."""
    what = [
        *str(exc).splitlines(),
        "until this is fixed, only a `serve` that is already running pushes to sites",
    ]
    with suppress(OSError):
        for line in what:
            click.echo(f"pushmirror: warning: {printable(line)}", err=True)


def archive_named(config: Config, name: str) -> Archive:
    """One archive of the configuration; UsageError lists the archives if there is none of this name."""
    from pushmirror.config.problems import did_you_mean
    from pushmirror.errors import UsageError

    if name not in config.archives:
        known = ", ".join(config.archives) or "none"
        raise UsageError(
            f"there is no archive {name!r} in {config.source}{did_you_mean(name, config.archives)}",
            hint=f"archives there: {known}",
        )
    return config.archives[name]


# -- sites named on the command line ---


def site_named(config: Config, name: str) -> Site:
    """One site of the configuration; UsageError lists the sites if there is none of this name."""
    from pushmirror.config.problems import did_you_mean
    from pushmirror.errors import UsageError
    from pushmirror.status.words import listed

    if name not in config.sites:
        raise UsageError(
            f"there is no site {name!r} beside {config.source}{did_you_mean(name, config.sites)}",
            hint=f"sites there: {listed(list(config.sites)) or 'none'}",
        )
    return config.sites[name]


# -- logging during a command ---


quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Print nothing on success; for cron, which mails all output."
)


def require_one_way(*, quiet: bool, verbose: bool, as_json: bool) -> None:
    """Refuse --quiet together with --verbose or --json."""
    if quiet and (verbose or as_json):
        raise click.UsageError(f"--quiet cannot be combined with {'--verbose' if verbose else '--json'}")


class _Stderr(logging.Handler):
    """Writes to the current sys.stderr, so that a record appears above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # it may be a file on a full disk: that costs the line, not the run
            sys.stderr.write(
                f"{printable(self.format(record))}\n"
            )  # click.echo would go round the drawn line


class _Timed(logging.Formatter):
    """Time and message; the level only for warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return f"{self.formatTime(record)} {level}{super().format(record)}"


def log_to_stderr(*, verbose: bool, quiet: bool = False) -> None:
    """Log warnings to stderr, nothing with --quiet, every step with --verbose. A run's log is `pushmirror
    log`.
    """
    if quiet:
        logging.getLogger("pushmirror").addHandler(logging.NullHandler())
        return
    handler = _Stderr()
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:  # how the run ended is told once, when it has
        handler.addFilter(lambda record: record.levelno < logging.ERROR)
    handler.setFormatter(_Timed() if verbose else logging.Formatter("%(message)s"))
    logger = logging.getLogger("pushmirror")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


# -- options of several site commands ---


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
old_ssh_option = click.option(
    "--old-ssh", is_flag=True, help="For OpenSSH before 7.2, which does not know `restrict`."
)
