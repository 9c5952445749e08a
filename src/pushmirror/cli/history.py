"""`pushmirror history` and `pushmirror log`: what past runs did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.cli.context import Session, archive_named
from pushmirror.cli.output import print_json, print_list, printable
from pushmirror.config.types import span
from pushmirror.errors import StateError, UsageError
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.records import Run
    from pushmirror.state.store import Store

_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) ")
_COLUMNS = ("run", "archive", "stage", "trigger", "started (UTC)", "took", "outcome (code)")


@click.command()
@click.argument("archive", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Number of runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def history(session: Session, archive: str | None, limit: int, as_json: bool) -> None:
    """List past runs, newest first, each with its result and the strategy that was used.

    A push whose generation was already published is no run; `pushmirror status --json` has the last push.

    \b
    Examples:
      pushmirror history
      pushmirror history debian --limit 100
      pushmirror history --json | jq '.[] | select(.outcome == "failed") | .message'
      pushmirror history --json | jq '.[] | [.strategy, .why]'
    """
    config = session.config()
    if archive is not None:
        archive_named(config, archive)
    with session.store(config) as store:
        runs = store.runs(archive, limit=limit)
    if as_json:
        print_json(runs)
    else:
        print_list(_COLUMNS, map(_row, runs))


def _row(run: Run) -> tuple[tuple[object, ...], tuple[str, ...]]:
    started = f"{run.started_at:%Y-%m-%d %H:%M}"
    took = span((run.ended_at or clock.now()) - run.started_at)
    outcome = f"{run.outcome} ({run.exit_code})" if run.exit_code else run.outcome
    said = "; ".join(filter(None, (run.message, run.strategy_text)))
    return (run.id, run.archive, run.stage, run.trigger, started, took, outcome), (said,)


@click.command()
@click.argument("run")
@click.option("--debug", is_flag=True, help="Print everything, also each program's command line and output.")
@click.pass_obj
def log(session: Session, run: str, debug: bool) -> None:
    """Print the log of a run: its number, or "last".

    Without --debug the lines of level DEBUG are left out; all of them are in the file that `pushmirror
    history --json` names.

    \b
    Examples:
      pushmirror log last
      pushmirror log 42 --debug
    """
    with session.store(session.config()) as store:
        found = _find(store, run)
    if not found.log:
        raise StateError(f"run {found.id} has no log file")
    try:
        with Path(found.log).open(encoding="utf-8", errors="replace") as lines:
            for line in lines if debug else _without_debug(lines):
                click.echo(printable(line), nl=False)
    except OSError as exc:
        raise StateError(f"the log of run {found.id} cannot be read: {found.log}: {exc.strerror}") from exc


def _without_debug(lines: Iterable[str]) -> Iterator[str]:
    """The records of higher levels; a record may have several lines."""
    is_debug = False
    for line in lines:
        if begun := _RECORD.match(line):
            is_debug = begun["level"] == "DEBUG"
        if not is_debug:
            yield line


def _find(store: Store, run: str) -> Run:
    if run == "last":
        runs = store.runs(limit=1)
        if not runs:
            raise StateError("no runs yet")
        return runs[0]
    if not (run.isascii() and run.isdigit() and len(run) < 18):
        raise UsageError(f"{run!r} is not a run; expected a number from `pushmirror history`, or last")
    return store.run(int(run))
