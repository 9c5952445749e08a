"""`pushmirror site …`: the mirrors below us, what each of them is told, and who of them may read.

Every one of these commands also brings the rsync daemon's files up to date, so there is none for that alone.
Passwords are printed by `add`, `kit` and `rotate`, on standard output, and by nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click

from pushmirror.access import credentials, daemon, roster
from pushmirror.cli.output import print_json, print_table
from pushmirror.cli.session import Session
from pushmirror.cli.site_kit import tell
from pushmirror.cli.site_log import site_log
from pushmirror.config.model import Config, PushKind, Site
from pushmirror.config.values import parse_duration
from pushmirror.errors import ConfigError, PushmirrorError, UsageError
from pushmirror.push.standing import forgiven
from pushmirror.system import clock

_COLUMNS = ("site", "host", "push", "archives", "user of rsync", "remarks")

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_old_ssh = click.option("--old-ssh", is_flag=True, help="For an sshd before OpenSSH 7.2, without `restrict`.")


@dataclass(frozen=True, slots=True)
class Shown:
    """A site, without its passwords."""

    site: Site
    file: Path
    users: tuple[User, ...]


@dataclass(frozen=True, slots=True)
class User:
    """One of a site's users of our rsync daemon."""

    user: str
    until: datetime | None  # none: for ever


@click.group()
def site() -> None:
    """The mirrors below us: add, list, show, log, kit, pause, resume, rotate, remove.

    \b
    Examples:
      pushmirror site add site1.example.com --host site1.example.com --user archvsync --archive debian
      pushmirror site list
      pushmirror site kit site1.example.com --ftpsync
      pushmirror site rotate site1.example.com --grace 3d
    """


site.add_command(site_log)


@site.command()
@click.argument("name")
@click.option("--host", required=True, help="Where its ssh is: a name or an address.")
@click.option("--user", required=True, help="The account there that is pushed, such as archvsync.")
@click.option(
    "--push",
    type=click.Choice([kind.value for kind in PushKind]),
    help="How it is woken.  [default: staged]",
)
@click.option("--archive", "archives", multiple=True, metavar="NAME", help="An archive it mirrors; repeat.")
@click.option("--main-archive", metavar="NAME", help="The one that its ftpsync knows without a name.")
@click.option("--port", type=int, help="Of its ssh.  [default: 22]")
@click.option("--key", type=click.Path(path_type=Path), help="Our ssh key for it, if not that of [push].")
@click.option("--canary", is_flag=True, help="Pushed first: the others wait until it is current.")
@click.option("--url", help="Where the public reads it, with {archive} for an archive's name.")
@click.option("--trace", metavar="NAME", help="File name of its trace.  [default: its name]")
@click.option(
    "--ssh-option", "ssh_options", multiple=True, metavar="WORD", help="For the program ssh; repeat."
)
@_old_ssh
@_json
@click.pass_obj
def add(session: Session, /, name: str, *, old_ssh: bool, as_json: bool, **keys: object) -> None:
    """Add a site, give it a password, and print what its operator needs.

    Takes effect at once, also where the rsync daemon runs already.

    \b
    Examples:
      pushmirror site add site1.example.com --host site1.example.com --user archvsync --archive debian
      pushmirror site add hub2 --host hub2.example.net --user mirror --push mhop \\
          --archive debian --archive security --main-archive debian --canary \\
          --url 'https://hub2.example.net/{archive}/'
      pushmirror site add far --host 192.0.2.9 --user mirror --archive debian \\
          --ssh-option=-o --ssh-option=ProxyJump=jump.example.net
    """
    config = session.config()
    keys["archives"] = _archives(config, keys["archives"])
    if isinstance(keys["key"], Path):
        keys["key"] = str(keys["key"].expanduser().absolute())
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items()}
    told = {key: value for key, value in told.items() if not (value is None or value is False or value == [])}
    made, login = roster.add(config, name, told)
    tell(config, made, login, old_ssh=old_ssh, as_json=as_json)


