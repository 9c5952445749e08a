"""The setup instructions for a site's operator: files to paste, for pushmirror and for ftpsync. Pure.

Guaranteed: the pushmirror.toml is valid once its password file exists; the ftpsync.conf is quoted for the
shell, whatever characters a password has.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from pushmirror.access.credentials import Login
from pushmirror.access.rsyncd_conf import RSYNC_PORT, listening
from pushmirror.config.model import Access, Archive, Config, PushKind, Site
from pushmirror.config.types import is_public
from pushmirror.errors import UsageError

PUSHMIRROR = "/usr/local/bin/pushmirror receive"
FTPSYNC = "/usr/bin/ftpsync"  # Debian's package
FTPSYNC_OF_A_TARBALL = "~/bin/ftpsync"

_RESTRICT = ("restrict",)  # since OpenSSH 7.2; covers later features, too
_BEFORE_RESTRICT = ("no-port-forwarding", "no-X11-forwarding", "no-agent-forwarding", "no-pty")


def line(public_key: str, command: str, addresses: Sequence[str] = (), *, old_ssh: bool = False) -> str:
    """The line of authorized_keys (sshd(8)) that restricts a key to one command, and to these addresses.

    No addresses: from everywhere. `old_ssh` is for an sshd before OpenSSH 7.2. Raises UsageError if the key
    is none.
    """
    words = public_key.split(maxsplit=2)
    if len(words) < 2 or not public_key.strip().isprintable():
        raise UsageError("expected a public key on one line, such as: ssh-ed25519 AAAA… hub.example.org")
    options = [*(_BEFORE_RESTRICT if old_ssh else _RESTRICT)]
    if addresses:
        options.append(f'from="{",".join(addresses)}"')
    quoted = command.replace('"', r"\"")  # sshd(8) needs no other escapes
    options.append(f'command="{quoted}"')
    return f"{','.join(options)} {' '.join(words)}"


TLS_PORT = 1873  # of rsyncs:// and of ftpsync
_TREES = "/srv/mirrors"
_KEYRINGS = Path("/usr/share/keyrings")  # files there are of a Debian package
_WITH_LOGIN = ("upstream = ", "RSYNC_USER=", "RSYNC_PASSWORD=")  # beginnings of lines
NO_KEY = "HUB-PUBLIC-KEY"
_ASK = "  # get this file from {}: without it signatures are not checked"
# Debian's rsync-ssl-tunnel lacks options of rsync's own rsync-ssl; it passes this value on to stunnel.
_WITHOUT_DELAY = """\
# The second line is for stunnel, which otherwise waits a minute after each of the two transfers.
RSYNC_SSL_METHOD=stunnel
RSYNC_SSL_CAPATH='/etc/ssl/certs
TIMEOUTclose = 0'
"""


@dataclass(frozen=True, slots=True)
class Module:
    """An archive's module, as the site reads it."""

    archive: str
    url: str
    open: bool  # without a password


@dataclass(frozen=True, slots=True)
class Snippet:
    """A file of the site."""

    path: str
    mode: str
    text: str = field(repr=False)  # may hold the password


@dataclass(frozen=True, slots=True)
class Kit:
    """The setup instructions for one site."""

    site: str
    account: str  # on the site, whose authorized_keys it is
    hub: str  # our name, as the site reaches us
    user: str | None  # of our rsync daemon; None: the site has no password
    password: str | None = field(repr=False)
    authorized_keys: dict[str, str]  # the site's program: the line; empty: the site is not pushed
    modules: tuple[Module, ...]
    pushmirror: tuple[Snippet, ...]
    ftpsync: tuple[Snippet, ...]
    next: dict[str, tuple[str, ...]]  # the site's program: the commands to run then
    notes: tuple[str, ...]  # warnings for the hub's operator


def make(
    config: Config,
    site: Site,
    login: Login | None,
    *,
    public_key: str | None,
    addresses: Sequence[str],
    old_ssh: bool = False,
) -> Kit:
    """Make the kit; `addresses` and `public_key` are those of our pushes."""
    offered = [config.archives[name] for name in (*site.archives, *site.reads)]
    offered = [archive for archive in offered if archive.access is not Access.NONE]
    return Kit(
        site=site.name,
        account=site.user,
        hub=config.public_host,
        user=login.user if login else None,
        password=login.password if login else None,
        authorized_keys=_lines(site, public_key or NO_KEY, addresses, old_ssh=old_ssh),
        modules=tuple(
            Module(one.name, _url(config, one, login), one.access is Access.OPEN) for one in offered
        ),
        pushmirror=tuple(_for_pushmirror(config, site, offered, login)),
        ftpsync=tuple(_ftpsync_conf(config, site, archive, login) for archive in offered),
        next={
            "pushmirror": ("pushmirror check", "pushmirror sync"),
            "ftpsync": tuple(_first_ftpsync(site, archive) for archive in offered),
        },
        notes=tuple(_notes(config, site, login, public_key, addresses)),
    )


