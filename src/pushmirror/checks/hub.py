"""Check the hub's own side: ssh keys, pinned host keys, the sites' files, the rsync daemon, TLS, logs.

Sites are not contacted; see `site.py`.
"""

from __future__ import annotations

import shlex
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from pushmirror.access import credentials, daemon_files, rsyncd_conf
from pushmirror.access.tls import read_certificate
from pushmirror.checks.finding import Finding, error, ok, warning
from pushmirror.checks.machine import private_key, readable
from pushmirror.config.model import Access, Config, PushKind
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.status.words import listed
from pushmirror.system import clock
from pushmirror.system.files import is_private

_SOON = timedelta(days=14)  # a working renewal has happened by then
_LARGE = 512 * 1024**2  # bytes of a log
_SUBJECT = "certificate"


def tls(config: Config, now: datetime) -> Iterator[Finding]:
    """The certificate: whether it can be used, and its validity."""
    try:
        seen = read_certificate(config.serve)
    except ConfigError as exc:
        todo = exc.hint or "correct it: without it rsync over TLS does not work; serve runs on without TLS"
        yield error(_SUBJECT, str(exc), todo)
        return
    if seen is None:
        return
    file, left = config.serve.certificate, seen.expires - now
    if seen.begins > now:
        yield error(
            _SUBJECT, f"{file} is valid only from {seen.begins:%Y-%m-%d %H:%M} UTC", "check the clock"
        )
    elif left < timedelta():
        yield error(_SUBJECT, f"{file} expired at {seen.expires:%Y-%m-%d %H:%M} UTC", "renew it")
    elif left < _SOON:
        todo = "renew it; serve reloads it, a stunnel that serve does not run needs a HUP"
        yield warning(_SUBJECT, f"{file} expires in {left.days} days", todo)
    else:
        yield ok(_SUBJECT, f"{file}, for {left.days} days")


def logs(config: Config) -> Iterator[Finding]:
    """Logs that are not rotated fill the state's file system."""
    where = daemon_files.places(config)
    for file in (where.log, where.tls_log):
        size = file.stat().st_size if file.exists() else 0
        if size > _LARGE:
            todo = "rotate it: pushmirror serve --print logrotate > /etc/logrotate.d/pushmirror"
            yield warning("log of the daemon", f"{file} has {size / 1024**3:.1f} GiB", todo)


_GREETING = b"@RSYNCD:"
_LIMIT_S = 5.0
_EVERY_IPV4 = "0.0.0.0"  # nosec B104  # noqa: S104  compared, not listened at


def of_hub(config: Config) -> Iterator[Finding]:
    """All findings; none without sites."""
    if not config.sites:
        return
    yield from keys(config)
    yield from known_hosts(config)
    yield sites(config)
    yield from unserved(config)
    yield from of_daemon(config)


def keys(config: Config) -> Iterator[Finding]:
    """Each key that pushes a site, and its public half."""
    pushed = [site for site in config.sites.values() if site.push is not PushKind.NONE]
    if not pushed:
        return
    for file in dict.fromkeys(site.key or config.push.key for site in pushed):
        subject = "push key" if file == config.push.key else f"push key {file.name}"
        yield key(subject, file)
    if not config.push.addresses:
        found = "not set: from= in the sites' authorized_keys cannot limit our key to this machine"
        yield warning(
            "push addresses", found, 'set [push] addresses to those of this machine, such as ["192.0.2.1"]'
        )


def key(subject: str, file: Path) -> Finding:
    """A private key: mode, no passphrase, and its public half beside it."""
    import asyncssh

    found = private_key(subject, file)
    if found.todo:
        make = f"ssh-keygen -t ed25519 -N '' -f {shlex.quote(str(file))}"
        return found if file.exists() else error(subject, f"{file} is missing", make)
    try:
        private = asyncssh.read_private_key(file)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as exc:
        todo = "use a private key without a passphrase"
        return error(subject, f"{file} cannot be used: {exc}", todo)
    public = file.with_name(f"{file.name}.pub")
    again = f"ssh-keygen -y -f {shlex.quote(str(file))} > {shlex.quote(str(public))}"
    try:
        is_its = asyncssh.read_public_key(public).public_data == private.public_data
    except (OSError, asyncssh.KeyImportError):
        return warning(subject, f"cannot read the public key {public}", again)
    if not is_its:
        return error(subject, f"{public} is not the public key of {file}", again)
    return ok(subject, f"{file}, {private.get_fingerprint()}")


