"""`pushmirror site list`, `show`, `kit` and `log`: information about the sites."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushmirror.access import credentials, daemon_files, kit, site_files, transfer_log
from pushmirror.access.credentials import Login
from pushmirror.archive.generation import short
from pushmirror.cli.context import Session, as_json_option, old_ssh_option, site_named
from pushmirror.cli.output import print_json, print_list, print_table, printable
from pushmirror.config.model import Config, Site
from pushmirror.config.types import span
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.status.words import ago
from pushmirror.system import clock

if TYPE_CHECKING:
    from pushmirror.state.records import Trigger


# -- site kit ---


def tell(
    config: Config,
    found: Site,
    login: Login | None,
    *,
    old_ssh: bool,
    as_json: bool,
    pushmirror: bool = True,
    ftpsync: bool = True,
) -> None:
    """Print a site's kit, and on stderr what to fix on this machine."""
    made = _made(config, found, login, old_ssh=old_ssh)
    if as_json:
        print_json(made)
        return
    click.echo(kit.render(made, pushmirror=pushmirror, ftpsync=ftpsync), nl=False)
    for note in made.notes:
        click.echo(f"pushmirror: note: {note}", err=True)


def tell_login(config: Config, found: Site, login: Login) -> None:
    """Print only what a new login changes."""
    click.echo(kit.render_login(_made(config, found, login, old_ssh=False)), nl=False)


def _made(config: Config, found: Site, login: Login | None, *, old_ssh: bool) -> kit.Kit:
    return kit.make(
        config,
        found,
        login,
        public_key=_public_key(found.key or config.push.key),
        addresses=config.push.addresses or _own_addresses(config.public_host),
        old_ssh=old_ssh,
    )


def _public_key(key: Path) -> str | None:
    try:
        return key.with_name(f"{key.name}.pub").read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise PushmirrorError(f"{key}.pub cannot be read: {exc}") from exc


def _own_addresses(host: str) -> list[str]:
    """The public addresses that our public name resolves to."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = sorted({str(entry[4][0]).partition("%")[0] for entry in found})
    return [one for one in addresses if not _only_ours(ipaddress.ip_address(one))]


def _only_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified


_COLUMNS = ("site", "host", "push", "archives", "rsync user", "last login", "remarks")


@dataclass(frozen=True, slots=True)
class Shown:
    """A site, without its passwords."""

    site: Site
    file: Path
    users: tuple[User, ...]
    kept_out: str | None  # why its passwords cannot be used; none: they can


@dataclass(frozen=True, slots=True)
class User:
    """One of a site's rsync users."""

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
    """Show one site without its password, and the last login of each of its rsync users.

    Logins are read from the end of the daemon's log; older ones are not known.

    \b
    Example:
      pushmirror site show site1.example.com
    """
    config = _current(session)
    [shown] = _shown(config, [site_files.known(config, name)])
    if as_json:
        print_json(_plain(shown))
        return
    now = clock.now()
    table = {**_plain_site(shown.site), "file": str(shown.file)}
    for key, value in table.items():
        if value not in (None, [], {}, False):
            click.echo(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for user in shown.users:
        last = f"last login {ago(user.last_login, now)}" if user.last_login else "no login logged"
        click.echo(f"rsync user: {user.user}{_until(user.until)}, {last}")
    if shown.kept_out:
        click.echo(f"no access: {shown.kept_out}")


@click.command("kit")
@click.argument("name")
@click.option("--pushmirror", is_flag=True, help="Print only what a site with pushmirror needs.")
@click.option("--ftpsync", is_flag=True, help="Print only what a site with ftpsync needs.")
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
    found = site_files.known(config, name)
    login = credentials.current(daemon_files.logins(config)[name], clock.now())
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
    """The configuration; the daemon's files are updated if this user may write them."""
    config = session.config(as_root=True)
    try:
        daemon_files.update(config)
    except ConfigError:
        raise
    except PushmirrorError as exc:
        click.echo(f"pushmirror: rsync daemon configuration not updated: {exc}", err=True)
    return config


def _shown(config: Config, sites: Sequence[Site]) -> list[Shown]:
    logins, unusable, now = daemon_files.logins(config), daemon_files.unusable(config), clock.now()
    seen = {user: one.at for user, one in transfer_log.last_logins(config).items()}
    return [
        Shown(
            one,
            daemon_files.site_file(config, one.name),
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
    states = (
        ("paused", found.paused),
        ("canary", found.canary),
        ("no access: see `show`", bool(shown.kept_out)),
    )
    remarks = [word for word, is_so in states if is_so]
    users = ", ".join(f"{user.user}{_until(user.until)}" for user in shown.users) or "no password"
    where = f"{found.user}@{found.host}{f':{found.port}' if found.port else ''}"
    archives, last = ", ".join(found.archives), _last_login(shown.users)
    return found.name, where, found.push.value, archives, users, last, ", ".join(remarks)


def _last_login(users: Sequence[User]) -> str:
    """The last login of a site's users; with the user name only if there are several."""
    came = [(user.last_login, user.user) for user in users if user.last_login]
    if not came:
        return ""
    at, user = max(came)
    return f"{user}, {ago(at, clock.now())}" if len(users) > 1 else ago(at, clock.now())


def _until(moment: datetime | None) -> str:
    return f" (until {moment:%Y-%m-%d %H:%M} UTC)" if moment else ""


# -- site log ---


_LOG_COLUMNS = ("sent (UTC)", "archive", "stage", "generation", "took", "exit code")


@click.command("log")
@click.argument("name")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Number of triggers."
)
@click.option(
    "--output", is_flag=True, help="Print its whole output, not only the last line (64 KiB of each are kept)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def site_log(session: Session, name: str, limit: int, *, output: bool, as_json: bool) -> None:
    """List the triggers that were sent to a site, newest first, with its output.

    \b
    Examples:
      pushmirror site log site1.example.com
      pushmirror site log site1.example.com --limit 1 --output
    """
    from pushmirror.push.callback import last_call
    from pushmirror.push.trigger_sender import last_line

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
            click.echo(f"last callback at {called:%Y-%m-%d %H:%M:%S} (UTC)")
        print_list(_LOG_COLUMNS, ((_cells(trigger), (last_line(trigger.output),)) for trigger in triggers))


def _cells(trigger: Trigger) -> tuple[object, ...]:
    took = (
        span(trigger.ended_at - trigger.sent_at) if trigger.ended_at else span(clock.now() - trigger.sent_at)
    )
    code = trigger.exit_code if trigger.exit_code is not None else "none" if trigger.ended_at else "not yet"
    sent = f"{trigger.sent_at:%Y-%m-%d %H:%M:%S}"
    return sent, trigger.archive, trigger.stage, short(trigger.generation), took, code
