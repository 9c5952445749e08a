"""The files that `pushmirror import` writes, and the steps that remain to be done by hand.

Guaranteed: all files are complete and valid before the first one is written; what is written is read as the
same Config again, and has only what differs from the defaults, except what depends on the caller: name, key
and state directory. An existing file is replaced only with --force, and then a copy is kept. Password files
are never readable by others, and passwords are never shown.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Item, Table

from pushmirror.access import credentials
from pushmirror.config import loader, problems
from pushmirror.config.model import DEBIAN_KEYRING, Archive, Config, Site, Values, looks_like_debian
from pushmirror.config.types import Wait, is_public
from pushmirror.errors import ConfigError, PushmirrorError
from pushmirror.importing.merge import Merged
from pushmirror.importing.sources import Sources
from pushmirror.system import clock
from pushmirror.system.files import write_atomically

_HEAD = "Made by `pushmirror import`; you can edit it. `pushmirror check` checks it."
_SITE_HEAD = "Made by `pushmirror import`; you can edit it."
_COMMENTS = {
    "mirror.name": "name of this mirror's file in project/trace/",
    "archives.module": "what sites read, as HOST::MODULE",
    "archives.password_file": "mode 0600, the password on its first line",
    "archives.access": "who can read it from our rsync daemon",
    "archives.filter": "the first that matches decides, as in rsync(1)",
    "push.key": "sites have its .pub",
    "push.deadline": "how long stage 2 waits for late sites",
    "state.directory": "the same for every user who calls pushmirror",
    "site.main_archive": "pushed without a name",
    "site.archive_names": "archive here = its name there",
    "site.reads": "and is not pushed for",
}
_ALWAYS = {"mirror.name", "push.key", "state.directory"}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def render(config: Config) -> str:
    """The text of pushmirror.toml."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEAD))
    document.add(tomlkit.nl())
    document["mirror"] = _section("mirror", config.mirror)
    archives = tomlkit.table(is_super_table=True)
    for name, archive in config.archives.items():
        archives[name] = _section("archives", archive, without={"name"})
    if config.archives:
        document["archives"] = archives
    for key in ("push", "serve", "state"):
        section = _section(key, getattr(config, key))
        if section:
            document[key] = section
    return tomlkit.dumps(document)


