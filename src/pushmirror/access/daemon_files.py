"""Write the files that the rsync daemon and stunnel read, as `rsyncd_conf`, `tls` and `credentials` decide.

Guaranteed: each appears whole and is only written when it changes; two processes never write at once, and
each writes what the configuration on disk says at that moment; passwords are in files of mode 0600; the
directory of every module for a manifest is there; root, at work for another user, writes only into that
user's own directory, wherever a link may lead. Who may not log in any more is kept out first, whatever else
cannot be written; a site whose own passwords cannot be used is kept out, and no other.

rsync reads rsyncd.conf and the secrets anew for each connection, so a change reaches a running daemon,
ours or the system's, without a restart, and running transfers go on. `pushmirror serve` calls `update` when
the configuration has changed, and every 30 s for passwords whose time is over. Where the system runs the
daemon and nothing else of ours, every `pushmirror site …`, `push` and `sync` that pushes calls it: an old
password may then work for as long as none of them is run.

Whose daemon? That of the user who owns the state directory: rsync refuses secrets that are not its own
user's (`strict modes`), so the printed units name this user, and when root changes sites on this user's
behalf, the files are handed over. Only where this user is root does rsync become `[serve].uid`.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pushmirror.access import credentials, rsyncd_conf, tls
from pushmirror.access.credentials import Login
from pushmirror.access.rsyncd_conf import DaemonFacts, DaemonPaths
from pushmirror.access.units import UnitContext
from pushmirror.config import loader, model
from pushmirror.errors import ConfigError, ProgramMissing, PushmirrorError
from pushmirror.system import clock
from pushmirror.system.files import make_open_directories, opened_directory, write_atomically
from pushmirror.system.locks import locked
from pushmirror.system.rsync_version import rsync_version

_log = logging.getLogger(__name__)
_PRIVATE = 0o700  # of the directory
_PATIENCE_S = 5.0  # for a process that changes sites, and may be stopped (Ctrl-Z)
_STUNNEL = ("stunnel4", "stunnel")  # Debian's name first; other systems have the second only


def update(config: model.Config, *, aloud: bool = True) -> bool:
    """Update the daemon's files for the configuration on disk and the time; returns whether one changed.

    The configuration is read again: another process may have changed it. `aloud` logs the sites that are
    disabled because of unusable passwords. Raises ConfigError, and PushmirrorError if the files cannot be
    written, or stay locked.
    """
    with changing(config):
        return write(loader.load(config.source) if config.source else config, aloud=aloud)


@contextmanager
def changing(config: model.Config) -> Iterator[None]:
    """Hold the lock of sites and daemon files; creates their directory.

    Raises PushmirrorError with the holder if it is not released within some seconds.
    """
    directory = places(config).directory
    try:
        directory.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with opened_directory(directory, owner=owner_of(config), mode=_PRIVATE):
            pass
    except OSError as exc:
        raise PushmirrorError(
            f"cannot write the rsync daemon's files in {directory}: {exc.strerror}",
            hint="run this as the user who runs the mirror, or as root",
        ) from exc
    with locked(directory, patience_s=_PATIENCE_S):
        yield


def write(
    config: model.Config, *, facts: DaemonFacts | None = None, now: datetime | None = None, aloud: bool = True
) -> bool:
    """Write the files, within `changing`; returns whether one changed."""
    where, moment, found = places(config), now or clock.now(), _read(config)
    if aloud:
        for exc in _errors(found).values():
            _log.warning("%s", disabled_message(exc))
    working = {name: credentials.valid(of_site, moment) for name, of_site in _usable(found).items()}
    # The secrets first: no other error may keep an old password valid, and a new one alone opens nothing.
    changed = _write(config, where.secrets, _secrets(working), 0o600)
    _make_manifest_directories(config)
    known = facts or facts_of(config)
    users = {name: [login.user for login in of_site] for name, of_site in working.items()}
    changed |= _write(config, where.conf, rsyncd_conf.render(config, users, where, known), 0o644)
    if config.serve.certificate:
        text = tls.stunnel_conf(config.serve, where, known, _rsync())
        changed |= _write(config, where.stunnel, text, 0o644)
    return changed


def logins(config: model.Config) -> dict[str, tuple[Login, ...]]:
    """The logins of every site, expired ones included; none of a site whose passwords are `unusable`."""
    return _usable(_read(config))


def unusable(config: model.Config) -> dict[str, ConfigError]:
    """The sites with unusable passwords, which are disabled, and the reasons."""
    return _errors(_read(config))


def disabled_message(why: ConfigError) -> str:
    """The log line for that."""
    return f"{why}; site disabled until this is fixed"


def _read(config: model.Config) -> dict[str, tuple[Login, ...] | ConfigError]:
    return {name: _of_site(config, name) for name in config.sites}


def _of_site(config: model.Config, name: str) -> tuple[Login, ...] | ConfigError:
    try:
        return credentials.read(secret_file(config, name), name)
    except ConfigError as exc:
        return exc


def _usable(found: Mapping[str, tuple[Login, ...] | ConfigError]) -> dict[str, tuple[Login, ...]]:
    return {name: () if isinstance(one, ConfigError) else one for name, one in found.items()}


def _errors(found: Mapping[str, tuple[Login, ...] | ConfigError]) -> dict[str, ConfigError]:
    return {name: one for name, one in found.items() if isinstance(one, ConfigError)}


def secret_file(config: model.Config, name: str) -> Path:
    """The file with a site's passwords, beside the site's own."""
    return site_file(config, name).with_name(f"{name}{credentials.SUFFIX}")


def site_file(config: model.Config, name: str) -> Path:
    """The file of a site."""
    if config.source is None:
        raise PushmirrorError("this configuration was not read from a file, so it has no sites.d")
    return config.source.parent / loader.SITES / f"{name}.toml"


def places(config: model.Config) -> DaemonPaths:
    """Where the daemon's files are."""
    return DaemonPaths(config.state.directory / "rsyncd")


