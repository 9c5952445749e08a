"""`pushmirror state …`: check, back up and restore the state database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pushmirror.cli.context import Session, as_json_option
from pushmirror.cli.output import print_json, print_table
from pushmirror.errors import Exit, UsageError
from pushmirror.status.words import ago
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.restore import Restored

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state database is."""

    directory: Path
    file: Path  # the database
    archives: tuple[str, ...]  # of the configuration


@dataclass(frozen=True, slots=True)
class Looked:
    """One database that was checked."""

    file: Path
    kind: str  # state, backup
    made_at: datetime | None  # when it changed last; none: it is missing
    size: int  # bytes
    problem: str  # empty: it can be read to the last row


def _directory_option(command: _Command) -> _Command:
    return click.option(
        "--directory",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="State directory, if it is not in a configuration file (as with ftpsync.conf).",
    )(command)


@click.group()
def state() -> None:
    """Check, back up and restore the state database.

    It contains the queue of requests, past runs, and what each site has confirmed. The first sync, push,
    receive or serve of a day makes a backup at its end; the newest seven are kept in STATE/backups. Commands
    that need a damaged database exit with 72.

    \b
    Examples:
      pushmirror state check
      pushmirror state backup
      pushmirror state restore
    """


@state.command()
@_directory_option
@as_json_option
@click.pass_obj
def check(session: Session, directory: Path | None, as_json: bool) -> int:
    """Read the database and each backup completely; change nothing.

    Exits with 0 if all of them are good, with 72 if the database is damaged, with 1 if only a backup is.

    \b
    Examples:
      pushmirror state check
      pushmirror state check --json | jq -r '.[] | select(.problem != "") | .file'
    """
    from pushmirror.state.backups import list_backups, shared_lock

    place, now = _place(session, directory), clock.now()
    backups = list_backups(place.directory, now)
    with shared_lock(place.directory):
        is_new = not backups and not place.file.exists()
        found = [] if is_new else [_looked_at(place.file, "state")]
    found += [_looked_at(one.file, "backup") for one in backups]
    if as_json:
        print_json(found)
    elif found:
        _tell(found, now)
    else:
        click.echo(f"there is no state database in {place.directory} yet: the first sync creates it")
    damaged = {one.kind for one in found if one.problem}
    return Exit.DAMAGED if "state" in damaged else Exit.FAILED if damaged else Exit.OK


@state.command()
@_directory_option
@as_json_option
@click.pass_obj
def backup(session: Session, directory: Path | None, as_json: bool) -> None:
    """Back up the database now, also while other commands use it; replaces today's earlier backup.

    A database that cannot be read completely is not backed up (exit code 72), and no backup is replaced.

    \b
    Examples:
      pushmirror state backup
      cp "$(pushmirror state backup --json | jq -r .file)" /elsewhere/
    """
    from pushmirror.state.backups import back_up

    place = _place(session, directory)
    made = back_up(place.file, place.directory)
    if as_json:
        print_json(made)
    else:
        click.echo(f"{made.file}: {made.size} bytes, checked")


@state.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--empty", is_flag=True, help="Start with an empty database instead.")
@click.option("--force", is_flag=True, help="Replace the database even if it is good.")
@click.option("--dry-run", is_flag=True, help="Only list the backups, as `state check` does.")
@_directory_option
@as_json_option
@click.pass_context
def restore(
    ctx: click.Context,
    file: Path | None,
    directory: Path | None,
    *,
    empty: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Replace the database with FILE, or with the newest good backup.

    FILE is a name from `state check`, or any copy of a state database. The command refuses while another
    process has the database open: first stop `pushmirror serve` and background pushes. The old database is
    kept as state.sqlite.replaced-TIME. The trees are not changed.

    Only history after the backup is lost: each archive gets a request for a run, which covers all pushes that
    came since; and every site counts as not current and is pushed again. A site that is current answers at
    once.

    \b
    Examples:
      pushmirror state restore
      pushmirror state restore --dry-run
      pushmirror state restore state-20261130.sqlite
      pushmirror state restore --empty
    """
    from pushmirror.state.backups import backup_directory
    from pushmirror.state.database import find_damage
    from pushmirror.state.restore import restore_backup

    if dry_run:
        return int(ctx.invoke(check, directory=directory, as_json=as_json))
    if file and empty:
        raise UsageError("FILE cannot be combined with --empty")
    session: Session = ctx.obj
    place = _place(session, directory)
    if file and not file.exists() and (known := backup_directory(place.directory) / file.name).exists():
        file = known
    if not (force or file) and not find_damage(place.file):
        raise UsageError(
            f"the state database {place.file} is good: nothing needs to be restored",
            hint="--force restores it anyway; `pushmirror state check` lists the backups",
        )
    done = restore_backup(place.file, place.directory, source=file, empty=empty, archives=place.archives)
    if as_json:
        print_json(done)
    else:
        _tell_what_was_done(done, place.file)
    return Exit.OK


def _place(session: Session, directory: Path | None) -> Place:
    """The database of this call; UsageError if it is not an SQLite file."""
    from pushmirror.state.database import sqlite_file

    if directory is not None:
        return Place(directory, directory / "state.sqlite", ())
    config = session.config(on_broken_sites=lambda _: None, is_told=True)
    file = sqlite_file(config.state.database_url)
    if file is None:
        raise UsageError(
            "state.database is not an SQLite file: pushmirror can only back up and restore SQLite",
            hint="use the tools of that database, such as pg_dump and pg_restore",
        )
    return Place(config.state.directory, file, tuple(config.archives))


def _looked_at(file: Path, kind: str) -> Looked:
    from pushmirror.state.database import find_damage

    problem = find_damage(file)
    try:
        status = file.stat()
    except FileNotFoundError:
        return Looked(file, kind, None, 0, problem)
    return Looked(file, kind, datetime.fromtimestamp(status.st_mtime, UTC), status.st_size, problem)


def _tell(found: Iterable[Looked], now: datetime) -> None:
    rows = [
        (
            one.file.name if one.kind == "backup" else one.file,
            "error" if one.problem else "ok",
            f"{one.made_at:%Y-%m-%d %H:%M} ({ago(one.made_at, now)})" if one.made_at else "",
            f"{one.size} bytes",
            one.problem,
        )
        for one in found
    ]
    print_table(("file", "level", "changed (UTC)", "size", "found"), rows)


def _tell_what_was_done(done: Restored, file: Path) -> None:
    for name, problem in done.skipped.items():
        click.echo(f"skipped: {name}: {problem}", err=True)
    for kept in done.kept_aside:
        click.echo(f"old file kept as: {kept}")
    if done.source is None:
        click.echo(f"{file} is now empty: history and site states start anew")
    else:
        assert done.made_at
        since = f"{done.made_at:%Y-%m-%d %H:%M} UTC ({ago(done.made_at, clock.now())})"
        click.echo(f"{file} was restored from {done.source}; nothing after {since} is in it")
    click.echo(
        "next: run `pushmirror sync`, which also pushes to every site; then start `pushmirror serve` again"
    )
