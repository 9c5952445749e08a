"""`pushmirror site list`, `show` and `kit`: what there is to know of the mirrors below us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from pushmirror.access import credentials, daemon, roster, transfer_log
from pushmirror.cli.output import print_json, print_table
from pushmirror.cli.session import Session
from pushmirror.cli.site_kit import tell
from pushmirror.cli.site_options import as_json_option, old_ssh_option
from pushmirror.config.model import Config, Site
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.status.words import ago
from pushmirror.system import clock

_COLUMNS = ("site", "host", "push", "archives", "user of rsync", "last login", "remarks")


@dataclass(frozen=True, slots=True)
class Shown:
    """A site, without its passwords."""

    site: Site
    file: Path
    users: tuple[User, ...]
    kept_out: str | None  # why its passwords cannot be used; none: they can


@dataclass(frozen=True, slots=True)
class User:
    """One of a site's users of our rsync daemon."""

    user: str
    until: datetime | None  # none: for ever
    last_login: datetime | None = None  # by the end of the daemon's log; none: there is none in it


@click.command("list")
@as_json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the sites.

    \b
    Examples:
      pushmirror site list
      pushmirror site list --json | jq -r '.[] | select(.site.paused) | .site.name'
    """
    config = _current(session)
    shown = _shown(config, sorted(config.sites.values(), key=lambda one: one.name))
    if as_json:
        print_json([_plain(one) for one in shown])
    else:
        print_table(_COLUMNS, map(_row, shown), heading=2)


@click.command()
@click.argument("name")
@as_json_option
@click.pass_obj
def show(session: Session, name: str, as_json: bool) -> None:
    """Show one site, without its password, and when each of its users came to our rsync daemon last.

    That is read from the end of the daemon's log; older logins are not known.

    \b
    Example:
      pushmirror site show site1.example.com
    """
    config = _current(session)
    [shown] = _shown(config, [roster.known(config, name)])
    if as_json:
        print_json(_plain(shown))
        return
    now = clock.now()
    table = {**_plain_site(shown.site), "file": str(shown.file)}
    for key, value in table.items():
        if value not in (None, [], {}, False):
            click.echo(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for user in shown.users:
        last = f"last login {ago(user.last_login, now)}" if user.last_login else "no login in the log"
        click.echo(f"user of rsync: {user.user}{_until(user.until)}, {last}")
    if shown.kept_out:
        click.echo(f"kept out: {shown.kept_out}")


@click.command("kit")
@click.argument("name")
@click.option("--pushmirror", is_flag=True, help="Only what a site with pushmirror needs.")
@click.option("--ftpsync", is_flag=True, help="Only what a site with ftpsync needs.")
@old_ssh_option
@as_json_option
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


def _current(session: Session) -> Config:
    """The configuration; the daemon's files follow it where this user may write them."""
    config = session.config(as_root=True)
    try:
        daemon.update(config)
    except ConfigError:
        raise
    except PushmirrorError as exc:
        click.echo(f"pushmirror: the rsync daemon's files were not brought up to date: {exc}", err=True)
    return config


def _shown(config: Config, sites: Sequence[Site]) -> list[Shown]:
    logins, unusable, now = daemon.logins(config), daemon.unusable(config), clock.now()
    seen = {user: one.at for user, one in transfer_log.last_logins(config).items()}
    return [
        Shown(
            one,
            daemon.site_file(config, one.name),
            tuple(
                User(login.user, login.until, seen.get(login.user))
                for login in credentials.valid(logins[one.name], now)
            ),
            str(unusable[one.name]) if one.name in unusable else None,
        )
        for one in sites
    ]


def _plain_site(found: Site) -> dict[str, object]:
    return found.model_dump(mode="json")


def _plain(shown: Shown) -> dict[str, object]:
    return {
        "site": _plain_site(shown.site),
        "file": shown.file,
        "users": shown.users,
        "kept_out": shown.kept_out,
    }


def _row(shown: Shown) -> tuple[object, ...]:
    found = shown.site
    told = ("paused", found.paused), ("canary", found.canary), ("kept out: see `show`", bool(shown.kept_out))
    remarks = [word for word, is_so in told if is_so]
    users = ", ".join(f"{user.user}{_until(user.until)}" for user in shown.users) or "no password"
    where = f"{found.user}@{found.host}{f':{found.port}' if found.port else ''}"
    archives, last = ", ".join(found.archives), _last_login(shown.users)
    return found.name, where, found.push.value, archives, users, last, ", ".join(remarks)


def _last_login(users: Sequence[User]) -> str:
    """Who of them came last, and when; the name only where there are several."""
    came = [(user.last_login, user.user) for user in users if user.last_login]
    if not came:
        return ""
    at, user = max(came)
    return f"{user}, {ago(at, clock.now())}" if len(users) > 1 else ago(at, clock.now())


def _until(moment: datetime | None) -> str:
    return f" (until {moment:%Y-%m-%d %H:%M} UTC)" if moment else ""
