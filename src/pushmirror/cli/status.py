"""`pushmirror status`: how each archive is doing, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import console, print_json, printable, table
from pushmirror.cli.session import Session, archive_named
from pushmirror.errors import Exit, Stopped
from pushmirror.status.summary import ArchiveHealth, Level, summarise
from pushmirror.status.words import ago
from pushmirror.system import clock

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pushmirror.state.store import Store

_RUNS = 50  # looked at per archive: enough to see how long it has been failing
_EVERY_S = 2.0


@click.command()
@click.argument("archive", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@click.option("--exit-code", is_flag=True, help="End with 1 if an archive's level is error, for monitoring.")
@click.pass_obj
def status(session: Session, archive: str | None, *, as_json: bool, watch: bool, exit_code: bool) -> int:
    """Show how ARCHIVE, or each archive, is doing.

    The level is ok, warning, error, or running while a run is under way. Ends with 0 whatever the levels
    are, unless --exit-code is given.

    \b
    Examples:
      pushmirror status
      pushmirror status debian --exit-code
      pushmirror status --watch
      pushmirror status --json | jq '.[] | select(.level == "error")'
    """
    if as_json and watch:
        raise click.UsageError("--json and --watch do not go together")
    if exit_code and watch:
        raise click.UsageError("--exit-code and --watch do not go together")
    config = session.config()
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    with session.store(config) as store:
        if watch:
            _watch_until_ctrl_c(store, names)
            return Exit.OK
        health = health_of(store, names)
    if as_json:
        print_json(health)
    else:
        console().print(_page(health))
    return Exit.FAILED if exit_code and any(one.level is Level.ERROR for one in health) else Exit.OK


def health_of(store: Store, names: Sequence[str]) -> list[ArchiveHealth]:
    """The health of these archives, now."""
    return summarise(
        names,
        [run for name in names for run in store.runs(name, limit=_RUNS)],
        [served for name in names if (served := store.latest_generation(name))],
        [request for name in names for request in store.pending(name)],
        clock.now(),
    )


def _watch_until_ctrl_c(store: Store, names: Sequence[str]) -> None:
    with suppress(KeyboardInterrupt):
        try:
            _watch(store, names)
        except Stopped as exc:
            if exc.exit_code != Exit.INTERRUPTED:
                raise


def _watch(store: Store, names: Sequence[str]) -> None:
    from rich.live import Live

    screen = console()
    if not screen.is_terminal:
        while True:  # until a signal raises, or nobody reads
            screen.print(_page(health_of(store, names)))
            time.sleep(_EVERY_S)
    with Live(console=screen, auto_refresh=False, screen=True) as live:  # what was there comes back
        while True:  # until SIGINT or SIGTERM raises
            live.update(_page(health_of(store, names)), refresh=True)
            time.sleep(_EVERY_S)


def _page(archives: list[ArchiveHealth]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    now = clock.now()
    rows = [
        (one.archive, one.level, one.generation, ago(one.published_at, now), one.last_run, one.pending or "")
        for one in archives
    ]
    attention = [
        Text(printable(f"! {one.archive}: {line}"), style="yellow")
        for one in archives
        for line in one.attention
    ]
    columns = ("archive", "level", "generation", "published", "last run", "waiting")
    return Group(table(columns, rows), *attention)
