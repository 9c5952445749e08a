"""`pushmirror serve`: rsync access for sites, and pushes until every site is current, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.cli.context import Session, log_to_stderr
from pushmirror.errors import Exit, UsageError

if TYPE_CHECKING:
    from pushmirror.config.model import Config

_KINDS = ("systemd", "socket", "inetd", "logrotate")


@click.command()
@click.option(
    "--no-rsync", is_flag=True, help="Do not run the rsync daemon: the system runs it (see --print)."
)
@click.option("--no-push", is_flag=True, help="Run only the rsync daemon; do not push.")
@click.option(
    "--print",
    "kind",
    type=click.Choice(_KINDS),
    help="Print configuration and exit: systemd service, systemd socket that starts rsync, line for "
    "inetd, or log rotation.",
)
@click.pass_obj
def serve(session: Session, kind: str | None, *, no_rsync: bool, no_push: bool) -> int:
    """Give sites rsync access, and push until every site is current, until a signal ends it.

    Runs rsync's daemon (and stunnel, where [serve] has a certificate) with a configuration made from ours: an
    archive is read by its sites only, each with its password. Sites that failed are pushed again, with longer
    and longer pauses. A change of sites counts at once, without a restart, and transfers go on.

    \b
    Examples:
      pushmirror serve
      pushmirror serve --print systemd > /etc/systemd/system/pushmirror.service
      pushmirror serve --no-rsync        # the system's rsync daemon reads our rsyncd.conf
    """
    config = session.config(as_root=True)
    if kind:
        click.echo(_units(config, kind), nl=False)
        return Exit.OK
    if no_rsync and no_push:
        raise UsageError("--no-rsync and --no-push together leave nothing to serve")
    log_to_stderr(verbose=True)
    if not no_rsync and config.state.directory.exists():
        _require_own_daemon(config)
    config = session.config(is_told=True)
    _serve(session, config, rsync=not no_rsync, pushes=not no_push)
    return Exit.OK


def _serve(session: Session, config: Config, *, rsync: bool, pushes: bool) -> None:
    from pushmirror.config.reload import CurrentConfig
    from pushmirror.push.engine import SilentObserver
    from pushmirror.service import Parts, alone, serve
    from pushmirror.system import signals

    with session.store(config) as store, alone(config):
        parts = Parts(rsync=rsync, pushes=pushes)
        signals.run(serve(CurrentConfig(config), store, SilentObserver(), parts))


def _require_own_daemon(config: Config) -> None:
    from pushmirror.access import daemon_files

    daemon_files.require_owner(config)


def _units(config: Config, kind: str) -> str:
    from pushmirror.access import daemon_files, units

    program = Path(sys.executable).with_name("pushmirror")
    setting = daemon_files.unit_context(config, str(program))
    return units.render(units.Kind(kind), config, daemon_files.places(config), setting)