def render_site(site: Site) -> str:
    """The text of a site's file."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_SITE_HEAD))
    for key, value in _said("site", site, without={"name"}):
        document[key] = _item(f"site.{key}", value)
    return tomlkit.dumps(document)


def _section(prefix: str, values: Values, *, without: set[str] | None = None) -> Table:
    table = tomlkit.table()
    below: dict[str, Table] = {}
    for key, value in _said(prefix, values, without=without or set()):
        if isinstance(value, Values):
            below[key] = _section(f"{prefix}.{key}", value)
            continue
        table[key] = _item(f"{prefix}.{key}", value)
    for key, section in below.items():  # after the keys, for a table ends where another begins
        table[key] = section
    return table


def _item(key: str, value: object) -> Item:
    item = tomlkit.item(value)
    if comment := _COMMENTS.get(key):
        item.comment(comment)
        item.trivia.comment_ws = "  "
    return item


def _said(prefix: str, values: Values, *, without: set[str]) -> Iterator[tuple[str, Any]]:
    """Every key to write, with its TOML value or section."""
    for key, info in type(values).model_fields.items():
        value = getattr(values, key)
        if key in without:
            continue
        if (
            f"{prefix}.{key}" in _ALWAYS
            or info.is_required()
            or value != info.get_default(call_default_factory=True)
        ):
            yield key, _plain_value(value)


def _plain_value(value: object) -> Any:
    found: Any = str(value)  # a Path, an Upstream
    match value:
        case Values() | bool() | int() | float():
            found = value
        case Enum():
            found = value.value
        case timedelta():
            found = _duration(value)
        case Wait():
            found = f"{_duration(value.at_most)}{' or stage1' if value.until_stage1 else ''}"
        case Mapping():
            found = tomlkit.inline_table()
            found.update({name: _plain_value(one) for name, one in value.items()})
        case tuple():
            found = _listed([_plain_value(one) for one in value])
    return found


def _listed(words: list[Any]) -> Any:
    """A list; a long one has a line for each entry."""
    items = ", ".join(tomlkit.item(word).as_string() for word in words)
    array: Any = tomlkit.value(f"[{items}]")  # Array.extend takes the square of their number
    return array.multiline(sum(len(str(word)) + 4 for word in words) > 90)


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    for unit, length in _UNITS:
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


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
    """All files of a configuration in this directory; ConfigError if the configuration is not valid."""
    config = merged.config
    main, sites = directory / loader.FILE_NAME, directory / loader.SITES
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
    wrong = [*problems.of_archives(main, judged, judged.keys()), *problems.of_sites(by_file, judged.keys())]
    if wrong:
        raise ConfigError("\n".join(wrong), hint="correct what was imported, or import less at a time")
    return (
        _main(main, config),
        *(_text_file(file, render_site(site)) for file, site in by_file.items()),
        *(_secret(sites, name, password) for name, password in merged.logins.items()),
        *(File(file, data, f"{_MASK}\n", _PRIVATE) for file, data in passwords.items()),
    )


def _main(path: Path, config: Config) -> File:
    """The main file; only its owner may read it if the address of a web proxy has a password."""
    masked = {name: _masked(archive) for name, archive in config.archives.items()}
    has_password = masked != config.archives
    shown = render(config.model_copy(update={"archives": masked}))
    return File(path, render(config).encode(), shown, _PRIVATE if has_password else 0o644)


def _masked(archive: Archive) -> Archive:
    login, _, address = (archive.proxy or "").rpartition("@")
    user, colon, _ = login.partition(":")
    return archive.model_copy(update={"proxy": f"{user}:{_MASK}@{address}"}) if colon else archive


def _text_file(path: Path, text: str) -> File:
    return File(path, text.encode(), text)


def _secret(sites: Path, name: str, password: str) -> File:
    real, masked = (credentials.render(name, credentials.first(name, one)) for one in (password, _MASK))
    return File(sites / f"{name}{credentials.SUFFIX}", real.encode(), masked, _PRIVATE)


def write(files: tuple[File, ...], directory: Path, *, force: bool) -> Path | None:
    """Write them; returns the directory with copies of what was replaced, None if nothing was.

    Raises ConfigError if something is there and may not be replaced.
    """
    there = list(_there(files, directory))
    if there and not force:
        raise ConfigError(
            f"{there[0]} exists and was not changed",
            hint="import into another directory (--to), or replace it (--force; a copy is kept)",
        )
    try:
        backup = _keep_copy(there, directory) if there else None
        for made in (directory, directory / loader.SITES):
            made.mkdir(mode=0o755, parents=True, exist_ok=True)
        for file in sorted(files, key=lambda one: one.path.name == loader.FILE_NAME):  # what counts, last
            write_atomically(file.path, file.data, mode=file.mode)
        for old in {*there} - {file.path for file in files}:
            old.unlink()
    except OSError as exc:
        raise PushmirrorError(
            f"{exc.filename or directory}: {exc.strerror}",
            hint="this user must own the directory; or choose another (--to)",
        ) from exc
    return backup


def _there(files: tuple[File, ...], directory: Path) -> Iterator[Path]:
    """The files of a configuration, sites included, that exist already."""
    found = (file.path for file in files if os.path.lexists(file.path))
    sites = directory / loader.SITES
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


def called_with(file: Path) -> tuple[str, ...]:
    """The command that starts pushmirror with this configuration, by its full path, for sshd."""
    called = Path(sys.argv[0]).absolute()
    program = str(called) if called.name == "pushmirror" else shutil.which("pushmirror") or "pushmirror"
    usual = file.parent in loader.usual_places()
    return (program,) if usual else (program, "--config", str(file))


def authorized_keys(sources: Sources, program: tuple[str, ...]) -> dict[str, str]:
    """The new line for each line that starts ftpsync, by FILE:LINE."""
    return {pusher.place: pusher.line(program) for pusher in sources.pushers}


def next_steps(
    merged: Merged, sources: Sources, file: Path, program: tuple[str, ...], *, for_another: bool
) -> Iterator[str]:
    """The remaining steps, in order; `for_another`: the files were written for another user."""
    config = merged.config
    command = shlex.join(program)
    if not for_another and (owner := _other_owner(merged)):
        yield (
            f"the mirror seems to belong to {owner}, but the written files belong to root: import again with "
            f"--user {owner} --force, or continue as root"
        )
    unchecked = [one.name for one in config.archives.values() if one.upstream and not one.keyring]
    if unchecked:
        likely = f', such as "{DEBIAN_KEYRING}"' if any(map(looks_like_debian, unchecked)) else ""
        yield f"set keyring of {', '.join(unchecked)}{likely}: without it signatures are not checked"
    if not is_public(config.mirror.name):
        yield f"set [mirror] name to a public host name, not {config.mirror.name}: it names our trace file"
    yield f"review {file}, and call `{command} check` as the user who ran ftpsync"
    if sources.pushers:
        yield "replace the hubs' lines in authorized_keys by those below"
    elif unchecked or any(one.upstream for one in config.archives.values()):
        yield f"where authorized_keys starts ftpsync for a hub's key, start `{command} receive` instead"
    if any(one.upstream for one in config.archives.values()):
        instead = f"{command} sync --if-changed -T cron"
        yield f"remove ftpsync and ftpsync-cron from the crontab; instead: {instead}"
    else:
        yield f"call `{command} sync` where runmirrors was called: it pushes to the sites"
    if sources.imported.rsyncd:
        yield (
            f"stop the rsync daemon of {sources.imported.rsyncd.file}, and start `{command} serve` "
            f"(`serve --print systemd` prints its service): same modules, users and passwords"
        )
    elif config.sites:
        yield f"start `{command} serve`, which pushes to sites until they are current, or let each sync push"


def _other_owner(merged: Merged) -> str | None:
    """The owner of the trees, if root has imported them."""
    trees = (archive.path for archive in merged.config.archives.values() if archive.upstream)
    owners = {tree.stat().st_uid for tree in trees if tree.exists()} - {0}
    if os.geteuid() != 0 or len(owners) != 1:
        return None
    try:
        return pwd.getpwuid(owners.pop()).pw_name
    except KeyError:
        return None
