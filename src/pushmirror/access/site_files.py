"""Change the files of sites: add, remove, pause, resume, rotate; then update the daemon's files.

Guaranteed: a site is added completely or not at all, and only if the configuration stays valid; each file
changes atomically and keeps its comments, mode and owner; one process at a time changes them. Not the
business of this module: the stored state of a removed site (`store.forget_site`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import tomlkit
from pydantic import ValidationError
from tomlkit.exceptions import TOMLKitError

from pushmirror.access import credentials, daemon_files
from pushmirror.access.credentials import Login
from pushmirror.config import loader, model, problems
from pushmirror.config.problems import did_you_mean, explain
from pushmirror.errors import ConfigError, PushmirrorError, UsageError
from pushmirror.system import clock
from pushmirror.system.files import sync_directory, write_atomically

_HEAD = "# A site that we push to. Written by `pushmirror site add`; you can edit it.\n"


def add(config: model.Config, name: str, keys: Mapping[str, object]) -> tuple[model.Site, Login]:
    """Add a site with these keys, and a password. Raises UsageError."""
    with _changing(config) as now_there:
        site = _checked(now_there, name, keys)
        file, secret = daemon_files.site_file(now_there, name), daemon_files.secret_file(now_there, name)
        logins = credentials.first(name, credentials.new_password())
        try:
            file.parent.mkdir(mode=0o755, exist_ok=True)
            _write_logins(now_there, name, logins)
            write_atomically(file, f"{_HEAD}{tomlkit.dumps(keys)}".encode())
            _bring_up_to_date(now_there)
        except BaseException:
            file.unlink(missing_ok=True)
            secret.unlink(missing_ok=True)
            with suppress(PushmirrorError, OSError):  # the first error is reported
                daemon_files.write(now_there)
            raise
        return site, logins[0]


def remove(config: model.Config, name: str) -> None:
    """Remove a site and its passwords; its current transfers continue."""
    with _changing(config) as now_there:
        known(now_there, name)
        file = daemon_files.site_file(now_there, name)
        file.unlink()  # first: a password without a site gives no access
        daemon_files.secret_file(now_there, name).unlink(missing_ok=True)
        sync_directory(file.parent)
        _bring_up_to_date(now_there)


def pause(config: model.Config, name: str) -> bool:
    """Pause a site; False if it was paused already."""
    return _set_paused(config, name, paused=True)


def resume(config: model.Config, name: str) -> bool:
    """Resume a site; False if it was not paused."""
    return _set_paused(config, name, paused=False)


def rotate(config: model.Config, name: str, *, grace: timedelta | None = None) -> Login:
    """Give a site a new user and password; the old ones are valid for [serve]'s grace."""
    with _changing(config) as now_there:
        known(now_there, name)
        file = daemon_files.secret_file(now_there, name)
        before = credentials.read(file, name)
        logins = credentials.rotated(
            before,
            name,
            credentials.new_password(),
            now=clock.now(),
            grace=now_there.serve.password_grace if grace is None else grace,
        )
        text = file.read_bytes() if file.exists() else None
        try:
            _write_logins(now_there, name, logins, (text or b"").decode())
            _bring_up_to_date(now_there)
        except BaseException:
            with suppress(PushmirrorError, OSError):
                file.unlink(missing_ok=True) if text is None else _put(now_there, file, text)
                daemon_files.write(now_there)
            raise
        return logins[-1]


def known(config: model.Config, name: str) -> model.Site:
    """The site of this name; UsageError suggests similar names."""
    if name not in config.sites:
        raise UsageError(
            f"there is no site {name!r} in {daemon_files.site_file(config, 'x').parent}"
            f"{did_you_mean(name, config.sites)}",
            hint=f"sites there: {', '.join(sorted(config.sites)) or 'none'}",
        )
    return config.sites[name]


@contextmanager
def _changing(config: model.Config) -> Iterator[model.Config]:
    """Hold the lock, with the configuration as it is on disk now."""
    with daemon_files.changing(config):
        try:
            yield loader.load(config.source)
        except OSError as exc:
            raise PushmirrorError(
                f"{exc.filename or daemon_files.site_file(config, 'x').parent}: {exc.strerror}",
                hint="run this as the user who owns sites.d, or as root",
            ) from exc


def _checked(config: model.Config, name: str, keys: Mapping[str, object]) -> model.Site:
    try:
        site = model.Site.model_validate({**keys, "name": name})
    except ValidationError as exc:
        wrong = "\n".join(f"site {name}: {line}" for line in explain(exc, model.Site, ""))
        raise UsageError(wrong) from exc
    file = daemon_files.site_file(config, name)
    if os.path.lexists(file):
        raise UsageError(
            f"there is a site {name} already: {file}",
            hint=f"edit that file, or remove the site first: pushmirror site remove {name}",
        )
    sites = {daemon_files.site_file(config, one): found for one, found in config.sites.items()}
    sites[Path(f"site {name}")] = site  # there is no file yet to name in the error
    broken = problems.of_sites(sites, config.archives.keys())
    if broken:
        raise UsageError("\n".join(broken))
    return site


def _set_paused(config: model.Config, name: str, *, paused: bool) -> bool:
    with _changing(config) as now_there:
        known(now_there, name)
        file = Path(os.path.realpath(daemon_files.site_file(now_there, name)))  # a link stays one
        document = _parsed(file)
        if bool(document.get("paused", False)) is not paused:
            document["paused"] = paused
            _rewrite(file, tomlkit.dumps(document).encode())
            changed = True
        else:
            changed = False
        _bring_up_to_date(now_there)
        return changed


def _parsed(file: Path) -> tomlkit.TOMLDocument:
    """Parse the text with its comments; not every valid text can be kept unchanged."""
    try:
        return tomlkit.parse(file.read_bytes().decode())
    except TOMLKitError as exc:
        raise ConfigError(
            f"{file}: cannot be changed automatically: {exc}", hint="change `paused` in it by hand"
        ) from exc


def _rewrite(file: Path, data: bytes) -> None:
    status = file.stat()
    owner = status.st_uid if os.geteuid() == 0 else None  # others cannot give files away
    write_atomically(file, data, mode=stat.S_IMODE(status.st_mode), owner=owner)


def _write_logins(config: model.Config, name: str, logins: tuple[Login, ...], text: str = "") -> None:
    _put(config, daemon_files.secret_file(config, name), credentials.render(name, logins, text).encode())


def _put(config: model.Config, file: Path, data: bytes) -> None:
    """Write a password file that only the daemon's owner can read."""
    owner = daemon_files.owner_of(config) if os.geteuid() == 0 else None
    write_atomically(file, data, mode=0o600, owner=owner)


def _bring_up_to_date(config: model.Config) -> None:
    daemon_files.write(loader.load(config.source))
