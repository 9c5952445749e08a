"""`pushmirror suites`: each suite of an archive, what is served of it, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pushmirror.cli.output import print_json, print_list
from pushmirror.cli.session import Session, archive_named, warn_of_broken_sites
from pushmirror.status.suites import SuiteHealth, attention_to_suite, summarise_suites
from pushmirror.system import clock

if TYPE_CHECKING:
    from datetime import datetime

_COLUMNS = ("suite", "state", "date (UTC)", "valid until", "signed by", "missing")


@click.command()
@click.argument("archive", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the names of missing files.")
@click.pass_obj
def suites(session: Session, archive: str | None, as_json: bool) -> None:
    """List the suites of ARCHIVE, or of each archive, as the last run left them.

    A suite is current, held back (an older state of it is served, complete and verified; the other suites are
    current all the same) or never published. Date and Valid-Until are those of what is served, by its Release
    file; "signed by" is the end of the key's fingerprint, and how many more there are; "missing" counts the
    files that upstream's indices name and upstream lacks or has wrong. Below a suite is what somebody should
    know: since when and why it is held back, and what to do.

    A plain tree, and an archive that was not synced yet, have none.

    \b
    Examples:
      pushmirror suites
      pushmirror suites debian --json | jq -r '.[] | select(.state != "current") | .suite'
      pushmirror suites debian --json | jq -r '.[].missing_paths[]'
    """
    from pushmirror.state.suites import path_of, read_suites

    config = session.config(on_broken_sites=warn_of_broken_sites)
    names = [archive_named(config, archive).name] if archive else list(config.archives)
    now = clock.now()
    found = {
        name: summarise_suites(read_suites(path_of(config.state.directory, name)), now) for name in names
    }
    if as_json:
        print_json(found[archive] if archive else found)
        return
    for name, its in found.items():
        _tell(name, its, now, titled=archive is None)


def _tell(archive: str, found: list[SuiteHealth], now: datetime, *, titled: bool) -> None:
    if not found:
        click.echo(f"{archive}: no suites are known: it is a plain tree, or was not synced yet")
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
    """A link's name, without the directory that it shares with its suite."""
    above, _, last = name.rpartition("/")
    return last if above == suite.rpartition("/")[0] else name