def _lines(site: Site, public_key: str, addresses: Sequence[str], *, old_ssh: bool) -> dict[str, str]:
    if site.push is PushKind.NONE:
        return {}
    key = f"{public_key} pushmirror" if public_key == NO_KEY else public_key
    commands = {
        "pushmirror": PUSHMIRROR,
        "ftpsync": FTPSYNC,
    }
    return {what: line(key, command, addresses, old_ssh=old_ssh) for what, command in commands.items()}


def _endpoint(config: Config) -> tuple[bool, int]:
    """Whether sites use TLS, and the port."""
    serve = config.serve
    tls = serve.certificate is not None
    return tls, listening(serve.rsync_tls if tls else serve.rsync)[1]


def _host(config: Config) -> str:
    return f"[{config.public_host}]" if ":" in config.public_host else config.public_host


def _url(config: Config, archive: Archive, login: Login | None) -> str:
    tls, port = _endpoint(config)
    user = f"{login.user}@" if login and archive.access is Access.SITES else ""
    at = "" if port == (TLS_PORT if tls else RSYNC_PORT) else f":{port}"
    return f"{'rsyncs' if tls else 'rsync'}://{user}{_host(config)}{at}/{archive.module_name}"


def _for_pushmirror(
    config: Config, site: Site, offered: Sequence[Archive], login: Login | None
) -> Iterator[Snippet]:
    directory = "~/.config/pushmirror"
    secret = f"{directory}/{config.public_host.replace(':', '-')}.secret"
    if login and any(archive.access is Access.SITES for archive in offered):
        yield Snippet(secret, "0600", f"{login.password}\n")
    document = tomlkit.document()
    document["mirror"] = {"name": site.trace or site.name}
    archives = tomlkit.table(is_super_table=True)
    for archive in offered:
        table = tomlkit.table()
        table["path"] = f"{_TREES}/{archive.name}"
        table["upstream"] = _url(config, archive, login)
        if login and archive.access is Access.SITES:
            table["password_file"] = secret
        keyrings = [str(one) for one in archive.keyring if one.parent == _KEYRINGS]
        if keyrings:
            table["keyring"] = keyrings
        else:
            table.add(
                tomlkit.comment(
                    f'keyring = "{directory}/{_keyring(archive)}"{_ASK.format(config.public_host)}'
                )
            )
        archives[site.name_of(archive.name) or archive.name] = table
    document["archives"] = archives
    yield Snippet(f"{directory}/pushmirror.toml", "0644", tomlkit.dumps(document))


def _keyring(archive: Archive) -> str:
    """The file of an archive's keyring; a placeholder if it is unknown."""
    name = archive.keyring[0].name if archive.keyring else ""
    return name if name.isprintable() and not set(name) & set('"\\\\') and name else f"{archive.name}.gpg"


def _first_ftpsync(site: Site, archive: Archive) -> str:
    name = site.name_of(archive.name)
    return f"ftpsync sync:archive:{name}" if name else "ftpsync"


def _ftpsync_conf(config: Config, site: Site, archive: Archive, login: Login | None) -> Snippet:
    tls, port = _endpoint(config)
    settings = {
        "MIRRORNAME": site.trace or site.name,
        "TO": f"{_TREES}/{archive.name}/",
        "RSYNC_HOST": _host(config),
        "RSYNC_PATH": archive.module_name,
    }
    if login and archive.access is Access.SITES:
        settings |= {"RSYNC_USER": login.user, "RSYNC_PASSWORD": login.password}
    if tls:
        settings["RSYNC_TRANSPORT"] = "ssl"
        if port != TLS_PORT:
            settings["RSYNC_SSL_PORT"] = str(port)
    elif port != RSYNC_PORT:
        settings["RSYNC_EXTRA"] = f"--port={port}"
    called = site.name_of(archive.name)
    name = f"ftpsync-{called}.conf" if called else "ftpsync.conf"
    text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
    text += _WITHOUT_DELAY if tls else ""
    return Snippet(f"~/.config/ftpsync/{name}", "0600", text)


