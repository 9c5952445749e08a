"""`pushmirror status` and `pushmirror suites`: the health of archives, sites and suites."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pushmirror.cli.context import Session, archive_named, site_named, warn_of_broken_sites
from pushmirror.cli.output import console, fitting, folded, print_json, print_list, printable
from pushmirror.config.types import span
from pushmirror.errors import Exit
from pushmirror.health import health_of
from pushmirror.status.archives import ArchiveHealth
from pushmirror.status.suites import SuiteHealth, attention_to_suite, summarise_suites
from pushmirror.status.words import Level, ago
from pushmirror.system import clock
from pushmirror.system.signals import until_ctrl_c

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType
    from rich.text import Text

    from pushmirror.errors import ConfigError
    from pushmirror.status.sites import SiteHealth


# -- suites ---


_COLUMNS = ("suite", "state", "date (UTC)", "valid until", "signed by", "missing")


@click.command()
@click.argument("archive", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the names of missing files.")
@click.pass_obj
def suites(session: Session, archive: str | None, as_json: bool) -> None:
    """List the suites of ARCHIVE, or of each archive, as the last run left them.

    A suite is current, held back (an older state of it is served, complete and verified, while the other
    suites are current) or never published. Date and Valid-Until are those of the served Release file;
    "signed by" is the end of the key's fingerprint, and the number of other keys; "missing" counts the files
    that upstream's indices name but that are missing or wrong upstream. Lines below a suite say since when
    and why it is held back, and what to do.

    A plain tree, and an archive that has not been synced yet, have no suites.

    \b
    Examples:
      pushmirror suites
      pushmirror suites debian --json | jq -r '.[] | select(.state != "current") | .suite'
      pushmirror suites debian --json | jq -r '.[].missing_paths[]'
    """
    from pushmirror.state.suites import read_suites, suites_path

    config = session.config(on_broken_sites=warn_of_broken_sites)
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    now = clock.now()
    found = {
        name: summarise_suites(read_suites(suites_path(config.state.directory, name)), now) for name in names
    }
    if as_json:
        print_json(found[archive] if archive else found)
        return
    for name, its in found.items():
        _tell(name, its, now, titled=archive is None)


def _tell(archive: str, found: list[SuiteHealth], now: datetime, *, titled: bool) -> None:
    if not found:
        click.echo(f"{archive}: no suites known: it is a plain tree, or has not been synced yet")
        return
    if titled:
        click.secho(f"The suites of {archive}", bold=True)
    notes = [tuple(attention_to_suite(one, now)) for one in found]
    print_list(_COLUMNS, zip(map(_row, found), notes, strict=True), heading=2, fold=True)


def _row(one: SuiteHealth) -> tuple[object, ...]:
    names = f" ({', '.join(_beside(name, one.suite) for name in one.names)})" if one.names else ""
    over = " over" if one.expired else ""
    until = f"{one.valid_until:%Y-%m-%d}{over}" if one.valid_until else ""
    keys = one.short_keys
    signed = f"{keys[0]}{f' +{len(keys) - 1}' if len(keys) > 1 else ''}" if keys else "not checked"
    date = f"{one.date:%Y-%m-%d %H:%M}" if one.date else ""
    return f"{one.suite}{names}", one.state, date, until, signed if one.date else "", one.missing or ""


def _beside(name: str, suite: str) -> str:
    """The name of a link, without the directory that it shares with its suite."""
    above, _, last = name.rpartition("/")
    return last if above == suite.rpartition("/")[0] else name


_EVERY_S = 2.0
_GAP = "  "
_WIDTHS = (7, 7, 12, 9)  # of the columns after the name of a site
_STYLES = {Level.OK: "green", Level.RUNNING: "cyan", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command()
@click.argument("archive", required=False)
@click.option("--site", "sites", multiple=True, metavar="SITE", help="Only this site; can be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 1 if an archive's level is error (0: ok, running, warning), for monitoring.",
)
@click.pass_obj
def status(
    session: Session,
    archive: str | None,
    *,
    sites: tuple[str, ...],
    as_json: bool,
    watch: bool,
    exit_code: bool,
) -> int:
    """Show the health of ARCHIVE, or of each archive, and of each site that is pushed for it.

    The level is ok, warning, error, or running while a run is in progress. A site is live, staged (it has
    finished stage 1), late, paused, failing or new; sites with problems come first. A site that has been
    failing for longer than [push] report_after makes its archive's level error. "G was announced 3 min ago,
    serves F" means that a push has announced generation G while F is still served, of an archive here or of a
    site. A run that is "stalled for 40 s" has received nothing from upstream for 40 seconds.

    Nothing stays ok by age: the level is warning when the last success, upstream's last change or the time
    that a site is behind is older than the archive's `stale_after` (12h), and error after three times as
    long. If upstream is known to change less often, twice its usual interval is the limit for its last
    change; as long as the interval is unknown, the age is a warning at most. An archive without upstream does
    not become stale. Files that the last verify found missing or wrong are an error until they are repaired.
    A suite that is held back, or names files that upstream lacks, is a warning; see `pushmirror suites`.

    Exits with 0 whatever the levels are; with --exit-code, with 1 if a level is error, and with 0 for
    warnings.

    \b
    Examples:
      pushmirror status
      pushmirror status debian --exit-code
      pushmirror status --site site1.example.com
      pushmirror status --watch
      pushmirror status --json | jq '.[].sites[] | select(.state == "failing")'
      pushmirror status --json | jq '.[] | select(.level != "ok") | .attention'
    """
    if as_json and watch:
        raise click.UsageError("--json cannot be combined with --watch")
    if exit_code and watch:
        raise click.UsageError("--exit-code cannot be combined with --watch")
    from pushmirror.config.reload import CurrentConfig

    # Their mistake is shown below; who asks for a site by its name has to be told at once.
    config = session.config(on_broken_sites=None if sites else _quiet)
    chosen = {name: site_named(config, name) for name in sites}
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    if chosen:
        names = [name for name in names if any(name in site.archives for site in chosen.values())]
    logging.getLogger("pushmirror").addHandler(logging.NullHandler())  # a mistake is in what is shown
    current = CurrentConfig(config)  # a site may be paused while somebody watches
    with session.store(config) as store:

        def look() -> list[ArchiveHealth]:
            found = list(health_of(current(), store, names, chosen))
            return [_with_mistake(one, current.mistake) for one in found]

        if watch:
            with until_ctrl_c():
                _watch(look)
            return Exit.OK
        health = look()
    if current.mistake and not health:
        warn_of_broken_sites(current.mistake)
    if as_json:
        print_json(health)
    else:
        screen = console()
        screen.print(_page(health, screen.width))
    return Exit.FAILED if exit_code and any(one.level is Level.ERROR for one in health) else Exit.OK


def _quiet(_: ConfigError) -> None:
    """Ignore the message."""


def _with_mistake(health: ArchiveHealth, mistake: ConfigError | None) -> ArchiveHealth:
    """An archive's health, with the error that keeps the configuration from being read."""
    if mistake is None:
        return health
    texts = (
        "invalid configuration; until it is fixed, only a `serve` that is already running pushes to sites: "
        f"{'; '.join(str(mistake).splitlines())}"
    )
    level = Level.WARNING if health.level is Level.OK else health.level
    return replace(health, level=level, attention=(*health.attention, texts))


