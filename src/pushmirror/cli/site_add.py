"""`pushmirror site add`: add a site."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path

import click

from pushmirror.access import site_files
from pushmirror.access.daemon_files import owner_of
from pushmirror.cli.context import Session, as_json_option, old_ssh_option
from pushmirror.cli.init import make_key
from pushmirror.cli.site_show import tell
from pushmirror.config.model import Config, PushKind
from pushmirror.config.types import absolute
from pushmirror.errors import PushmirrorError, UsageError


@click.command()
@click.argument("name")
@click.option("--host", required=True, help="SSH host name or address.")
@click.option("--user", required=True, help="Remote account, such as archvsync.")
@click.option(
    "--push",
    type=click.Choice([kind.value for kind in PushKind]),
    default=PushKind.STAGED.value,
    show_default=True,
    help="Push mode.",
)
@click.option(
    "--archive", "archives", multiple=True, metavar="NAME", help="Archive that it mirrors. Can be repeated."
)
@click.option(
    "--main-archive", metavar="NAME", help="Archive of its ftpsync.conf (the others have ftpsync-NAME.conf)."
)
@click.option("--port", type=int, help="SSH port.  [default: 22]")
@click.option("--key", type=click.Path(path_type=Path), help="Our SSH key for it, if not the key of [push].")
@click.option("--canary", is_flag=True, help="Push to it first; the others wait until it is current.")
@click.option("--url", help="Public URL of its archives; {archive} stands for the archive's name.")
@click.option("--trace", metavar="NAME", help="File name of its trace.  [default: the site's name]")
@click.option(
    "--ssh-option",
    "ssh_options",
    multiple=True,
    metavar="WORD",
    help="Option for the program ssh. Can be repeated.",
)
@old_ssh_option
@as_json_option
@click.pass_obj
def add(session: Session, /, name: str, *, old_ssh: bool, as_json: bool, **keys: object) -> None:
    """Add a site, give it a password, and print what its operator needs.

    Takes effect at once, also if the rsync daemon is already running.

    \b
    Examples:
      pushmirror site add site1.example.com --host site1.example.com --user archvsync --archive debian
      pushmirror site add hub2 --host hub2.example.net --user mirror --push mhop \
          --archive debian --archive security --main-archive debian --canary \
          --url 'https://hub2.example.net/{archive}/'
      pushmirror site add far --host 192.0.2.9 --user mirror --archive debian \
          --ssh-option=-o --ssh-option=ProxyJump=jump.example.net
    """
    config = session.config(as_root=True)
    keys["archives"] = _archives(config, keys["archives"])
    if isinstance(keys["key"], Path):
        keys["key"] = str(absolute(keys["key"]))
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items()}
    given = {
        key: value for key, value in given.items() if not (value is None or value is False or value == [])
    }
    if given["push"] != PushKind.NONE:
        _need_key(config, keys["key"])
    made, login = site_files.add(config, name, given)
    tell(config, made, login, old_ssh=old_ssh, as_json=as_json)


def _need_key(config: Config, given: object) -> None:
    """Require the site's ssh key, because its operator needs the public key; the key of [push] is created."""
    key = Path(given) if isinstance(given, str) else config.push.key
    public = key.with_name(f"{key.name}.pub")
    quoted = shlex.quote(str(key))
    try:
        if public.exists():
            return
        if key.exists():
            again = f"ssh-keygen -y -f {quoted} > {shlex.quote(str(public))}"
            raise PushmirrorError(f"the public key {public} is missing", hint=again)
        if key != config.push.key:
            raise PushmirrorError(
                f"the key {key} is missing", hint=f"ssh-keygen -t ed25519 -N '' -f {quoted}"
            )
        _be_who_pushes(config, key)
        make_key(key)
    except OSError as exc:
        raise PushmirrorError(f"the key {key} cannot be used: {exc.strerror}") from exc
    click.echo(f"pushmirror: created the key {key} for pushing to sites", err=True)


def _be_who_pushes(config: Config, key: Path) -> None:
    """Require the user who pushes: a key created by another user would be unreadable for that user."""
    owner = owner_of(config) if config.state.directory.exists() else os.geteuid()
    if owner != os.geteuid():
        name = pwd.getpwuid(owner).pw_name
        raise PushmirrorError(
            f"the key {key} of [push] is missing", hint=f"run this as {name}: it creates the key"
        )


def _archives(config: Config, given: object) -> tuple[str, ...]:
    if given:
        assert isinstance(given, tuple)
        return given
    if len(config.archives) == 1:
        return (*config.archives,)
    raise UsageError(
        "site add needs --archive: the archive that the site mirrors",
        hint=f"archives here: {', '.join(config.archives) or 'none'}",
    )
