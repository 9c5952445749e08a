"""Prints a site's kit, with what only this machine knows: our public key and our addresses."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import click

from pushmirror.access import kit
from pushmirror.access.credentials import Login
from pushmirror.cli.output import print_json
from pushmirror.config.model import Config, Site
from pushmirror.errors import PushmirrorError


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
    """Print a site's kit, and what we should look at ourselves on standard error."""
    made = _made(config, found, login, old_ssh=old_ssh)
    if as_json:
        print_json(made)
        return
    click.echo(kit.render(made, pushmirror=pushmirror, ftpsync=ftpsync), nl=False)
    for note in made.notes:
        click.echo(f"pushmirror: note: {note}", err=True)


def tell_login(config: Config, found: Site, login: Login) -> None:
    """Print only what another login changes."""
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
    """What our public name resolves to, as far as others can reach it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = sorted({str(entry[4][0]).partition("%")[0] for entry in found})
    return [one for one in addresses if not _only_ours(ipaddress.ip_address(one))]


def _only_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local or address.is_unspecified
