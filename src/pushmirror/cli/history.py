"""`pushmirror history` and `pushmirror log`: what past runs did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import print_json, print_list, printable
from pushmirror.cli.session import Session, archive_named
from pushmirror.errors import StateError, UsageError
from pushmirror.status.words import span
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.records import Run
    from pushmirror.state.store import Store

_COLUMNS = ("run", "archive", "stage", "trigger", "started (UTC)", "took", "outcome (code)")


@click.command()
@click.argument("archive", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def history(session: Session, archive: str | None, limit: int, as_json: bool) -> None:
    """List past runs, newest first, each with what it said in the end, and how it learnt what had changed.

    A push for what was served already is no run; the last push is in `pushmirror status --json`.

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


def _row(run: Run) -> tuple[tuple[object, ...], str]:
    started = f"{run.started_at:%Y-%m-%d %H:%M}"
    took = span((run.ended_at or clock.now()) - run.started_at)
    outcome = f"{run.outcome} ({run.exit_code})" if run.exit_code else run.outcome
    return (run.id, run.archive, run.stage, run.trigger, started, took, outcome), "; ".join(
        filter(None, (run.message, run.by))
    )


@click.command()
@click.argument("run")
@click.pass_obj
def log(session: Session, run: str) -> None:
    """Print the log of a run: its number, or "last".

    \b
    Examples:
      pushmirror log last
      pushmirror log 42
    """
    with session.store(session.config()) as store:
        found = _find(store, run)
    if not found.log:
        raise StateError(f"run {found.id} has no log file")
    try:
        with Path(found.log).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                click.echo(printable(line), nl=False)
    except OSError as exc:
        raise StateError(f"the log of run {found.id} cannot be read: {found.log}: {exc.strerror}") from exc


def _find(store: Store, run: str) -> Run:
    if run == "last":
        runs = store.runs(limit=1)
        if not runs:
            raise StateError("there was no run yet")
        return runs[0]
    if not (run.isascii() and run.isdigit() and len(run) < 18):
        raise UsageError(f"{run!r} is no run, expected a number as `pushmirror history` lists them, or last")
    return store.run(int(run))
