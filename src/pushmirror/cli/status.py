"""`pushmirror status`: how each archive is doing, once or again and again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import console, print_json, printable, table
from pushmirror.cli.session import Session
from pushmirror.status.summary import ArchiveHealth, summarise
from pushmirror.status.words import ago
from pushmirror.system import clock

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pushmirror.config.model import Config
    from pushmirror.state.store import Store

_RUNS = 50  # looked at per archive: enough to see how long it has been failing
_EVERY_S = 2.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@click.pass_obj
def status(session: Session, as_json: bool, watch: bool) -> None:
    """Show how each archive is doing.

    \b
    Examples:
      pushmirror status
      pushmirror status --watch
      pushmirror status --json | jq '.[] | select(.level != "ok")'
    """
    if as_json and watch:
        raise click.UsageError("--json and --watch do not go together")
    config = session.config()
    with session.store(config) as store:
        if watch:
            _watch(config, store)
        elif as_json:
            print_json(health_of(config, store))
        else:
            console().print(_page(health_of(config, store)))


def health_of(config: Config, store: Store) -> list[ArchiveHealth]:
    """The health of all archives of a configuration, now."""
    names = list(config.archives)
    return summarise(
        names,
        [run for name in names for run in store.runs(name, limit=_RUNS)],
        [served for name in names if (served := store.latest_generation(name))],
        [request for name in names for request in store.pending(name)],
        clock.now(),
    )


def _watch(config: Config, store: Store) -> None:
    from rich.live import Live

    with Live(_page(health_of(config, store)), console=console(), auto_refresh=False) as live:
        while True:  # until SIGINT or SIGTERM raises
            time.sleep(_EVERY_S)
            live.update(_page(health_of(config, store)), refresh=True)


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
