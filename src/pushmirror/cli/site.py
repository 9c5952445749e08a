"""`pushmirror site …`: manage the sites that mirror from here: push settings, logins, setup instructions.

Each of these commands also updates the rsync daemon's files. Passwords are printed only by `add`, `kit` and
`rotate`, and only to standard output.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from pushmirror.access import credentials, daemon_files, site_files
from pushmirror.cli.context import Session, as_json_option, old_ssh_option
from pushmirror.cli.output import print_json
from pushmirror.cli.site_add import add
from pushmirror.cli.site_show import kit_, list_, show, site_log, tell, tell_login
from pushmirror.config.model import Config, Site
from pushmirror.config.types import parse_duration
from pushmirror.errors import UsageError
from pushmirror.push.site_state import reset_failures
from pushmirror.system import clock
from pushmirror.system.owned_directory import state_errors

if TYPE_CHECKING:
    from pushmirror.state.store import Store


@click.group()
def site() -> None:
    """Manage the sites that mirror from here: add, list, show, log, kit, pause, resume, rotate, remove.

    \b
    Examples:
      pushmirror site add site1.example.com --host site1.example.com --user archvsync --archive debian
      pushmirror site list
      pushmirror site kit site1.example.com --ftpsync
      pushmirror site rotate site1.example.com --grace 3d
    """


for command in (add, list_, show, site_log, kit_):
    site.add_command(command)


@site.command()
@click.argument("name")
@as_json_option
@click.pass_obj
def pause(session: Session, name: str, as_json: bool) -> None:
    """Do not push to a site until `resume`; it can still read.

    \b
    Example:
      pushmirror site pause site1.example.com
    """
    _paused(name, site_files.pause(session.config(as_root=True), name), paused=True, as_json=as_json)


@site.command()
@click.argument("name")
@as_json_option
@click.pass_obj
def resume(session: Session, name: str, as_json: bool) -> None:
    """Push to a paused site again; earlier failures do not delay it.

    \b
    Example:
      pushmirror site resume site1.example.com
    """
    config = session.config(as_root=True)
    resumed = site_files.resume(config, name)
    session.as_owner(config, lambda store: _forgive(store, config, name))
    _paused(name, resumed, paused=False, as_json=as_json)


@site.command()
@click.argument("name")
@click.option(
    "--grace", metavar="DURATION", help="How long the old password stays valid.  [default: [serve]'s, 7d]"
)
@old_ssh_option
@as_json_option
@click.pass_obj
def rotate(session: Session, name: str, grace: str | None, old_ssh: bool, as_json: bool) -> None:
    """Give a site a new user and password, and print what its operator has to change.

    The old login stays valid for the grace period; logins of earlier rotations end at that time at the
    latest. User and password change together, because rsync allows only one password for each user. `site
    show` shows which login the site used last. With --json, or if the site had no password yet, the whole kit
    is printed; `site kit` prints it at any time.

    \b
    Examples:
      pushmirror site rotate site1.example.com
      pushmirror site rotate site1.example.com --grace 0     # it became known: end the old one now
    """
    config = session.config(as_root=True)
    known = site_files.known(config, name)
    before = credentials.valid(daemon_files.logins(config)[name], clock.now())
    login = site_files.rotate(config, name, grace=_duration(grace))
    if as_json or old_ssh or not before:
        tell(config, known, login, old_ssh=old_ssh, as_json=as_json)
    else:
        tell_login(config, known, login)
    ends = {one.user: one.until for one in credentials.valid(daemon_files.logins(config)[name], clock.now())}
    for one in before:
        until = ends.get(one.user)
        what = f"is valid until {until:%Y-%m-%d %H:%M} UTC" if until else "is no longer valid"
        click.echo(f"pushmirror: note: {one.user} {what}", err=True)


@site.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json_option
@click.pass_obj
def remove(session: Session, name: str, yes: bool, as_json: bool) -> None:
    """Remove a site: its file, its passwords, its host key and its push state.

    The host key is kept if another site is on the same host, or if it is in a file named by known_hosts in
    [push]. Transfers that are running continue to their end.

    \b
    Example:
      pushmirror site remove site1.example.com --yes
    """
    config = session.config(as_root=True)
    found = site_files.known(config, name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"site remove needs --yes when it cannot ask; {name} was not removed")
        click.confirm(f"Remove {name}, its site file and its passwords?", abort=True, err=True)
    session.as_owner(config, lambda _: None)  # a state that cannot be used leaves the site as it is
    try:
        site_files.remove(config, name)
    finally:  # it may be gone, though the daemon's files could not follow
        if not daemon_files.site_file(config, name).exists():
            session.as_owner(config, lambda store: _forget(store, config, found))
    if as_json:
        print_json({"site": name, "removed": True})
    else:
        click.echo(f"{name} removed; its operator should remove our key from ~/.ssh/authorized_keys")


def _forget(store: Store, config: Config, site: Site) -> None:
    from pushmirror.push.ssh import known_hosts

    store.forget_site(site.name)
    others = [one for one in config.sites.values() if one.name != site.name]
    if config.push.known_hosts is None and not any(known_hosts.is_same_host(site, one) for one in others):
        with state_errors(config.state.directory, config.known_hosts):
            known_hosts.unpin(config.known_hosts, site.host, site.port)


def _forgive(store: Store, config: Config, name: str) -> None:
    for archive in config.archives:
        store.change_site_states(archive, reset_failures, only={name})


def _duration(text: str | None) -> timedelta | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as exc:
        raise UsageError(f'--grace: {exc}, found "{text}"') from exc


def _paused(name: str, changed: bool, *, paused: bool, as_json: bool) -> None:
    if as_json:
        print_json({"site": name, "paused": paused, "changed": changed})
        return
    state = "paused" if paused else "pushed"
    click.echo(f"{name} is {state}{' now' if changed else ' already'}")