@site.command("list")
@_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the sites.

    \b
    Examples:
      pushmirror site list
      pushmirror site list --json | jq -r '.[] | select(.site.paused) | .site.name'
    """
    config = _current(session)
    shown = [_shown(config, one) for one in sorted(config.sites.values(), key=lambda one: one.name)]
    if as_json:
        print_json([_plain(one) for one in shown])
    else:
        print_table(_COLUMNS, map(_row, shown))


@site.command()
@click.argument("name")
@_json
@click.pass_obj
def show(session: Session, name: str, as_json: bool) -> None:
    """Show one site, without its password.

    \b
    Example:
      pushmirror site show site1.example.com
    """
    config = _current(session)
    shown = _shown(config, roster.known(config, name))
    if as_json:
        print_json(_plain(shown))
        return
    table = {**_plain_site(shown.site), "file": str(shown.file)}
    for key, value in table.items():
        if value not in (None, [], False):
            click.echo(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for user in shown.users:
        click.echo(f"user of rsync: {user.user}{_until(user.until)}")


@site.command("kit")
@click.argument("name")
@click.option("--pushmirror", is_flag=True, help="Only what a site with pushmirror needs.")
@click.option("--ftpsync", is_flag=True, help="Only what a site with ftpsync needs.")
@_old_ssh
@_json
@click.pass_obj
def kit_(
    session: Session, name: str, *, pushmirror: bool, ftpsync: bool, old_ssh: bool, as_json: bool
) -> None:
    """Print what a site's operator needs: keys, addresses, password, files to paste.

    \b
    Examples:
      pushmirror site kit site1.example.com --ftpsync
      pushmirror site kit site1.example.com --json | jq -r .authorized_keys.pushmirror
    """
    config = _current(session)
    found = roster.known(config, name)
    login = credentials.current(daemon.logins(config)[name], clock.now())
    both = pushmirror == ftpsync  # neither means both, too
    tell(
        config,
        found,
        login,
        old_ssh=old_ssh,
        as_json=as_json,
        pushmirror=pushmirror or both,
        ftpsync=ftpsync or both,
    )


@site.command()
@click.argument("name")
@_json
@click.pass_obj
def pause(session: Session, name: str, as_json: bool) -> None:
    """Leave a site alone until `resume`; it may still read.

    \b
    Example:
      pushmirror site pause site1.example.com
    """
    _paused(name, roster.pause(session.config(), name), paused=True, as_json=as_json)


@site.command()
@click.argument("name")
@_json
@click.pass_obj
def resume(session: Session, name: str, as_json: bool) -> None:
    """Push a paused site again; failures of the time before do not delay it.

    \b
    Example:
      pushmirror site resume site1.example.com
    """
    config = session.config()
    resumed = roster.resume(config, name)
    with session.store(config) as store:
        found = [store.standings(archive).get(name) for archive in config.archives]
        store.put_standings([forgiven(one) for one in found if one])
    _paused(name, resumed, paused=False, as_json=as_json)


@site.command()
@click.argument("name")
@click.option(
    "--grace", metavar="DURATION", help="How long the old password works.  [default: [serve]'s, 7d]"
)
@_old_ssh
@_json
@click.pass_obj
def rotate(session: Session, name: str, grace: str | None, old_ssh: bool, as_json: bool) -> None:
    """Give a site a new user and password, and print what its operator needs.

    The old ones go on working for the grace. User and password change together: rsync knows one password of
    a user only.

    \b
    Examples:
      pushmirror site rotate site1.example.com
      pushmirror site rotate site1.example.com --grace 0     # it became known: end the old one now
    """
    config = session.config()
    login = roster.rotate(config, name, grace=_duration(grace))
    tell(config, roster.known(config, name), login, old_ssh=old_ssh, as_json=as_json)


@site.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@click.pass_obj
def remove(session: Session, name: str, yes: bool, as_json: bool) -> None:
    """Remove a site: its file, its passwords, and what is remembered of its pushes.

    What it is reading at the moment it may read to the end.

    \b
    Example:
      pushmirror site remove site1.example.com --yes
    """
    config = session.config()
    roster.known(config, name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"site remove needs --yes where it cannot ask; {name} is still there")
        click.confirm(f"Remove {name}, its file and its passwords?", abort=True, err=True)
    with session.store(config) as store:
        roster.remove(config, name)
        store.forget_site(name)
    if as_json:
        print_json({"site": name, "removed": True})
    else:
        click.echo(f"{name} is removed; its operator should take our key out of ~/.ssh/authorized_keys")


def _current(session: Session) -> Config:
    """The configuration; the daemon's files follow it where this user may write them."""
    config = session.config()
    try:
        daemon.update(config)
    except ConfigError:
        raise
    except PushmirrorError as exc:
        click.echo(f"pushmirror: the rsync daemon's files were not brought up to date: {exc}", err=True)
    return config


def _archives(config: Config, told: object) -> tuple[str, ...]:
    if told:
        assert isinstance(told, tuple)
        return told
    if len(config.archives) == 1:
        return (*config.archives,)
    raise UsageError(
        "site add needs --archive: which of our archives it mirrors",
        hint=f"archives here: {', '.join(config.archives) or 'none'}",
    )


def _duration(told: str | None) -> timedelta | None:
    try:
        return None if told is None else parse_duration(told)
    except ValueError as exc:
        raise UsageError(f'--grace: {exc}, found "{told}"') from exc


def _shown(config: Config, found: Site) -> Shown:
    working = credentials.valid(daemon.logins(config)[found.name], clock.now())
    users = tuple(User(login.user, login.until) for login in working)
    return Shown(found, daemon.site_file(config, found.name), users)


def _plain_site(found: Site) -> dict[str, object]:
    return found.model_dump(mode="json")


def _plain(shown: Shown) -> dict[str, object]:
    return {"site": _plain_site(shown.site), "file": shown.file, "users": shown.users}


def _row(shown: Shown) -> tuple[object, ...]:
    found = shown.site
    remarks = [word for word, is_so in (("paused", found.paused), ("canary", found.canary)) if is_so]
    users = ", ".join(f"{user.user}{_until(user.until)}" for user in shown.users) or "no password"
    where = f"{found.user}@{found.host}{f':{found.port}' if found.port else ''}"
    return found.name, where, found.push.value, ", ".join(found.archives), users, ", ".join(remarks)


def _until(moment: datetime | None) -> str:
    return f" (until {moment:%Y-%m-%d %H:%M} UTC)" if moment else ""


def _paused(name: str, changed: bool, *, paused: bool, as_json: bool) -> None:
    if as_json:
        print_json({"site": name, "paused": paused, "changed": changed})
        return
    state = "paused" if paused else "pushed"
    click.echo(f"{name} is {state}{' now' if changed else ' already'}")
