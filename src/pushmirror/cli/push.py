"""`pushmirror push`: push to sites that are out of date and wait until they are current."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pushmirror.archive.generation import short
from pushmirror.cli.context import (
    Session,
    archive_named,
    log_to_stderr,
    quiet_option,
    require_one_way,
    site_named,
)
from pushmirror.cli.output import print_json, print_table, printable
from pushmirror.errors import Exit, PushmirrorError, Stopped, UsageError

if TYPE_CHECKING:
    from pushmirror.config.model import Config
    from pushmirror.push.engine import Over, PushObserver, PushSnapshot
    from pushmirror.push.pushes import PushCoordinator
    from pushmirror.state.records import SiteState
    from pushmirror.state.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SiteRow:
    """The state of one site for one archive, before or after a push."""

    archive: str
    site: str
    phase: str  # a value of Phase
    words: str  # of the trigger that is due; empty: none is
    generation: str | None  # that it has confirmed to serve
    wanted: str | None  # that is published here
    activity: str  # what it does, or waits for


@click.command()
@click.argument("archive", required=False)
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="NAME",
    help="Push to this site only, without waiting for others' stage 1 (but canaries still go first). Can be "
    "repeated.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be sent; send nothing.")
@click.option("--again", is_flag=True, help="Push also to sites that are current.")
@click.option(
    "--background",
    is_flag=True,
    help="Retry failing sites for [push] retry_for; exit at once if another push is running.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the state of each site as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Print the log as it is written.")
@quiet_option
@click.pass_obj
def push(
    session: Session,
    archive: str | None,
    sites: tuple[str, ...],
    *,
    dry_run: bool,
    again: bool,
    background: bool,
    as_json: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Push to the sites of ARCHIVE, or of every archive, that do not have what is published here.

    Sites that are current or paused are skipped. Staged sites get stage 1, and stage 2 when all of them have
    finished stage 1, [push] quorum is reached or its deadline has passed. Exits when every site is current
    (0) or all others have failed (75); `pushmirror serve` retries those, and so does the next push. A paused
    site counts only if --site names it.

    If another process is pushing, such as `serve`, this command shows its progress until it has finished.
    Sites named by --site then do not wait for other sites. With --quiet nothing is printed when it exits with
    0.

    \b
    Examples:
      pushmirror push
      pushmirror push debian --dry-run
      pushmirror push --site site1.example.com --again
      pushmirror push --json | jq '.[] | select(.phase != "current")'
    """
    from pushmirror.push.site_state import reset, retry_now

    require_one_way(quiet=quiet, verbose=verbose, as_json=as_json)
    config = session.config(is_told=not quiet)
    only = frozenset(site_named(config, name).name for name in sites)
    names = _archives(config, archive, only)
    log_to_stderr(verbose=verbose or (background and not quiet), quiet=quiet)
    with session.store(config) as store:
        if dry_run:
            reached = look(config, store, names, only, reset if again else retry_now)
        else:
            if again:
                _change(config, store, names, only, reset)
            drawn = not (verbose or quiet or background or as_json)
            reached = carry_out(config, store, names, only=only, drawn=drawn, background=background)
    if not dry_run:
        session.back_up(config)
    behind = any(_is_behind(one, named=one.site in only) for one in reached)
    if behind or dry_run or not quiet:
        _tell(reached, as_json=as_json, dry_run=dry_run)
    return Exit.BEHIND if behind and not dry_run else Exit.OK


def _is_behind(one: SiteRow, *, named: bool) -> bool:
    """Whether it is not current; a paused site counts only if it was named."""
    if one.phase == "paused":
        return named and one.generation != one.wanted
    return one.phase != "current"


def push_here(config: Config, store: Store, names: Sequence[str]) -> None:
    """Push in the foreground, with progress and result."""
    _tell(carry_out(config, store, names, only=frozenset(), drawn=True), as_json=False, dry_run=False)


def carry_out(
    config: Config,
    store: Store,
    names: Sequence[str],
    *,
    only: frozenset[str],
    drawn: bool,
    background: bool = False,
) -> list[SiteRow]:
    """Push these archives in parallel; returns the rows of their sites afterwards."""
    from pushmirror.access import transfer_log
    from pushmirror.config.reload import CurrentConfig
    from pushmirror.push.engine import is_quiet
    from pushmirror.push.pushes import PushCoordinator, until_quiet_or
    from pushmirror.push.site_state import retry_now
    from pushmirror.system import signals

    _let_in(config)
    over = until_quiet_or(config.push.retry_for) if background else is_quiet
    if not background:
        _change(config, store, names, only, retry_now)
    with _watch(drawn=drawn) as watch:
        pushes = PushCoordinator(CurrentConfig(config), store, watch, refused=transfer_log.refused)
        try:
            signals.run(_push(pushes, names, over, only, follow=not background))
        except Stopped as exc:
            if others := [name for name in names if pushes.turn(name).is_taken()]:
                goes_on = f"{exc}; another process continues the push of {', '.join(others)}"
                raise Stopped(goes_on, exit_code=exc.exit_code) from exc
            raise
    return look(config, store, names, only)


