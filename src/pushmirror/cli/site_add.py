"""`pushmirror site add`: one more mirror below us."""

from __future__ import annotations

from pathlib import Path

import click

from pushmirror.access import roster
from pushmirror.cli.session import Session
from pushmirror.cli.site_kit import tell
from pushmirror.cli.site_options import as_json_option, old_ssh_option
from pushmirror.config.model import Config, PushKind
from pushmirror.errors import UsageError


@click.command()
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
@old_ssh_option
@as_json_option
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
