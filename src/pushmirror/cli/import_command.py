"""`pushmirror import`: import ftpsync, runmirrors and rsyncd configuration.

Guaranteed: existing files are kept, or a copy of them; passwords are written only to files of mode 0600;
each setting without a counterpart is reported once, with file and line. For another user, root reads only
files that nobody but root could have put there; a process of that user reads the rest and writes.
"""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
from pydantic import ValidationError

from pushmirror.cli.context import Session
from pushmirror.cli.output import print_json, printable
from pushmirror.config import loader, model
from pushmirror.config.types import absolute
from pushmirror.errors import UsageError
from pushmirror.importing import output
from pushmirror.importing.merge import Merged, merge
from pushmirror.importing.output import File
from pushmirror.importing.sources import (
    Daemon,
    Sorted,
    Sources,
    caller_environment,
    nothing_found,
    read_daemon,
    read_environment,
    read_files,
    sort_files,
    usual_places,
    with_trees,
)
from pushmirror.system.users import as_user, only_root_changes

_STATE = ".local/state/pushmirror"  # of a user who is not root, below the home


@dataclass(frozen=True, slots=True)
class Report:
    """What an import read and wrote."""

    read: tuple[str, ...]
    files: tuple[dict[str, str], ...]
    backup: str | None
    warnings: tuple[str, ...]
    authorized_keys: dict[str, str]  # FILE:LINE -> the line instead
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Order:
    """What to import, and the options."""

    found: Sorted | None  # none: the environment
    to: Path
    program: tuple[str, ...]  # that calls pushmirror with what is written
    state: Path | None
    trees: dict[str, Path]
    mirror_name: str | None
    dry_run: bool
    force: bool
    for_another: bool  # root has another user do it