def _notes(
    config: Config, site: Site, login: Login | None, public_key: str | None, addresses: Sequence[str]
) -> Iterator[str]:
    closed = [name for name in site.archives if config.archives[name].access is Access.SITES]
    if login is None and closed:
        yield f"{site.name} has no password: pushmirror site rotate {site.name}"
    for name in site.archives:
        if config.archives[name].access is Access.NONE:
            yield f'our rsync daemon does not offer {name}: archives.{name}.access is "none"'
    if not is_public(config.public_host) and ":" not in config.public_host:
        yield f"{config.public_host} is not a public host name: set host in [serve]"
    if site.push is PushKind.NONE:
        return
    if public_key is None:
        yield f"{site.key or config.push.key}.pub does not exist yet: pushmirror init creates it"
    if not addresses:
        yield "without from= the key works from any address: set addresses in [push]"
    elif not config.push.addresses:
        yield (
            f"from= has the addresses of {config.public_host}: set addresses in [push] if our pushes come "
            "from other addresses"
        )


def render(kit: Kit, *, pushmirror: bool = True, ftpsync: bool = True) -> str:
    """The kit as text, for a site that runs one of these programs, or for an unknown one."""
    wanted = [name for name, is_wanted in (("pushmirror", pushmirror), ("ftpsync", ftpsync)) if is_wanted]
    return "\n".join([*_heading(kit), *_pushes(kit, wanted), *_files(kit, wanted), *_next(kit, wanted)])


def render_login(kit: Kit) -> str:
    """The changes for another user and password, for each program."""
    lines = [
        f"New login of {kit.site} at {kit.hub}",
        "",
        f"  user: {kit.user}",
        f"  password: {kit.password}",
    ]
    for name, snippets in (("pushmirror", kit.pushmirror), ("ftpsync", kit.ftpsync)):
        for snippet in snippets:
            if changed := list(_of_login(snippet)):
                what = "all of it" if snippet.text.count("\n") == 1 else "these lines"
                lines += ["", f"# for {name}: {snippet.path}, {what}", *changed]
    return "\n".join([*lines, ""])


def _of_login(snippet: Snippet) -> Iterator[str]:
    """The lines of a file with the login, each after its section heading."""
    heading = ""
    for line in snippet.text.splitlines():
        if line.startswith("["):
            heading = line
        elif snippet.text.count("\n") == 1 or line.startswith(_WITH_LOGIN):
            if heading:
                yield heading
            heading = ""
            yield line


def _heading(kit: Kit) -> Iterator[str]:
    yield f"Setup of {kit.site} as a mirror of {kit.hub}"
    yield ""
    for module in kit.modules:
        yield f"  {module.archive}: {module.url}{' (without a password)' if module.open else ''}"
    if kit.user:
        yield f"  user: {kit.user}"
        yield f"  password: {kit.password}"


def _pushes(kit: Kit, wanted: Sequence[str]) -> Iterator[str]:
    if not kit.authorized_keys:
        yield ""
        yield f"{kit.hub} does not push to this site: run `pushmirror sync` or ftpsync-cron from cron."
        return
    either = "one of these lines" if len(wanted) > 1 else "this line"
    yield ""
    yield f"To receive pushes, add {either} to ~{kit.account}/.ssh/authorized_keys:"
    for name in wanted:
        yield ""
        yield f"# for {_TITLES[name]}"
        yield kit.authorized_keys[name]


def _files(kit: Kit, wanted: Sequence[str]) -> Iterator[str]:
    for name in wanted:
        for snippet in kit.pushmirror if name == "pushmirror" else kit.ftpsync:
            yield ""
            yield f"# for {name}: {snippet.path}, mode {snippet.mode}"
            yield snippet.text.rstrip("\n")


def _next(kit: Kit, wanted: Sequence[str]) -> Iterator[str]:
    for name in wanted:
        if kit.next[name]:
            yield ""
            yield f"Then, as {kit.account}{f', for {name}' if len(wanted) > 1 else ''}:"
            yield ""
            yield from (f"  {command}" for command in kit.next[name])
    yield ""


_TITLES = {
    "pushmirror": "pushmirror: /usr/local/bin/pushmirror, or its path on your machine",
    "ftpsync": f"ftpsync of Debian's package; from a tarball it is {FTPSYNC_OF_A_TARBALL}",
}
