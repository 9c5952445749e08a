"""The files that `pushmirror import` writes: made whole and judged before the first of them is written.

Guaranteed: nothing that exists is replaced unless that was asked for, and then a copy is kept; passwords are
readable by their owner only from the moment they are there, and are shown to nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pushmirror.access import credentials
from pushmirror.config import rules, toml
from pushmirror.config.importing.merging import Merged
from pushmirror.config.importing.render import render, render_site
from pushmirror.config.model import Archive, Config
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.system import clock
from pushmirror.system.files import write_atomically

_PRIVATE = 0o600
_MASK = "********"


@dataclass(frozen=True, slots=True)
class File:
    """A file to write."""

    path: Path
    data: bytes = field(repr=False)
    shown: str  # its text without passwords
    mode: int = 0o644


def files_of(merged: Merged, directory: Path) -> tuple[File, ...]:
    """All files of a configuration in this directory; ConfigError when it could not be used as it is."""
    config = merged.config
    main, sites = directory / toml.FILE_NAME, directory / toml.SITES
    by_file = {sites / f"{name}.toml": site for name, site in config.sites.items()}
    passwords = {
        file: f"{password}\n".encode("utf-8", "surrogateescape")
        for file, password in merged.passwords.items()
    }
    missing = {name: one for name, one in config.archives.items() if one.password_file in passwords}
    judged = {
        name: one.model_copy(update={"password_file": None}) if name in missing else one
        for name, one in config.archives.items()
    }
    wrong = [*rules.of_archives(main, judged, judged.keys()), *rules.of_sites(by_file, judged.keys())]
    if wrong:
        raise ConfigError("\n".join(wrong), hint="correct what was imported, or import less at a time")
    return (
        _main(main, config),
        *(_plain(file, render_site(site)) for file, site in by_file.items()),
        *(_secret(sites, name, password) for name, password in merged.logins.items()),
        *(File(file, data, f"{_MASK}\n", _PRIVATE) for file, data in passwords.items()),
    )


def _main(path: Path, config: Config) -> File:
    """The address of a web proxy may have a password in it, and then only its owner may read the file."""
    masked = {name: _masked(archive) for name, archive in config.archives.items()}
    has_password = masked != config.archives
    shown = render(config.model_copy(update={"archives": masked}))
    return File(path, render(config).encode(), shown, _PRIVATE if has_password else 0o644)


def _masked(archive: Archive) -> Archive:
    login, _, address = (archive.proxy or "").rpartition("@")
    user, colon, _ = login.partition(":")
    return archive.model_copy(update={"proxy": f"{user}:{_MASK}@{address}"}) if colon else archive


def _plain(path: Path, text: str) -> File:
    return File(path, text.encode(), text)


def _secret(sites: Path, name: str, password: str) -> File:
    real, masked = (credentials.render(name, credentials.first(name, one)) for one in (password, _MASK))
    return File(sites / f"{name}{credentials.SUFFIX}", real.encode(), masked, _PRIVATE)


def write(files: tuple[File, ...], directory: Path, *, force: bool) -> Path | None:
    """Write them; where the copy of what was there is, if anything was.

    Raises ConfigError when something is there and may not be replaced.
    """
    there = list(_there(files, directory))
    if there and not force:
        raise ConfigError(
            f"{there[0]} exists and is kept",
            hint="import into another directory (--to), or have it replaced (--force): a copy is kept",
        )
    try:
        backup = _keep_copy(there, directory) if there else None
        for made in (directory, directory / toml.SITES):
            made.mkdir(mode=0o755, parents=True, exist_ok=True)
        for file in sorted(files, key=lambda one: one.path.name == toml.FILE_NAME):  # what counts, last
            write_atomically(file.path, file.data, mode=file.mode)
        for old in {*there} - {file.path for file in files}:
            old.unlink()
    except OSError as exc:
        raise PushmirrorError(
            f"{exc.filename or directory}: {exc.strerror}",
            hint="the user whose it is writes it: give the directory to this user, or name another (--to)",
        ) from exc
    return backup


def _there(files: tuple[File, ...], directory: Path) -> Iterator[Path]:
    """What of a configuration is there already: that of its sites belongs to it."""
    found = (file.path for file in files if os.path.lexists(file.path))
    sites = directory / toml.SITES
    ours = (f"*{ending}" for ending in (".toml", credentials.SUFFIX))
    yield from dict.fromkeys(chain(found, *(sorted(sites.glob(pattern)) for pattern in ours)))


def _keep_copy(there: list[Path], directory: Path) -> Path:
    backup = directory / f"before-import-{clock.now():%Y%m%dT%H%M%S}"
    backup.mkdir(mode=0o700)
    for file in there:
        copy = backup / (file.relative_to(directory) if file.is_relative_to(directory) else file.name)
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(file, copy)
    return backup
