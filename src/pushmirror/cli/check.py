"""`pushmirror check`: whether everything is in order, and what to do."""

from __future__ import annotations

import click

from pushmirror.cli.doctor import examine
from pushmirror.cli.output import print_json, print_table
from pushmirror.cli.session import Session
from pushmirror.errors import Exit
from pushmirror.status.summary import Level


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """See whether everything is in order, and say what to do.

    Looks at the configuration, programs, directories, keys, disk, clock, upstream and signatures. Run it as
    the user who runs the mirror. Ends with 1 if something does not work, with 0 if there are only warnings.

    \b
    Examples:
      pushmirror check
      pushmirror --config ./try check
      pushmirror check --json | jq '.[] | select(.level == "error")'
    """
    session: Session = ctx.obj
    findings = list(examine(session.config_path))
    if as_json:
        print_json(findings)
    else:
        print_table(
            ("level", "subject", "found", "what to do"),
            [(one.level, one.subject, one.found, one.todo) for one in findings],
        )
    if any(one.level is Level.ERROR for one in findings):
        ctx.exit(Exit.FAILED)