@click.command("import")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option("--to", "directory", type=click.Path(path_type=Path), help="Directory to write into.")
@click.option(
    "--user", metavar="NAME", help="Root only: the user who runs the mirror and will own the files."
)
@click.option("--state", type=click.Path(path_type=Path), help="Directory for the database and logs.")
@click.option(
    "--tree",
    "trees",
    multiple=True,
    metavar="NAME=PATH",
    help="Tree of an archive without upstream. Can be repeated.",
)
@click.option("--mirror-name", metavar="HOST", help="Public name of this mirror, if MIRRORNAME is not set.")
@click.option(
    "--environment", is_flag=True, help="Read environment variables only, as in a container; no files."
)
@click.option("--dry-run", is_flag=True, help="Print what would be written, passwords masked; write nothing.")
@click.option("--force", is_flag=True, help="Replace an existing configuration; a copy is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def import_(
    session: Session,
    /,
    *,
    paths: tuple[Path, ...],
    directory: Path | None,
    state: Path | None,
    user: str | None,
    trees: tuple[str, ...],
    mirror_name: str | None,
    environment: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Create a configuration from existing ftpsync, runmirrors and rsyncd files.

    Reads ftpsync*.conf, runmirrors*.conf, runmirrors*.mirror, rsyncd.conf with its secrets, and the lines of
    authorized_keys that start ftpsync: give files or directories, or none for the usual places. Writes
    pushmirror.toml, sites.d/ and password files, and reports what has no counterpart and what to do next.

    \b
    Examples:
      pushmirror import --dry-run
      pushmirror import /etc/ftpsync /etc/rsyncd.conf ~archvsync/.ssh/authorized_keys
      pushmirror import runmirrors.mirror --tree debian=/srv/debian
      pushmirror import --environment
    """
    owner = _act_for(user) if user else None
    state = state or (Path.home() / _STATE if owner else None)
    target = _directory(session, directory, for_another=owner is not None)
    order = _Order(
        found=_found(paths, environment=environment),
        to=target,
        program=output.called_with(target / loader.FILE_NAME),
        state=absolute(state) if state else None,
        trees=_trees(trees),
        mirror_name=mirror_name,
        dry_run=dry_run,
        force=force,
        for_another=owner is not None,
    )
    report = _imported_by(owner, order) if owner else _imported(order, Daemon())
    print_json(report) if as_json else _print(report, dry_run=dry_run)


def _act_for(user: str) -> pwd.struct_passwd | None:
    """Act as this user, also for the meaning of ~; none: act as the current user."""
    try:
        found = pwd.getpwnam(user)
    except KeyError as exc:
        raise UsageError(f"--user: there is no user {user!r}") from exc
    if os.geteuid() not in {0, found.pw_uid}:
        raise UsageError("--user: only root can write files for another user")
    os.environ.update(HOME=found.pw_dir, LOGNAME=user, USER=user)
    return None if found.pw_uid == os.geteuid() else found


def _imported_by(owner: pwd.struct_passwd, order: _Order) -> Report:
    """Import in a process of another user; root passes it the files that only root could have replaced."""
    roots = read_daemon(order.found, may_read=only_root_changes) if order.found else Daemon()
    answer = json.loads(as_user(owner, lambda: json.dumps(asdict(_imported(order, roots)))))
    answer |= {name: tuple(answer[name]) for name in ("read", "files", "warnings", "next")}
    return Report(**answer)


def _imported(order: _Order, known: Daemon) -> Report:
    """Read, merge, write and report."""
    caller = caller_environment()
    if order.found:
        sources = read_files(order.found, order.to, caller, known)
    else:
        sources = read_environment(order.to, caller)
    sources = with_trees(sources, order.trees)
    merged = _with_options(merge(sources.imported), sources, order)
    files = output.files_of(merged, order.to)
    backup = None if order.dry_run else output.write(files, order.to, force=order.force)
    return _report(merged, sources, files, backup, order)


def _directory(session: Session, answer: Path | None, *, for_another: bool) -> Path:
    """The directory to write to: as for init, a directory or the pushmirror.toml in it."""
    usual = Path.home() / ".config/pushmirror" if for_another else loader.usual_places()[0]
    place = answer or session.config_path or Path(os.environ.get("PUSHMIRROR_CONFIG") or usual)
    place = absolute(place)
    return Path(os.path.normpath(place.parent if place.suffix == ".toml" else place))


def _found(paths: tuple[Path, ...], *, environment: bool) -> Sorted | None:
    """The files to read; none with --environment."""
    if environment:
        if paths:
            raise UsageError("--environment reads no files: give either --environment or files")
        return None
    searched = paths or tuple(path for path in usual_places(Path.home()) if os.path.exists(path))  # noqa: PTH110
    found = sort_files(map(absolute, searched))
    if not (found.ftpsync or found.runmirrors or found.mirror or found.rsyncd):
        raise nothing_found(paths or usual_places(Path.home()))
    return found


def _trees(answer: tuple[str, ...]) -> dict[str, Path]:
    trees: dict[str, Path] = {}
    for one in answer:
        name, equals, path = one.partition("=")
        tree = absolute(Path(path))
        try:
            model.Archive(name=name, path=tree)
        except ValidationError:
            equals = ""
        if not equals:
            raise UsageError(f"--tree: expected NAME=PATH, found {one!r}")
        trees[name] = tree
    return trees


def _with_options(merged: Merged, sources: Sources, order: _Order) -> Merged:
    """The configuration with --tree and --mirror-name applied."""
    config, name = merged.config, order.mirror_name
    answer: dict[str, object] = {}
    if order.state:
        answer["state"] = model.State(directory=order.state)
    if name and sources.imported.ftpsyncs and name != config.mirror.name:
        raise UsageError(f"--mirror-name {name}: MIRRORNAME is {config.mirror.name}; they must be equal")
    if name:
        try:
            answer["mirror"] = model.Mirror.model_validate({**dict(config.mirror), "name": name})
        except ValidationError as exc:
            raise UsageError(f"--mirror-name: expected a host name, found {name!r}") from exc
    return replace(merged, config=config.model_copy(update=answer))


def _report(
    merged: Merged, sources: Sources, files: tuple[File, ...], backup: Path | None, order: _Order
) -> Report:
    steps = output.next_steps(
        merged, sources, order.to / loader.FILE_NAME, order.program, for_another=order.for_another
    )
    return Report(
        read=sources.read,
        files=tuple(
            {"path": str(one.path), "mode": f"{one.mode:04o}"}
            | ({"text": one.shown} if order.dry_run else {})
            for one in files
        ),
        backup=str(backup) if backup else None,
        warnings=(*sources.warnings, *merged.warnings),
        authorized_keys=output.authorized_keys(sources, order.program),
        next=tuple(steps),
    )


def _print(report: Report, *, dry_run: bool) -> None:
    for place in report.read:
        click.echo(f"read     {place}")
    if report.backup:
        click.echo(f"copied   the previous files to {report.backup}")
    for file in report.files:
        click.echo(f"{'would be' if dry_run else 'written '} {file['path']}")
        if dry_run:
            click.echo("".join(f"    {line}\n" for line in file["text"].splitlines()))
    for warning in report.warnings:
        click.echo(f"pushmirror: warning: {printable(warning)}", err=True)
    click.echo("Nothing was written. Next steps after an import without --dry-run:" if dry_run else "\nNext:")
    for number, step in enumerate(report.next, 1):
        click.echo(f"  {number}. {step}")
    for place, line in report.authorized_keys.items():
        click.echo(f"\nInstead of {place}:\n\n{line}")