def _watch(look: Callable[[], list[ArchiveHealth]]) -> None:
    from rich.live import Live

    screen = console()
    if not screen.is_terminal:
        while True:  # until a signal raises, or nobody reads
            screen.print(_page_of_now(look, screen.width))
            time.sleep(_EVERY_S)
    with Live(console=screen, auto_refresh=False, screen=True) as live:  # what was there comes back
        while True:  # until SIGINT or SIGTERM raises
            live.update(_page_of_now(look, screen.width), refresh=True)
            time.sleep(_EVERY_S)


def _page_of_now(look: Callable[[], list[ArchiveHealth]], width: int) -> RenderableType:
    """The page with the current time, which shows that it is refreshed."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(f"{clock.now():%H:%M:%S} UTC", style="dim"), _page(look(), width))


def _page(archives: Sequence[ArchiveHealth], width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    attention = [
        Text(printable(f"! {one.archive}: {line}"), style="yellow")
        for one in archives
        for line in one.attention
    ]
    notes = [Text(line, style="dim") for one in archives for line in _notes(one, width)]
    sites = (line for one in archives for line in _sites(one, width))
    return Group(_archives(archives, width), *attention, *notes, *sites)


def _notes(archive: ArchiveHealth, width: int) -> Iterator[str]:
    """How the last run detected changes, what has been announced since, what was verified."""
    for said in (
        archive.behind,
        archive.strategy_text and f"last run {archive.strategy_text}",
        archive.verified,
    ):
        if said:
            yield from folded(f"{archive.archive}: {said}", width)


def _archives(archives: Sequence[ArchiveHealth], width: int) -> RenderableType:
    """The table of archives; fits 80 columns with names of usual length."""
    now = clock.now()
    columns = ["archive", "level", "generation", "published", "last run"]
    rows: list[list[object]] = [
        [one.archive, one.level, one.generation, ago(one.published_at, now), one.last_run] for one in archives
    ]
    hub = any(one.sites for one in archives)
    if hub:
        columns.append("live")
        for row, one in zip(rows, archives, strict=True):
            row.append(f"{one.live} of {len(one.sites)}" if one.sites else "")
    if not hub or any(one.pending for one in archives):
        columns.append("waiting")
        for row, one in zip(rows, archives, strict=True):
            row.append(one.pending or "")
    return fitting(columns, rows, width)


def _sites(archive: ArchiveHealth, width: int) -> Iterator[Text]:
    """A line for each site, with its messages below."""
    from rich.text import Text

    if not archive.sites:
        return
    longest = max(len(one.site) for one in archive.sites)
    if longest + sum(_WIDTHS) + len(_GAP) * len(_WIDTHS) > width:
        longest = 0  # each name on a line of its own, for it must not be cut
    is_owned = archive.upstream == "owner"
    origin = "which is made here" if is_owned else f"whose upstream is {archive.upstream}"
    yield Text(f"\nThe sites of {archive.archive}, {origin}", style="bold")
    if longest:
        yield _line(longest, ("site", "state", "for", "serves", "confirmed"))
    for one in archive.sites:
        if not longest:
            yield Text(one.site, no_wrap=True, overflow="ignore")
        yield _site(one, longest)
        if said := "; ".join(filter(None, (one.activity, one.behind))):
            yield Text("\n".join(folded(said, width)), style="dim")


def _site(one: SiteHealth, longest: int) -> Text:
    now = clock.now()
    since = span(now - one.since) if one.since else ""
    confirmed = ago(one.confirmed_at, now)
    line = _line(longest, (one.site if longest else "", one.state, since, one.generation or "-", confirmed))
    begin = longest + len(_GAP)
    line.stylize("dim" if one.state == "paused" else _STYLES[one.level], begin, begin + len(one.state))
    return line


def _line(longest: int, cells: Sequence[str]) -> Text:
    from rich.text import Text

    widths = (longest, *_WIDTHS)
    line = _GAP.join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    return Text(line.rstrip(), no_wrap=True, overflow="ellipsis")
