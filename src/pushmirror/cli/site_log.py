"""`pushmirror site log`: what a site was sent, and what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pushmirror.cli.chosen import site_named
from pushmirror.cli.output import print_json, print_list, printable
from pushmirror.cli.session import Session
from pushmirror.status.words import short, span
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.records import Trigger

_COLUMNS = ("sent (UTC)", "archive", "stage", "generation", "took", "exit code")


@click.command("log")
@click.argument("name")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many triggers."
)
@click.option("--output", is_flag=True, help="All that it said, not only the last line (kept: 64 KiB each).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def site_log(session: Session, name: str, limit: int, *, output: bool, as_json: bool) -> None:
    """List what a site was sent, newest first, and what it said.

    \b
    Examples:
      pushmirror site log site1.example.com
      pushmirror site log site1.example.com --limit 1 --output
    """
    from pushmirror.push.callback import last_call
    from pushmirror.push.wire import last_line

    config = session.config()
    site = site_named(config, name).name
    with session.store(config) as store:
        triggers = store.triggers(site=site, limit=limit)
    if as_json:
        print_json(triggers)
    elif output:
        for trigger in triggers:
            click.secho("  ".join(filter(None, map(str, _cells(trigger)))), bold=True)
            click.echo(printable(trigger.output.strip()) or "(nothing)")
    else:
        if called := last_call(config.state.directory, site):
            click.echo(f"called back last at {called:%Y-%m-%d %H:%M:%S} (UTC)")
        print_list(_COLUMNS, ((_cells(trigger), (last_line(trigger.output),)) for trigger in triggers))


def _cells(trigger: Trigger) -> tuple[object, ...]:
    took = (
        span(trigger.ended_at - trigger.sent_at) if trigger.ended_at else span(clock.now() - trigger.sent_at)
    )
    code = trigger.exit_code if trigger.exit_code is not None else "none" if trigger.ended_at else "not yet"
    sent = f"{trigger.sent_at:%Y-%m-%d %H:%M:%S}"
    return sent, trigger.archive, trigger.stage, short(trigger.generation), took, code
