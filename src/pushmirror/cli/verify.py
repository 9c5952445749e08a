"""`pushmirror verify`: read every file again, compare hashes, repair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pushmirror.archive.generation import short
from pushmirror.cli.context import (
    Session,
    archive_named,
    log_to_stderr,
    quiet_option,
    require_one_way,
    warn_of_broken_sites,
)
from pushmirror.cli.output import as_json, print_json, print_table, printable, progress_on
from pushmirror.config.types import parse_rate, span
from pushmirror.errors import Exit, PushmirrorError, Stopped, UsageError
from pushmirror.status.words import time_of_day
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.verify.checkpoint import VerifyResult
    from pushmirror.verify.reader import Finding


def _rate(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes per second."""
    try:
        return parse_rate(value) * 1024
    except ValueError as exc:
        raise click.BadParameter(f'{exc}, found "{value}"', ctx, param) from exc


@click.command()
@click.argument("archive", required=False)
@click.option("--repair", is_flag=True, help="Fetch missing and damaged files again, nothing else.")
@click.option(
    "--max-rate",
    "rate",
    default="0",
    metavar="RATE",
    callback=_rate,
    help='Limit of the read rate in total, such as "50M" (50 MiB/s).  [default: 0, no limit]',
)
@click.option("--restart", is_flag=True, help="Start again; do not resume an interrupted verify.")
@click.option("--list", "is_listed", is_flag=True, help="Print all names with problems, and extra files.")
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    help="Print the result with all names as JSON: an object with ARCHIVE, else an array.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the log as it is written.")
@quiet_option
@click.pass_obj
def verify(
    session: Session,
    archive: str | None,
    rate: int,
    *,
    repair: bool,
    restart: bool,
    is_listed: bool,
    is_json: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Read every file of ARCHIVE, or of each archive, and compare its SHA256.

    The expected files and hashes come from the Release files and the indices, and for all other files from
    what pushmirror noted when it fetched them. A file without a known SHA256, as in a plain tree or in doc/,
    is not read: size and time are compared, and the result counts these files. File modes are not checked.
    Files that are in neither source are "extra": verify reports them and does not delete them; the next full
    comparison deletes those that upstream does not have. All cores read, unless --max-rate limits the rate.
    Syncs may run at the same time.

    An interrupted verify resumes where it stopped, also when syncs have published something else since then:
    a sync checks what it fetches.

    With --repair, files that are missing, damaged or unreadable are fetched again, checked and published;
    this is a run of its own in `pushmirror history`. If a verify of the last 24 hours found problems, these
    are repaired at once and nothing else is checked; the result says so. --restart checks everything. An
    archive without upstream cannot be repaired.

    Files that are also missing or different upstream are counted separately and are no error. Files with
    only MD5Sum or SHA1 are compared, but not called verified.

    Exits with 0 when all files are there and right (after repair), 1 when not, 64 (wrong usage) or 78
    (configuration).

    \b
    Examples:
      pushmirror verify
      pushmirror verify debian --max-rate 50M
      pushmirror verify debian --repair
      pushmirror verify debian --list | grep '^wrong'
      pushmirror verify debian --json | jq '{missing, wrong}'
      pushmirror verify --json | jq '.[] | {archive, missing, wrong}'
    """
    require_one_way(quiet=quiet, verbose=verbose, as_json=is_json)
    config = session.config(on_broken_sites=warn_of_broken_sites, is_told=not quiet)
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    if not names:
        raise UsageError("no archive is configured", hint="pushmirror init writes a first configuration")
    if repair and archive is None:
        names = [name for name in names if config.archives[name].upstream]
        if not names:
            raise UsageError("--repair needs an archive with an upstream")
    from pushmirror.verify.run import VerifyRun

    log_to_stderr(verbose=verbose, quiet=quiet)
    worst = Exit.OK
    results: list[object] = []
    with session.store(config) as store:
        for name in names:
            all_found: list[Finding] = []
            each = all_found.append if is_json else _print_finding if is_listed else None
            try:
                with progress_on(name, drawn=not (verbose or quiet)) as progress:
                    run = VerifyRun(config, store, progress)
                    found = run.verify(name, repair=repair, rate=rate, restart=restart, each=each)
            except Stopped as exc:
                raise Stopped(
                    f"{exc}; `pushmirror verify {name}` resumes it", exit_code=exc.exit_code
                ) from exc
            except PushmirrorError as exc:
                if len(names) == 1:
                    raise
                click.echo(f"{name}: {click.style('failed', fg='red')}: {printable(str(exc))}", err=True)
                worst = max(worst, exc.exit_code)  # and the others go on
                continue
            worst = worst if found.whole else max(worst, Exit.FAILED)
            if is_json:
                results.append(_as_json(found, all_found))
            elif not (quiet and found.whole):
                _tell(found, is_listed=is_listed)
    if is_json:
        print_json(results if not archive else results[0] if results else None)
    return worst


def _as_json(found: VerifyResult, all_found: list[Finding]) -> Mapping[str, object]:
    document = as_json(found)
    assert isinstance(document, dict)
    return {**document, "whole": found.whole, "findings": as_json(all_found)}


def _print_finding(finding: Finding) -> None:
    why = f"  ({finding.why})" if finding.why else ""
    click.echo(printable(f"{finding.problem.value:<10} {finding.path}{why}"))


def _tell(found: VerifyResult, *, is_listed: bool) -> None:
    """Print the result in a few lines."""
    read = _looked_at(found)
    mended = f", {found.repaired} repaired" if found.repaired else ""
    if found.whole:
        mark = click.style("no damage found", fg="yellow") if found.weak else click.style("ok", fg="green")
        click.echo(f"{found.archive}: {mark}: {read}{mended}{_upstream(found)}{_extra(found)}")
    else:
        counts = {"missing": found.missing, "wrong": found.wrong, "unreadable": found.unreadable}
        words = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        click.echo(
            f"{found.archive}: {click.style('FAILED', fg='red')}: "
            f"{words or 'not everything could be verified'}; {read}{mended}{_upstream(found)}{_extra(found)}"
        )
    is_empty = bool(found.missing) and not found.files and not found.extra and not found.remembered
    if is_empty:
        click.echo("  the tree is empty, but files are expected")
    if found.weak:
        suites = ", ".join(found.weak)
        click.echo(printable(f"  not verified, only MD5Sum or SHA1 known: {suites}"))
    for note in found.notes:
        click.echo(printable(f"  {note}"))
    if is_listed:
        return
    named = [finding for finding in found.findings if finding.problem.is_error]
    if found.problems and named:
        print_table(["", "path", ""], [(one.problem.value, one.path, one.why) for one in named], heading=2)
        if found.problems > len(named):
            click.echo(f"… {found.problems - len(named)} more; all of them with --list")
    if is_empty:
        click.echo(f"hint: mount its disk, or refill it: pushmirror sync {found.archive} --refill")
    elif found.problems and not found.repaired:
        click.echo(f"hint: pushmirror verify {found.archive} --repair fetches them again")
    elif found.notes:
        click.echo(f"hint: pushmirror sync {found.archive}")


def _looked_at(found: VerifyResult) -> str:
    """How much was checked, when, and how thoroughly."""
    if found.remembered:
        when = time_of_day(found.ended_at, clock.now())
        return f"only the problems that the verify of {when} found were checked again"
    served = f" of generation {short(found.generation)}" if found.generation else ""
    took = f"in {span(found.ended_at - found.started_at)}"
    if found.resumed:
        took = f"started {time_of_day(found.started_at, clock.now())}, interrupted and resumed"
    closely = ""
    if found.unhashed:
        these = "" if found.unhashed == found.files else f"{found.unhashed} of them "
        closely = f", {these}checked by size and time only (no SHA256 known)"
    return f"{_files(found.files)}{served} ({found.size / 1e6:.1f} MB read) {took}{closely}"


def _upstream(found: VerifyResult) -> str:
    if not found.upstream:
        return ""
    first = next((one.path for one in found.findings if one.problem == "upstream"), "")
    are, such = "is" if found.upstream == 1 else "are", f" (such as {first})" if first else ""
    return f"; {_files(found.upstream)} {are} also missing or wrong upstream{such}"


def _extra(found: VerifyResult) -> str:
    if not found.extra:
        return ""
    known = "pushmirror does not" if found.inventory else "the indices do not"
    return f"; {_files(found.extra)} that {known} know (extra)"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"