def known_hosts(config: Config) -> Iterator[Finding]:
    """The file of pinned host keys: whoever can write it can replace a site's machine."""
    file = config.known_hosts
    if not file.exists():  # created by the first push
        return
    found = readable("known hosts", file)
    if file.stat().st_size == 0:
        return
    if not found.todo and file.stat().st_mode & 0o022:
        yield error("known hosts", f"{file} is writable by others", f"chmod go-w {shlex.quote(str(file))}")
    else:
        yield found


def sites(config: Config) -> Finding:
    """The number of sites of each kind; a line per site would hide what matters."""
    kinds = Counter("not pushed" if one.push is PushKind.NONE else one.push for one in config.sites.values())
    paused = [site.name for site in config.sites.values() if site.paused]
    words = [f"{count} {kind}" for kind, count in kinds.items()]
    return ok("sites", ", ".join([*words, *([f"paused: {listed(paused)}"] if paused else [])]))


def unserved(config: Config) -> Iterator[Finding]:
    """Archives that sites are pushed for and cannot read from us."""
    for archive in config.archives.values():
        names = [site.name for site in config.sites_of(archive.name)]
        if names and archive.access is Access.NONE:
            found = f'access = "none", but sites are pushed for it: {listed(names)}'
            yield warning(
                f"access to {archive.name}", found, 'set access = "sites", unless they read it elsewhere'
            )


def of_daemon(config: Config) -> Iterator[Finding]:
    """The rsync daemon's files, and whether it answers."""
    if all(archive.access is Access.NONE for archive in config.archives.values()):
        return
    yield from tls(config, clock.now())
    try:
        yield from _passwords(config)
        files = list(_files(config))
    except PushmirrorError as exc:
        yield error(
            "rsync access", str(exc), exc.hint or "correct it; the daemon keeps its previous configuration"
        )
        return
    yield from files
    yield from logs(config)
    yield answering(config)


def _passwords(config: Config) -> Iterator[Finding]:
    unusable = daemon_files.unusable(config)
    for name, exc in unusable.items():
        todo = exc.hint or f"correct it; or remove it, and: pushmirror site rotate {name}"
        yield error(f"password of {name}", f"{exc}; the site cannot log in", todo)
    logins, now = daemon_files.logins(config), clock.now()
    without = [
        site.name
        for site in config.sites.values()
        if any(config.archives[name].access is Access.SITES for name in site.archives)
        and site.name not in unusable
        and not credentials.current(logins[site.name], now)
    ]
    if without:
        todo = f"pushmirror site rotate {without[0]}, and send its operator the new password"
        yield error(
            "site passwords", f"no valid password, so these sites cannot read: {listed(without)}", todo
        )


def _files(config: Config) -> Iterator[Finding]:
    where, todo = (
        daemon_files.places(config),
        "pushmirror serve or pushmirror site show SITE writes them",
    )
    missing = [file.name for file in (where.conf, where.secrets) if not file.exists()]
    if missing:
        yield warning("rsync access", f"{' and '.join(missing)} in {where.directory}: missing", todo)
        return
    if not is_private(where.secrets):
        yield error(
            "rsync access", f"{where.secrets} is readable by others", f"chmod 600 {where.secrets}; {todo}"
        )
        return
    now = clock.now()
    users = {
        name: [login.user for login in credentials.valid(logins, now)]
        for name, logins in daemon_files.logins(config).items()
    }
    wanted = rsyncd_conf.render(config, users, where, daemon_files.facts_of(config))
    if where.conf.read_text("utf-8", "replace") != wanted:
        yield warning("rsync access", f"{where.conf} is older than the configuration", todo)
    else:
        yield ok("rsync access", f"{where.conf} is up to date")


def answering(config: Config) -> Finding:
    """Whether an rsync daemon answers at the sites' address."""
    host, port = rsyncd_conf.listening(config.serve.rsync)
    try:
        with socket.create_connection((_local(host), port), timeout=_LIMIT_S) as connection:
            said = connection.recv(len(_GREETING))
    except OSError as exc:
        found = f"nothing answers at {config.serve.rsync}: {exc.strerror or exc}"
        return error("rsync daemon", found, "run pushmirror serve, or a unit of the system")
    if said != _GREETING:
        return error(
            "rsync daemon",
            f"the server at {config.serve.rsync} is not an rsync daemon",
            "stop it, or set another port",
        )
    return ok("rsync daemon", f"answers at {config.serve.rsync}")


def _local(host: str) -> str:
    return "localhost" if host in {"", _EVERY_IPV4, "::"} else host