def _let_in(config: Config) -> None:
    """Update the rsync daemon's files: pushed sites must be able to log in, and passwords expire."""
    from pushmirror.access import daemon_files

    try:
        daemon_files.update(config)
    except PushmirrorError as exc:
        _log.warning("rsync daemon configuration not updated: %s", exc)


async def _push(
    pushes: PushCoordinator, names: Sequence[str], over: Over, only: frozenset[str], *, follow: bool
) -> None:
    """Push all archives to the end, even if one fails; its error is raised then."""
    push = pushes.follow if follow else pushes.push
    ends = await asyncio.gather(*(push(name, over, only=only) for name in names), return_exceptions=True)
    for error in (end for end in ends if isinstance(end, BaseException)):
        raise error


@contextmanager
def _watch(*, drawn: bool) -> Iterator[PushObserver]:
    """A live table on a terminal, nothing in a pipe or journal."""
    if drawn and sys.stderr.isatty():
        from pushmirror.cli.push_table import TerminalPush

        with TerminalPush() as terminal:
            yield terminal
    else:
        from pushmirror.push.engine import SilentObserver

        yield SilentObserver()


def _archives(config: Config, archive: str | None, only: frozenset[str]) -> list[str]:
    """The archives to push; UsageError if no site is pushed for them."""
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    found = [name for name in names if any(not only or site.name in only for site in config.sites_of(name))]
    if not found:
        of = f"archive {archive}" if archive else "any archive"
        whom = f"the sites {', '.join(sorted(only))}" if only else "no site"
        raise UsageError(
            f"{whom} to push for {of}",
            hint="add a site: pushmirror site add NAME …; list sites: pushmirror site list",
        )
    return found


def _change(
    config: Config,
    store: Store,
    names: Sequence[str],
    only: frozenset[str],
    change: Callable[[SiteState], SiteState],
) -> None:
    """Change the stored states of sites."""
    from pushmirror.push.engine import chosen

    for name in names:
        store.change_site_states(
            name, change, only={site.name for site in chosen(config.sites_of(name), only)}
        )


def look(
    config: Config,
    store: Store,
    names: Sequence[str],
    only: frozenset[str],
    change: Callable[[SiteState], SiteState] | None = None,
) -> list[SiteRow]:
    """The states of the sites and what each would be sent now, after `change` is applied to the states."""
    from pushmirror.config.reload import CurrentConfig
    from pushmirror.push.engine import SilentObserver
    from pushmirror.push.pushes import PushCoordinator

    pushes = PushCoordinator(CurrentConfig(config), store, SilentObserver())
    return [one for name in names for one in _reached(config, store, pushes.view(name, only, change))]


def _reached(config: Config, store: Store, view: PushSnapshot) -> list[SiteRow]:
    from pushmirror.push.lock import PushLock
    from pushmirror.push.trigger import words_to
    from pushmirror.status.sites import summarise_sites
    from pushmirror.system import clock

    archive = view.goal.archive
    due = {
        send.site.name: words_to(send.site, archive, send.stage, send.generation)
        for send in view.decision.sends
    }
    site_states = view.site_states
    health = summarise_sites(
        archive,
        view.sites,
        site_states=site_states,
        generations=store.generations(archive),
        phases=view.decision.phases,
        push=config.push,
        now=clock.now(),
        pushing=PushLock(config.state.directory, archive).is_taken(),
    )
    return [
        SiteRow(
            archive=archive,
            site=one.site,
            phase=str(view.decision.phases[one.site]),
            words=due.get(one.site, "").strip(),
            generation=site_states[one.site].stage2 if one.site in site_states else None,
            wanted=view.goal.published,
            activity=one.activity,
        )
        for one in health
    ]


def _tell(reached: Sequence[SiteRow], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(reached)
    elif dry_run:
        rows = [(one.archive, one.site, one.phase, one.words or one.activity) for one in reached]
        print_table(("archive", "site", "phase", "would be sent, or waits for"), rows, heading=3)
    else:
        _count(reached)


def _count(reached: Sequence[SiteRow]) -> None:
    """Print one line per archive, and one per site that is not current."""
    for archive in dict.fromkeys(one.archive for one in reached):
        its = [one for one in reached if one.archive == archive]
        current = sum(one.phase == "current" for one in its)
        colour = "green" if current == len(its) else "yellow"
        counted = click.style(f"{current} of {len(its)} sites", fg=colour)
        wanted = its[0].wanted
        summary = f"{counted} have generation {short(wanted)}" if wanted else "nothing is published yet"
        click.echo(f"{archive}: {summary}")
        for one in its:
            if one.phase == "paused":
                click.echo(f"  {one.site}: {one.activity}: pushmirror site resume {one.site}", err=True)
            elif one.phase != "current":
                click.echo(f"  {one.site}: {printable(one.activity or one.phase)}", err=True)
