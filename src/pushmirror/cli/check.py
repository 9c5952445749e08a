"""`pushmirror check`: check the installation and suggest fixes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pushmirror.checks.examine import examine, examine_sites, read
from pushmirror.checks.finding import Finding
from pushmirror.cli.context import Session, site_named
from pushmirror.cli.output import print_json, print_table
from pushmirror.errors import Exit
from pushmirror.status.words import Level

if TYPE_CHECKING:
    from pushmirror.config.model import Config

_ALL = "all"


@click.command()
@click.option(
    "--site",
    "names",
    multiple=True,
    metavar="SITE",
    help='Check this site instead: connection, login, public trace. Can be repeated; "all" for all sites.',
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, *, names: tuple[str, ...], as_json: bool) -> None:
    """Check the installation and suggest fixes.

    Checks the configuration, programs, directories, keys, disk, clock, upstream and signatures, and what
    sites need from this machine. Run it as the user who runs the mirror. Exits with 1 if something does not
    work, with 0 if there are only warnings.

    With --site it checks one site: does its name resolve, does ssh answer, with which host key, is our key
    accepted and limited to a push, is its clock right, and which trace does the public see (`url` in its
    file). It sends words that start nothing in pushmirror or ftpsync.

    \b
    Examples:
      pushmirror check
      pushmirror --config ./try check
      pushmirror check --site site1.example.com
      pushmirror check --site all
      pushmirror check --json | jq '.[] | select(.level == "error")'
    """
    session: Session = ctx.obj
    loaded = read(session.config_path)
    findings = [*loaded.findings, *(_found(loaded.config, names) if loaded.config else ())]
    if as_json:
        print_json(findings)
    else:
        print_table(
            ("level", "subject", "found", "what to do"),
            [(one.level, one.subject, one.found, one.todo) for one in findings],
            heading=2,
        )
    if any(one.level is Level.ERROR for one in findings):
        ctx.exit(Exit.FAILED)


def _found(config: Config, names: tuple[str, ...]) -> Iterator[Finding]:
    if not names:
        return examine(config)
    chosen = config.sites if _ALL in names else dict.fromkeys(names)
    return examine_sites([site_named(config, name) for name in chosen], config)