def owner_of(config: model.Config) -> int:
    """The user ID of the daemon's owner; the state directory must exist."""
    return config.state.directory.stat().st_uid


def rsync_argv(config: model.Config) -> list[str]:
    """The command line of rsyncd in the foreground; address and port are in its configuration.

    Raises PushmirrorError if this user's rsync would refuse the files.
    """
    require_owner(config)
    return [_rsync(), "--daemon", "--no-detach", f"--config={places(config).conf}"]


def stunnel_argv(config: model.Config) -> list[str] | None:
    """The command line of stunnel in the foreground; None without a certificate.

    It starts an rsync for each connection and needs no other daemon. Raises PushmirrorError as
    `rsync_argv`.
    """
    if not config.serve.certificate:
        return None
    require_owner(config)
    return [stunnel_program(), str(places(config).stunnel)]


def stunnel_program() -> str:
    """stunnel's full path; raises ProgramMissing."""
    return _program(_STUNNEL, "stunnel4")


def unit_context(config: model.Config, pushmirror: str) -> UnitContext:
    """The values in the printed units; `pushmirror` is this program's full path."""
    directory = config.state.directory
    user = pwd.getpwuid(owner_of(config) if directory.exists() else os.geteuid())
    tls = stunnel_program() if config.serve.certificate else _STUNNEL[0]
    return UnitContext(user.pw_name, grp.getgrgid(user.pw_gid).gr_name, pushmirror, _rsync(), tls)


def facts_of(config: model.Config) -> DaemonFacts:
    """The daemon's user, machine and rsync."""
    return DaemonFacts(
        rsync_version(_rsync()), root=owner_of(config) == 0, ipv6=Path("/proc/net/if_inet6").exists()
    )


def require_owner(config: model.Config) -> None:
    """PushmirrorError if the daemon's files belong to another user.

    Root's rsync refuses another user's secrets (`strict modes`); other users cannot read them.
    """
    owner = owner_of(config)
    if owner != os.geteuid():
        name = pwd.getpwuid(owner).pw_name
        raise PushmirrorError(
            f"the rsync daemon runs as {name}, the owner of {config.state.directory}",
            hint=f"run this as {name}",
        )


def _secrets(working: Mapping[str, Sequence[Login]]) -> str:
    return "".join(f"{login.user}:{login.password}\n" for site in working.values() for login in site)


def _make_manifest_directories(config: model.Config) -> None:
    """Create the directories of manifest modules: without one every request is an error."""
    manifests = config.state.manifests
    wanted = [
        archive.name
        for archive in config.archives.values()
        if archive.manifest and archive.access is not model.Access.NONE
    ]
    try:
        for name in wanted:
            make_open_directories(manifests.parent, manifests.name, name, owner=owner_of(config))
    except OSError as exc:
        raise PushmirrorError(
            f"cannot create {config.state.manifests}, for the manifests that sites read: {exc.strerror}",
            hint="run this as the user who runs the mirror, or as root",
        ) from exc


def _write(config: model.Config, path: Path, text: str, mode: int) -> bool:
    data, owner = text.encode(), owner_of(config)
    try:
        with opened_directory(path.parent, owner=owner, mode=_PRIVATE) as directory:
            file = directory / path.name
            if _is_there(file, data, mode=mode, owner=owner):
                return False
            write_atomically(file, data, mode=mode, owner=owner)
    except OSError as exc:
        raise PushmirrorError(
            f"cannot write {path}: {exc.strerror}",
            hint="run this as the user who owns it, or as root",
        ) from exc
    return True


def _is_there(file: Path, data: bytes, *, mode: int, owner: int) -> bool:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return False
    as_it_should = (found.st_uid, found.st_mode) == (owner, stat.S_IFREG | mode)
    return as_it_should and file.read_bytes() == data


def _rsync() -> str:
    return _program(("rsync",), "rsync")


def _program(names: Sequence[str], package: str) -> str:
    """A program's full path, by the first name that is found: units and stunnel have no PATH."""
    search = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    for name in names:
        if found := shutil.which(name, path=search):
            return str(Path(found).absolute())
    raise ProgramMissing(
        f"the program {names[0]} was not found in PATH", hint=f"install the Debian package {package}"
    )
